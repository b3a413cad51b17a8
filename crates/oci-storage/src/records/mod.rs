//! The engine on compare-and-swap records and immutable extents.
//!
//! [`Records`] is both planes of storage over two small traits that a plugin implements:
//! [`RecordStore`] for metadata and [`ExtentStore`] for bytes. Uploads, paging and the protocol between
//! pushes and the collector are written and proved here, once.
//!
//! ```
//! use oci_core::Registry;
//! use oci_storage::records::{MemoryExtents, MemoryRecords, Records};
//!
//! let registry = Registry::new(Records::new(MemoryRecords::new(), MemoryExtents::new()));
//! # drop(registry);
//! ```
//!
//! # Layout
//!
//! Bytes are written once, to an extent of their own whose key is never used again, and the record of
//! their digest points there: finishing an upload copies nothing. Blobs of at most 8 KiB and manifests
//! are in the record itself. An upload becomes a record only when it has to outlive its request. A blob
//! can consist of several extents: after a takeover of its upload by another process, for bytes that
//! were too few for a part, and beyond the number of parts that a store allows.
//!
//! | record | says |
//! |---|---|
//! | `blobs/…` | state (live, condemned, dead), size, extents or content, fence, when last promised |
//! | `links/…` | state: a blob is visible in a repository |
//! | `manifests/…` | state, bytes, type, what it needs, and the *push* that wrote it |
//! | `refs/…` | by being there: a push needs a digest in a repository |
//! | `tags/…`, `tagged/…` | what a tag points to; by being there: where it may point |
//! | `referrers/…` | a descriptor |
//! | `repositories/…` | by being there: a manifest was put once |
//! | `uploads/…`, `open/…` | a session; by being there: that it may be open |
//!
//! Keys and encoding are stored formats: versioned, checksummed, and described in the modules `keys`,
//! `encoding` and `model`. Every write carries a fresh nonce, so that an answer that got lost is
//! settled by reading back, and so that equal content never looks like an unchanged record.
//!
//! # Push and collect without clocks
//!
//! ```text
//! push      1 write a reference for every digest that the manifest names, under the push's own nonce
//!           2 read the record of each: live, go on; condemned, swap it back to live; else refuse, but for
//!             layers that may be elsewhere
//!           3 swap in the manifest with the nonce   4 referrer entry, tags   5 answer
//! collect   swap live → condemned; list the references; any: swap back; none: swap → dead, delete
//! delete    swap the manifest away, then remove tags, entry and the references of its nonce
//! ```
//!
//! Because 1 comes before 2, either the collector sees the reference or the push sees the condemned
//! record. A blob's visibility in a repository is a record under the same rules.
//!
//! Tags and the referrer entry are read *before* 3 and swapped from what was read then; a delete
//! rewrites each of them *after* it took the manifest away. So a tag is either removed by the delete,
//! or its writer's swap fails and finds the manifest gone: no tag is left pointing at nothing.
//!
//! A push by several tags that may be refused moves back those it has moved. Until it is done it needs what they
//! led to, and references that like the child of an index.
//!
//! Content is registered by one swap, and only while the record's *fence* is what it was before the
//! content's first byte was stored. Whoever deletes orphaned bytes changes the fence first. So bytes
//! that are about to be deleted cannot be registered late. A session that is finishing says how often
//! content of the digest had ended before. If another process finds it so later, and its extents may be among what
//! ended since, it gives the session up: their bytes may be deleted.
//!
//! What goes on past its point of no return when a caller drops the future is handed to a [`Spawn`].
//!
//! # What a collector has to keep to
//!
//! * A blob or a link dies only as above; the extents to delete are those of the record that was swapped
//!   to dead, never those read later. The fence is changed with that swap: whoever registered these extents,
//!   and whose answer got lost, must not do so again.
//! * An extent `data/<alg>/<hex>/…` that the digest's record does not name is an orphan, but may be about
//!   to be registered: change the fence, then delete. It may also belong to an open session whose digest
//!   was named at its beginning and that became a record only later; such a session loses its bytes then,
//!   so orphans younger than the grace period are left alone.
//! * An extent `data/<upload>/…` belongs to `uploads/<upload>`. Open or finishing: leave it to
//!   [`sweep_uploads`](oci_core::BlobStore::sweep_uploads). Done: as above, for the digest it says.
//!   Aborted: delete. No record: put an aborted one there first.
//! * A reference whose manifest is dead, or live by another push, is stale. Its push may be under way, and has
//!   read the manifest's record before it wrote the reference: rewrite that record, then purge the reference.
//!   The push fails then, and begins again with another nonce.
//! * Dead records are purged when no writer can be older than they are, after 30 days, and only if they
//!   are unchanged; where a store cannot do that, they stay. Finished sessions likewise, but never while
//!   extents are kept under their name.

use std::fmt;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oci_core::runtime::{Clock, IdSource, SystemClock, SystemIds};

