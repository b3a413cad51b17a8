//! The only place that syncs, renames and removes: data, then name, then directory, then "done".

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use oci_core::runtime::{BlockingPool, IdSource};

mod commit;
mod fan_out;
mod identity;

use commit::Group;
pub(super) use commit::{Dirty, Ticket};
pub(super) use identity::Identity;
use identity::{Doubtful, Known};

use super::listing::Listings;
use super::lock;

/// Whether what was acknowledged survives loss of power.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Durability {
    /// Everything is synced in order before it is acknowledged.
    #[default]
    Full,
    /// **Loses acknowledged data when the power fails.** Nothing is synced at all. For proving that a
    /// test of durability can fail, and for throw-away registries in tests.
    None,
}

/// A step that changes the disk, as a fault hook sees it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum DiskOperation {
    /// A directory is made.
    CreateDirectory,
    /// A file is made.
    CreateFile,
    /// A file or an empty directory is removed.
    Remove,
    /// A file gets its final name.
    Rename,
    /// The names in a directory are brought to the disk.
    SyncDirectory,
    /// The content of a file is brought to the disk.
    SyncFile,
    /// Everything on the file system is brought to the disk.
    SyncVolume,
    /// A file is cut.
    Truncate,
    /// Bytes are written to a file.
    Write,
}

/// Decides about every step that changes the disk; for tests. An error is what the step then fails with.
pub type FaultHook = Arc<dyn Fn(DiskOperation, &Path) -> io::Result<()> + Send + Sync>;

/// The disk under one volume.
pub(super) struct Disk {
    root: PathBuf,
    temporary: PathBuf,
    listings: Listings,
    pool: Arc<dyn BlockingPool>,
    ids: Arc<dyn IdSource>,
    durability: Durability,
    faults: Option<FaultHook>,
    known: Mutex<Known>,
    doubtful: Mutex<Doubtful>,
    group: Mutex<Group>,
    file_syncs: AtomicU64,
    directory_syncs: AtomicU64,
}

impl Disk {
    /// A disk whose files are all below `root`, written first to `temporary`.
    pub(super) fn new(
        root: &Path,
        temporary: PathBuf,
        listings: Listings,
        pool: Arc<dyn BlockingPool>,
        ids: Arc<dyn IdSource>,
        durability: Durability,
        faults: Option<FaultHook>,
    ) -> Self {
        Self {
            root: root.to_owned(),
            temporary,
            listings,
            pool,
            ids,
            durability,
            faults,
            known: Mutex::default(),
            doubtful: Mutex::default(),
            group: Mutex::default(),
            file_syncs: AtomicU64::new(0),
            directory_syncs: AtomicU64::new(0),
        }
    }

    pub(super) fn is_durable(&self) -> bool {
        self.durability == Durability::Full
    }

    /// The indexes of large directories, which are told of every child made or removed.
    pub(super) fn listings(&self) -> &Listings {
        &self.listings
    }

    pub(super) fn pool(&self) -> &Arc<dyn BlockingPool> {
        &self.pool
    }

    /// 16 bytes that nobody can guess.
    pub(super) fn random(&self) -> [u8; 16] {
        self.ids.random()
    }

    /// How often files and directories were synced.
    pub(super) fn syncs(&self) -> (u64, u64) {
        (
            self.file_syncs.load(Ordering::Relaxed),
            self.directory_syncs.load(Ordering::Relaxed),
        )
    }

    /// Writes a file that has no final name yet, and syncs its content.
    pub(super) fn temporary(self: &Arc<Self>, content: &[u8]) -> io::Result<Temporary> {
        let temporary = self.unsynced_temporary(content)?;
        self.sync_data(&temporary.file, &temporary.path)?;
        Ok(temporary)
    }

