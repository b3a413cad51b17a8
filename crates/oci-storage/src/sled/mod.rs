//! The [records engine](crate::records) on the embedded database [sled], for one process.
//!
//! For a program that wants its registry in one database directory. It is never the default: sled is
//! beta software by its own words, and a [filesystem](crate::filesystem) store is faster, can be looked
//! into with a shell, and is shared by two processes.
//!
//! ```no_run
//! use oci_core::Registry;
//! use oci_storage::records::RecordsOptions;
//! use oci_storage::sled::{Sled, SledOptions};
//!
//! # fn main() -> Result<(), oci_storage::sled::SledError> {
//! let store = Sled::open("/var/lib/registry-sled", SledOptions::default())?;
//! let registry = Registry::new(store.into_records(RecordsOptions::default()));
//! # drop(registry);
//! # Ok(())
//! # }
//! ```
//!
//! # Durability
//!
//! On Linux sled's `flush` writes its log with `sync_file_range`, which leaves the file's length and the
//! disk's cache alone: after loss of power acknowledged data is gone. So every acknowledgement here
//! waits for `flush` *and* a sync of sled's file. All who wait at a time share one.
//!
//! sled puts what is larger than a quarter of a segment into a file of its own, which it never syncs.
//! So no value is ever that large: content lies in pieces of 64 KiB, and so do large records.
//!
//! A sync that failed may have lost data that a second one would not report. From then on the store
//! answers nothing, until it is opened again and sled has read back what is there.
//!
//! # Limits
//!
//! * One process, which is the only one that has the directory open.
//! * Space of what was deleted is used again, but the file never shrinks; `registryd storage copy` to
//!   a new directory makes a small one.
//! * Content is written about twice: once when it arrives, once when sled tidies its pages.
//! * Opening takes longer the more was written since the last time it was opened.
//! * Writes are refused while the disk has less than [`SledOptions::min_free`] left, because sled does
//!   not go on after a full disk before it is opened again.
//! * An upload in parts that no session names, as a killed process leaves it, is given up when the
//!   store is opened two weeks later.
//!
//! [sled]: https://docs.rs/sled/0.34

use std::fmt;
use std::fmt::Debug;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use oci_core::runtime::{BlockingPool, Clock, IdSource, SystemClock, SystemIds, ThreadPool};

use crate::records::{Guarantees, Records, RecordsOptions};

mod commit;
mod error;
mod extents;
mod keys;
mod open;
mod records;
mod runs;

pub use error::SledError;

use commit::GroupCommit;
use error::Fault;

/// A database directory, as both a [`RecordStore`](crate::records::RecordStore) and an
/// [`ExtentStore`](crate::records::ExtentStore). Cloning is cheap and shares everything.
#[derive(Clone, Debug)]
pub struct Sled {
    shared: Arc<Shared>,
}

impl Sled {
    /// Opens the database in `directory`, or makes one if the directory is empty or not there.
    ///
    /// Blocks while sled reads its log, and while what a killed process left behind is removed.
    ///
    /// # Errors
    /// [`SledError::InUse`] if it is open already, here or in another process.
    pub fn open(directory: impl AsRef<Path>, options: SledOptions) -> Result<Self, SledError> {
        open::open(directory.as_ref(), options)
    }

    /// Both planes of storage over this database.
    pub fn into_records(self, options: RecordsOptions) -> Records {
        Records::with_options(self.clone(), self, options)
    }

    /// Runs `work` on the pool. A store whose last sync failed does nothing any more.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let shared = Arc::clone(&self.shared);
        let pool = Arc::clone(&shared.options.pool);
        let done = oci_core::runtime::run_blocking(&*pool, move || {
            shared.commits.check()?;
            work(&shared)
        });
        done.await
            .unwrap_or_else(|closed| Err(Fault::Unavailable(closed.into())))
    }

    /// Waits until all that was written before this call is durable.
    async fn sync(&self) -> Result<(), Fault> {
        GroupCommit::wait(Arc::clone(&self.shared)).await
    }
}

/// Options of [`Sled::open`].
#[derive(Clone)]
#[non_exhaustive]
pub struct SledOptions {
    /// Where all work on the database runs.
    pub pool: Arc<dyn BlockingPool>,
    /// Makes the versions of records and the names of what belongs together.
    pub ids: Arc<dyn IdSource>,
    /// Tells when an extent was written.
    pub clock: Arc<dyn Clock>,
    /// How many bytes of the database sled keeps in memory; 64 MiB.
    pub cache_bytes: u64,
    /// How many bytes must be free on the disk for anything to be written; 128 MiB.
    pub min_free: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            pool: Arc::new(ThreadPool::default()),
            ids: Arc::new(SystemIds::new()),
            clock: Arc::new(SystemClock::new()),
            cache_bytes: 64 << 20,
            min_free: 128 << 20,
        }
    }
}

impl Debug for SledOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledOptions")
            .field("cache_bytes", &self.cache_bytes)
            .field("min_free", &self.min_free)
            .finish_non_exhaustive()
    }
}

/// What all clones share. Fields are dropped in this order: the lock goes last.
struct Shared {
    tree: ::sled::Tree,
    database: ::sled::Db,
    commits: GroupCommit,
    /// Held for each change that depends on what is there. sled itself is safe without, but pages that
    /// many writers fill at once grow beyond what it keeps in its log.
    changes: Mutex<()>,
    directory: PathBuf,
    options: SledOptions,
    /// Nobody else opens the directory while this is open.
    _lock: File,
}

impl Shared {
    fn changes(&self) -> MutexGuard<'_, ()> {
        // It guards the order of changes, not a value.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds of Unix time.
    fn now(&self) -> u64 {
        let now = self.options.clock.now();
        now.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs()
    }

    /// Refuses to write where the disk is nearly full.
    fn room(&self) -> Result<(), Fault> {
        let Ok(volume) = rustix::fs::statvfs(&self.directory) else {
            // Then the write itself will tell.
            return Ok(());
        };
        let free = volume.f_bavail.saturating_mul(volume.f_frsize);
        if free < self.options.min_free {
            let (directory, least) = (self.directory.display(), self.options.min_free);
            return Err(Fault::NoSpace(
                format!("{free} bytes are free for {directory}, which needs {least} to write safely; free some space")
                    .into(),
            ));
        }
        Ok(())
    }
}

impl Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sled")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

const GUARANTEES: Guarantees = Guarantees {
    persistent: true,
    durable: true,
    shared: false,
    consistent: true,
};

#[cfg(test)]
mod tests;
