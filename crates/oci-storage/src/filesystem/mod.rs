//! The engine on a directory in the layout of CNCF Distribution.
//!
//! A volume of `registry:2` or `registry:3` is served in place and can be handed back. What this engine
//! adds lies where Distribution does not look, in `docker/registry/v2/_registryd` and in `_registryd`
//! inside a repository. `docs/FORMAT.md` describes every file.
//!
//! * Durable: what is acknowledged was synced, content before name, name before acknowledgement.
//! * Several processes on one machine may use the same volume at once: they lock with `flock`. Network
//!   file systems are not supported.
//! * No operation holds a whole blob in memory, and all uploads together stay within one budget.
//!
//! ```no_run
//! use oci_core::Registry;
//! use oci_storage::filesystem::{Filesystem, Options};
//!
//! let store = Filesystem::open("./registry-data", Options::default())?;
//! let registry = Registry::new(store);
//! # drop(registry);
//! # Ok::<(), oci_storage::filesystem::OpenError>(())
//! ```

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oci_core::StoreError;
use oci_core::runtime::{
    BlockingPool, Clock, IdSource, SystemClock, SystemIds, ThreadPool, run_blocking,
};

mod at_once;
mod blobs;
mod collect;
mod doubtful;
mod durable;
mod inventory;
mod known_links;
mod layout;
mod links;
mod listing;
mod manifest_cache;
mod manifests;
mod plane;
mod referrers;
mod section;
mod tags;
mod uploads;

pub use durable::{DiskOperation, Durability, FaultHook};

use at_once::AtOnce;
use durable::{Dirty, Disk};
use inventory::LastListed;
use known_links::KnownLinks;
use layout::Layout;
use links::Aliases;
use listing::{Listings, Trial};
use manifest_cache::ManifestCache;
use section::Sections;
use uploads::{Budget, Sessions};

/// A registry's storage in a directory: both planes in one.
///
/// Cloning is cheap and shares everything.
#[derive(Clone)]
pub struct Filesystem {
    inner: Arc<Inner>,
}

impl Filesystem {
    /// Opens the volume whose Distribution `rootdirectory` is `root`, making it if there is none.
    ///
    /// Blocks for a few milliseconds.
    ///
    /// # Errors
    /// If `root` is not a directory or cannot be written to.
    pub fn open(root: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let root = root.as_ref();
        let fail = |source| OpenError::new(root, source);
        make_root(root).map_err(fail)?;
        let root = &root.canonicalize().map_err(fail)?;
        let layout = Layout::new(root);
        let disk = Disk::new(
            root,
            layout.temporary(),
            Listings::new(&layout, options.listing_memory, options.listing_trial),
            options.pool,
            options.ids,
            options.durability,
            options.faults,
        );
        let inner = Inner {
            sections: Sections::new(&layout.ours()),
            disk: Arc::new(disk),
            clock: options.clock,
            grace: options.grace,
            budget: Arc::new(Budget::new(options.upload_memory)),
            sessions: Sessions::default(),
            aliases: Aliases::default(),
            at_once: AtOnce::default(),
            known_links: KnownLinks::default(),
            manifests: ManifestCache::new(options.manifest_memory),
            last_listed: LastListed::default(),
            reread: std::sync::atomic::AtomicU64::new(0),
            layout,
        };
        inner.prepare().map_err(fail)?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// What this process has done on the volume since it was opened.
    pub fn statistics(&self) -> Statistics {
        let (file_syncs, directory_syncs) = self.inner.disk.syncs();
        let listings = self.inner.disk.listings();
        Statistics {
            bytes_read_again: self.inner.reread.load(std::sync::atomic::Ordering::Relaxed),
            upload_memory: self.inner.budget.used(),
            file_syncs,
            directory_syncs,
            directory_entries_read: listings.entries_read(),
            listings_indexed: listings.scans(),
            listing_memory: listings.memory(),
        }
    }

    /// Runs `work` on the blocking pool. It runs to its end even if the future is dropped.
    async fn run<T: Send + 'static>(
        &self,
        context: &'static str,
        work: impl FnOnce(&Arc<Inner>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.start(context, work).await
    }

    /// The same, begun before the future is polled.
    fn start<T: Send + 'static>(
        &self,
        context: &'static str,
        work: impl FnOnce(&Arc<Inner>) -> Result<T, Failure> + Send + 'static,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        let done = run_blocking(&**self.inner.disk.pool(), move || work(&inner));
        async move {
            match done.await {
                Ok(result) => result.map_err(|failure| failure.in_context(context)),
                Err(closed) => Err(StoreError::unavailable(context, closed)),
            }
        }
    }
}

impl fmt::Debug for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filesystem")
            .field("disk", &self.inner.disk)
            .finish_non_exhaustive()
    }
}

/// How a [`Filesystem`] is opened.
///
/// ```
/// use std::time::Duration;
///
/// use oci_storage::filesystem::Options;
///
/// let mut options = Options::default();
/// options.grace = Duration::from_secs(3600);
/// options.upload_memory = 16 << 20;
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// Threads for everything that touches the disk; a [`ThreadPool`] of its own by default.
    pub pool: Arc<dyn BlockingPool>,
    /// For the age of uploads and blobs.
    pub clock: Arc<dyn Clock>,
    /// For upload ids and temporary names.
    pub ids: Arc<dyn IdSource>,
    /// How many bytes all uploads together may hold in memory; 32 MiB. When it is used up, each upload
    /// goes on with one buffer of 16 KiB.
    pub upload_memory: usize,
    /// How many bytes of manifests are kept in memory, so that they need not be read and verified each
    /// time; 16 MiB. Whether a repository has a manifest is always asked of the disk.
    pub manifest_memory: usize,
    /// Whether acknowledged data survives loss of power. Leave it at [`Durability::Full`].
    pub durability: Durability,
    /// How long the collector lets unreferenced content live; 24 hours. Content that a pusher is told
    /// exists counts as new when it is older than a quarter of this. All processes on a volume must
    /// agree.
    pub grace: Duration,
    /// How many bytes may be held in memory for listing tags and repositories; 16 MiB. Half of it is
    /// for the indexes of large directories, half for where a manifest of each repository was found.
    /// What does not fit is looked up on the disk again. Making the index of a directory needs some 25
    /// bytes more for each name in it, beside the names, for the moment.
    pub listing_memory: usize,
    faults: Option<FaultHook>,
    listing_trial: Trial,
}