    /// The same without syncing: what is in it may be lost or torn when the power fails.
    pub(super) fn unsynced_temporary(self: &Arc<Self>, content: &[u8]) -> io::Result<Temporary> {
        let path = self.temporary_path();
        let file = self.create(&path)?;
        let temporary = Temporary {
            disk: Arc::clone(self),
            path,
            file,
            placed: false,
        };
        self.write_at(&temporary.file, &temporary.path, content, 0)?;
        Ok(temporary)
    }

    /// A new name for a file that has no final one yet. What is left there is swept by age.
    pub(super) fn temporary_path(&self) -> PathBuf {
        self.random_name(&self.temporary)
    }

    /// A new name in a directory.
    pub(super) fn random_name(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{:032x}", u128::from_le_bytes(self.random())))
    }

    /// A synced copy of what can be read of `source`, shown piece by piece to `each`.
    pub(super) fn temporary_copy(
        self: &Arc<Self>,
        source: &File,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<Temporary> {
        let copy = self.unsynced_temporary(&[])?;
        let mut buffer = vec![0; 256 * 1024];
        let mut offset = 0;
        loop {
            let length = source.read_at(&mut buffer, offset)?;
            let piece = buffer.get(..length).unwrap_or_default();
            if piece.is_empty() {
                self.sync_data(&copy.file, &copy.path)?;
                return Ok(copy);
            }
            each(piece);
            self.write_at(&copy.file, &copy.path, piece, offset)?;
            offset += length as u64;
        }
    }

    /// Makes a file that must not exist, for reading and writing. Its directory may be missing.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        self.fault(DiskOperation::CreateFile, path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Ours was removed by hand; its names are those of unacknowledged files.
                self.ensure_parent(path, &mut Dirty::new())?;
                options.open(path)
            }
            result => result,
        }
    }

    /// Gives a file its final name, replacing what has it.
    pub(super) fn place(
        &self,
        mut temporary: Temporary,
        target: &Path,
        dirty: &mut Dirty,
    ) -> io::Result<()> {
        self.rename(&temporary.path, &temporary.file, target, dirty)?;
        temporary.placed = true;
        Ok(())
    }

    /// Renames `from`, which is `file` and has been synced, to `target`, replacing what is there.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the durable place: the content was synced before, `dirty` is synced after"
    )]
    pub(super) fn rename(
        &self,
        from: &Path,
        file: &File,
        target: &Path,
        dirty: &mut Dirty,
    ) -> io::Result<()> {
        let mut attempts = 3;
        loop {
            let directory = self.ensure_parent(target, dirty)?;
            self.fault(DiskOperation::Rename, target)?;
            match fs::rename(from, target) {
                // A collector of another program takes the directory of a blob away with it.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && attempts > 0
                        && from.exists()
                        && !directory.exists() =>
                {
                    attempts -= 1;
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    dirty.directory(directory);
                    // It has its name: nothing may fail from here on. Unknown, it is only synced again.
                    if let Ok(metadata) = file.metadata() {
                        lock(&self.doubtful).forget(&metadata);
                        dirty.learn(Identity::of(&metadata));
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Renames what nobody needs any more to `target`. Power loss may undo that.
    #[expect(
        clippy::disallowed_methods,
        reason = "what comes back of garbage is garbage"
    )]
    pub(super) fn rename_away(&self, from: &Path, target: &Path) -> io::Result<()> {
        self.fault(DiskOperation::Rename, from)?;
        fs::rename(from, target)
    }

    /// Brings everything to the disk that anybody did on the volume's file system before.
    #[cfg(target_os = "linux")]
    pub(super) fn sync_volume(&self) -> io::Result<()> {
        if !self.is_durable() {
            return Ok(());
        }
        self.fault(DiskOperation::SyncVolume, &self.root)?;
        // The one below our own files: below them all, or none could be renamed to its place.
        let directory = File::open(&self.temporary)?;
        Ok(rustix::fs::syncfs(&directory)?)
    }

    /// There is no such call, and nothing here that would need it.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn sync_volume(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes the directory of `path` and all above that are missing.
    pub(super) fn ensure_parent<'a>(
        &self,
        path: &'a Path,
        dirty: &mut Dirty,
    ) -> io::Result<&'a Path> {
        let directory = path.parent().unwrap_or(path);
        self.ensure_directory(directory, dirty)?;
        Ok(directory)
    }

    /// Makes a directory and all above that are missing. What this process does not know to be on the
    /// disk is synced, whoever made it.
    pub(super) fn ensure_directory(&self, path: &Path, dirty: &mut Dirty) -> io::Result<()> {
        let mut made = false;
        for _ in 0..3 {
            match fs::metadata(path) {
                Ok(metadata) if !metadata.is_dir() => {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
                Ok(metadata) => {
                    let identity = Identity::of(&metadata);
                    let known = identity.is_some_and(|known| lock(&self.known).contains(&known));
                    if path == self.root || known {
                        return Ok(());
                    }
                    if let Some(parent) = path.parent() {
                        if !made {
                            self.ensure_directory(parent, dirty)?;
                        }
                        dirty.directory(parent);
                    }
                    dirty.learn(identity);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.ensure_parent(path, dirty)?;
                    self.fault(DiskOperation::CreateDirectory, path)?;
                    match self.listings.made(self, path, || fs::create_dir(path)) {
                        Ok(()) => made = true,
                        // Somebody else was faster, or took the parent away again.
                        Err(error)
                            if matches!(
                                error.kind(),
                                io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
                            ) => {}
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "a directory is being removed all the time",
        ))
    }

    /// Whether a file was synced in vain: what is read of it now may be gone after a power cut, so it
    /// must be written anew before anything that needs it is acknowledged.
    pub(super) fn is_doubtful(&self, metadata: &Metadata) -> bool {
        lock(&self.doubtful).contains(metadata)
    }

    /// Sees to it that a file that is there already is on the disk, content and name, whoever wrote it.
    pub(super) fn require_durable(
        &self,
        path: &Path,
        metadata: &Metadata,
        dirty: &mut Dirty,
    ) -> io::Result<()> {
        if self.is_doubtful(metadata) {
            return Err(io::Error::other(
                "an earlier sync of this file failed: it must be written anew",
            ));
        }
        let identity = Identity::of(metadata);
        if !identity.is_some_and(|known| lock(&self.known).contains(&known)) {
            let directory = self.ensure_parent(path, dirty)?;
            dirty.file(path);
            dirty.directory(directory);
            dirty.learn(identity);
        }
        Ok(())
    }

    /// Removes a file; `false` if there is none.
    pub(super) fn remove_file(&self, path: &Path) -> io::Result<bool> {
        self.fault(DiskOperation::Remove, path)?;
        absent_is_false(fs::remove_file(path))
    }

    /// Removes a directory with all in it; `false` if there is none.
    pub(super) fn remove_tree(&self, path: &Path) -> io::Result<bool> {
        self.fault(DiskOperation::Remove, path)?;
        absent_is_false(
            self.listings
                .removed(self, path, || fs::remove_dir_all(path)),
        )
    }

    /// Removes a directory if it is empty. Only tidiness: failing is fine.
    pub(super) fn tidy_directory(&self, path: &Path) {
        if self.fault(DiskOperation::Remove, path).is_ok() {
            let _ = self.listings.removed(self, path, || fs::remove_dir(path));
        }
    }

    /// Writes all of `bytes` at `offset`.
    pub(super) fn write_at(
        &self,
        file: &File,
        path: &Path,
        bytes: &[u8],
        offset: u64,
    ) -> io::Result<()> {
        self.fault(DiskOperation::Write, path)?;
        file.write_all_at(bytes, offset)
    }

    /// Writes all of `pieces`, one behind the other, at `offset`.
    pub(super) fn write_vectored_at(
        &self,
        file: &File,
        path: &Path,
        mut pieces: &mut [IoSlice<'_>],
        mut offset: u64,
    ) -> io::Result<()> {
        self.fault(DiskOperation::Write, path)?;
        while !pieces.is_empty() {
            match rustix::io::pwritev(file, pieces, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut pieces, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Cuts a file.
    pub(super) fn truncate(&self, file: &File, path: &Path, length: u64) -> io::Result<()> {
        self.fault(DiskOperation::Truncate, path)?;
        file.set_len(length)
    }

    /// Brings the content of a file to the disk. After a failure the kernel may have dropped it while a
    /// second attempt succeeds: the content must then be written anew.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the durable place: content before its name"
    )]
    pub(super) fn sync_data(&self, file: &File, path: &Path) -> io::Result<()> {
        if !self.is_durable() {
            return Ok(());
        }
        self.fault(DiskOperation::SyncFile, path)?;
        self.file_syncs.fetch_add(1, Ordering::Relaxed);
        file.sync_data()
    }

    fn sync_path(&self, path: &Path) -> io::Result<()> {
        match open_file(path) {
            Ok(file) => {
                let metadata = file.metadata()?;
                // Perhaps since this was asked for.
                if self.is_doubtful(&metadata) {
                    return Err(io::Error::other("an earlier sync of this file failed"));
                }
                let synced = self.sync_data(&file, path);
                if synced.is_err() {
                    lock(&self.doubtful).learn(&metadata);
                }
                synced
            }
            // It was replaced or removed meanwhile; whoever did that syncs that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the durable place: names after their content"
    )]
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.fault(DiskOperation::SyncDirectory, path)?;
        self.directory_syncs.fetch_add(1, Ordering::Relaxed);
        match File::open(path) {
            Ok(directory) => directory.sync_all(),
            // With the directory, what was done in it is gone, and that is recorded further up.
            Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
                Some(parent) if path != self.root => self.sync_directory(parent),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    fn fault(&self, operation: DiskOperation, path: &Path) -> io::Result<()> {
        match &self.faults {
            Some(hook) => hook(operation, path),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("root", &self.root)
            .field("durability", &self.durability)
            .field("faults", &self.faults.is_some())
            .finish_non_exhaustive()
    }
}

/// A written file without a final name. Dropped, it goes away.
pub(super) struct Temporary {
    disk: Arc<Disk>,
    path: PathBuf,
    file: File,
    placed: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed {
            // The dropping thread may be one that polls requests.
            let path = std::mem::take(&mut self.path);
            self.disk.pool.execute(Box::new(move || {
                // What cannot be removed now is swept by age.
                let _ = fs::remove_file(path);
            }));
        }
    }
}

impl fmt::Debug for Temporary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Temporary").field(&self.path).finish()
    }
}

/// Opens a regular file for reading. Never waits, as opening a pipe that somebody planted would.
///
/// # Errors
/// `NotFound`, also if it is anything else than a regular file.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    open_file_with(path, OpenOptions::new().read(true))
}

/// The same with other `options`.
pub(super) fn open_file_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match options.custom_flags(flags).open(path) {
        // A socket, or a pipe to write to that nobody reads.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            return Err(io::ErrorKind::NotFound.into());
        }
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            return Err(io::ErrorKind::NotFound.into());
        }
        file => file?,
    };
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Elsewhere all writes go through it.
#[cfg(not(target_os = "linux"))]
pub(super) fn open_direct(_: &File, _: &Path) -> Option<File> {
    None
}

/// A second description of `file`, which is at `path`, whose writes go around the kernel's cache. `None`
/// where the file system has no such thing.
#[cfg(target_os = "linux")]
pub(super) fn open_direct(file: &File, path: &Path) -> Option<File> {
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let mut options = OpenOptions::new();
    let direct = options.write(true).custom_flags(flags).open(path).ok()?;
    let (one, other) = (direct.metadata().ok()?, file.metadata().ok()?);
    (one.dev() == other.dev() && one.ino() == other.ino()).then_some(direct)
}

/// Whether an error means that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn absent_is_false(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Syncs the directory in which a volume's root was made.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the durable place: a new root must outlive a power cut like what is in it"
)]
pub(super) fn sync_new_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