mod access;
mod adopt;
mod blobs;
mod budget;
mod collect;
mod content;
mod delete;
mod detach;
mod encoding;
mod extent;
mod inventory;
mod keys;
mod manifests;
mod memory;
mod model;
mod push;
mod sessions;
mod store;
mod upload;

pub use adopt::Adoption;
pub use detach::{PoolSpawn, Spawn};
pub use extent::{ExtentError, ExtentInfo, ExtentStore, PartLimits};
pub use memory::{MemoryExtents, MemoryRecords};
pub use sessions::UploadLocks;
pub use store::{RecordError, RecordStore, ScanEntry, Version, Versioned};

#[cfg(feature = "object-store")]
pub(crate) use access::gather;
use budget::Budget;
use collect::Watch;
use delete::Deletes;
use encoding::Nonce;

/// Both planes of storage over a [`RecordStore`] and an [`ExtentStore`]. Cloning is cheap and shares
/// everything.
#[derive(Clone, Debug)]
pub struct Records {
    engine: Arc<Engine>,
}

impl Records {
    /// The engine over two stores, with default options.
    pub fn new(records: impl RecordStore, extents: impl ExtentStore) -> Self {
        Self::with_options(records, extents, RecordsOptions::default())
    }

    /// The engine over two stores.
    pub fn with_options(
        records: impl RecordStore,
        extents: impl ExtentStore,
        options: RecordsOptions,
    ) -> Self {
        let engine = Engine {
            records: Arc::new(records),
            extents: Arc::new(extents),
            budget: Budget::new(options.buffer_bytes),
            deletes: Deletes::default(),
            watch: Watch::default(),
            options,
        };
        Self {
            engine: Arc::new(engine),
        }
    }
}

/// Options of [`Records`].
#[derive(Clone)]
#[non_exhaustive]
pub struct RecordsOptions {
    /// Tells the time for expiry.
    pub clock: Arc<dyn Clock>,
    /// Makes nonces, upload ids and the names of extents.
    pub ids: Arc<dyn IdSource>,
    /// Runs what goes on after its caller has left.
    pub spawn: Arc<dyn Spawn>,
    /// Who writes to which upload in this process. Engines over the same stores in one process share it.
    pub locks: UploadLocks,
    /// How long the collector leaves alone what somebody was told exists; 24 hours. Comfort, not safety.
    pub grace: Duration,
    /// The most bytes of content that all uploads together hold in memory; 64 MiB, at least 1 MiB. One
    /// upload holds up to three parts. When all is taken, uploads wait, and store what they have received
    /// in pieces smaller than a part.
    pub buffer_bytes: u64,
    /// The size of a part in bytes, unless the length is known to need another; 8 MiB.
    pub part_size: u64,
    /// After how many bytes a long append is checkpointed on its way; 64 MiB.
    pub checkpoint_bytes: u64,
}

impl Default for RecordsOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            ids: Arc::new(SystemIds::new()),
            spawn: Arc::new(PoolSpawn::default()),
            locks: UploadLocks::default(),
            grace: Duration::from_secs(24 * 3600),
            buffer_bytes: 64 << 20,
            part_size: 8 << 20,
            checkpoint_bytes: 64 << 20,
        }
    }
}

impl Debug for RecordsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordsOptions")
            .field("grace", &self.grace)
            .field("buffer_bytes", &self.buffer_bytes)
            .field("part_size", &self.part_size)
            .field("checkpoint_bytes", &self.checkpoint_bytes)
            .finish_non_exhaustive()
    }
}

/// What can be relied on in a store. Each defaults to "no".
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a promise of its own"
)]
pub struct Guarantees {
    /// What was answered survives the end of the process.
    pub persistent: bool,
    /// What was answered survives loss of power.
    pub durable: bool,
    /// Several processes may use the store at once.
    pub shared: bool,
    /// Of writers that race, one wins, and listings have every write that was answered: the contracts of
    /// [`RecordStore`], also with a write that was delayed on its way. Without it nothing is collected.
    pub consistent: bool,
}

impl Guarantees {
    /// What a replicated object store or a database server gives: everything.
    pub const ALL: Self = Self {
        persistent: true,
        durable: true,
        shared: true,
        consistent: true,
    };
}

/// What all parts of the engine share.
#[derive(Debug)]
struct Engine {
    records: Arc<dyn RecordStore>,
    extents: Arc<dyn ExtentStore>,
    budget: Budget,
    deletes: Deletes,
    watch: Watch,
    options: RecordsOptions,
}

impl Engine {
    fn nonce(&self) -> Nonce {
        Nonce::from_random(self.options.ids.random())
    }

    /// Seconds of Unix time.
    fn now(&self) -> u64 {
        let now = self.options.clock.now();
        now.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs()
    }

    /// Whether what was last promised at `touched` should be noted again.
    fn is_stale(&self, touched: u64) -> bool {
        self.now().saturating_sub(touched) > self.options.grace.as_secs() / 4
    }
}

/// Content of at most so many bytes is in its record.
const INLINE: usize = 8 * 1024;

/// How often a swap is tried again that others keep winning.
const SWAP_TRIES: usize = 64;

#[cfg(test)]
mod tests;