impl Options {
    /// Has directories of more than `small` entries indexed, as often as somebody else changed them,
    /// and those that this process changes read again in the background when `rewalk` has passed; for
    /// tests of listings.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn with_listing_trial(mut self, small: usize, rewalk: Duration) -> Self {
        self.listing_trial = Trial {
            small,
            rewalk,
            burst: Duration::from_secs(60),
        };
        self
    }

    /// Asks `hook` before every step that changes the disk; for tests of failing disks.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn with_faults(mut self, hook: FaultHook) -> Self {
        self.faults = Some(hook);
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pool: Arc::new(ThreadPool::default()),
            clock: Arc::new(SystemClock::new()),
            ids: Arc::new(SystemIds::new()),
            upload_memory: 32 << 20,
            manifest_memory: 16 << 20,
            durability: Durability::Full,
            grace: Duration::from_secs(24 * 60 * 60),
            listing_memory: 16 << 20,
            faults: None,
            listing_trial: Trial::default(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("pool", &self.pool)
            .field("clock", &self.clock)
            .field("ids", &self.ids)
            .field("upload_memory", &self.upload_memory)
            .field("manifest_memory", &self.manifest_memory)
            .field("durability", &self.durability)
            .field("grace", &self.grace)
            .field("listing_memory", &self.listing_memory)
            .field("faults", &self.faults.is_some())
            .finish_non_exhaustive()
    }
}

/// Why a volume could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its root is a file or something else that is no directory.
    #[error("the storage root `{}` is not a directory; name a directory, or a path where one can be made", .0.display())]
    NotADirectory(PathBuf),
    /// This process may not write there.
    #[error("the storage root `{}` cannot be written to; make it writable for the user that runs the registry", .0.display())]
    NotWritable(PathBuf, #[source] io::Error),
    /// The operating system said no otherwise.
    #[error("the storage root `{}` cannot be used", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

impl OpenError {
    fn new(root: &Path, source: io::Error) -> Self {
        let root = root.to_owned();
        match source.kind() {
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                Self::NotADirectory(root)
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable(root, source)
            }
            _ => Self::Io(root, source),
        }
    }
}

/// Counts of what a [`Filesystem`] has done since it was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// Bytes of uploads that were read back from the disk to hash them again. Resuming reads none.
    pub bytes_read_again: u64,
    /// Bytes of memory that uploads hold now.
    pub upload_memory: usize,
    /// How many files were synced.
    pub file_syncs: u64,
    /// How many times a directory was synced.
    pub directory_syncs: u64,
    /// How many names were read from directories to list tags and repositories.
    pub directory_entries_read: u64,
    /// How many times a large directory was read to index it.
    pub listings_indexed: u64,
    /// Bytes of memory that are held for listings now, about.
    pub listing_memory: usize,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    disk: Arc<Disk>,
    sections: Sections,
    clock: Arc<dyn Clock>,
    grace: Duration,
    budget: Arc<Budget>,
    sessions: Sessions,
    aliases: Aliases,
    at_once: AtOnce,
    known_links: KnownLinks,
    manifests: ManifestCache,
    last_listed: LastListed,
    reread: std::sync::atomic::AtomicU64,
}

impl Inner {
    /// Makes what every operation takes for granted, and proves that the volume can be written to.
    fn prepare(&self) -> io::Result<()> {
        let mut dirty = Dirty::new();
        for directory in [
            self.layout.blobs(),
            self.layout.repositories(),
            self.layout.ours(),
            self.layout.temporary(),
            self.layout.uploads(),
        ] {
            let is_new = !directory.is_dir();
            self.disk.ensure_directory(&directory, &mut dirty)?;
            if is_new {
                collect::share(&directory)?;
            }
        }
        self.sections.create()?;
        match self.disk.unsynced_temporary(b"writable") {
            // What is full can still be read, and collected.
            Err(error) if durable::is_full(&error) => {}
            written => drop(written?),
        }
        self.sweep_temporary();
        self.recover_collection();
        self.disk.listings().sweep(&self.disk);
        self.disk.commit_now(dirty)
    }
}

/// What goes wrong on the disk, before it is known what was being done.
#[derive(Debug)]
enum Failure {
    Io(io::Error),
    Store(StoreError),
}

impl Failure {
    fn in_context(self, context: &'static str) -> StoreError {
        match self {
            Self::Io(error) => StoreError::from_io(context, error),
            Self::Store(error) => error,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Makes the root and syncs every directory that had to be made for it.
fn make_root(root: &Path) -> io::Result<()> {
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let absolute = std::path::absolute(root)?;
    let old = absolute.ancestors().find(|above| above.exists());
    fs::create_dir_all(root)?;
    for made in absolute.ancestors().skip(1) {
        durable::sync_new_directory(made)?;
        if Some(made) == old {
            break;
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section here leaves its value sound at each step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
