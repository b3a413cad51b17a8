//! The only place that takes locks: flock, which several processes on one machine see.
//!
//! `gate` is a turnstile in front of `lock`: without it a stream of shared holders would keep an
//! exclusive one out for ever.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_core::{Digest, RepositoryName};
use rustix::fs::{FlockOperation, flock};

use super::collect::share;

/// The sections of one volume.
#[derive(Debug)]
pub(super) struct Sections {
    gate: PathBuf,
    lock: PathBuf,
    collector: PathBuf,
    delta: PathBuf,
    spare_delta: PathBuf,
}

impl Sections {
    /// The sections whose files are in `directory`.
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            gate: directory.join("gate"),
            lock: directory.join("lock"),
            collector: directory.join("gc.lock"),
            delta: directory.join("delta"),
            spare_delta: directory.join("delta.spare"),
        }
    }

    /// Makes the lock files. They are never removed.
    pub(super) fn create(&self) -> io::Result<()> {
        for path in [&self.gate, &self.lock, &self.collector] {
            if path.exists() {
                continue;
            }
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            share(path)?;
        }
        Ok(())
    }

    /// Runs `work` while no collector removes anything. Blocks; never nest it.
    ///
    /// `work` must be the whole section: nothing outside of it can release the lock or keep it.
    pub(super) fn shared<T>(
        &self,
        work: impl FnOnce(&Shared<'_>) -> Result<T, io::Error>,
    ) -> io::Result<T> {
        let gate = File::open(&self.gate)?;
        wait(&gate, FlockOperation::LockShared)?;
        let lock = File::open(&self.lock)?;
        wait(&lock, FlockOperation::LockShared)?;
        drop(gate);
        let result = work(&Shared { sections: self });
        drop(lock);
        result
    }

    /// Runs `work` while nobody is in a shared section; `None` if that could not be had in time.
    pub(super) fn exclusive<T>(
        &self,
        patience: std::time::Duration,
        work: impl FnOnce(&Path) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let deadline = std::time::Instant::now() + patience;
        let gate = File::open(&self.gate)?;
        let lock = File::open(&self.lock)?;
        for file in [&gate, &lock] {
            while !attempt(file, FlockOperation::NonBlockingLockExclusive)? {
                if std::time::Instant::now() >= deadline {
                    return Ok(None);
                }
                std::thread::park_timeout(std::time::Duration::from_millis(1));
            }
        }
        work(&self.delta).map(Some)
    }

    /// The log that a collector at work has everybody write.
    pub(super) fn delta(&self) -> &Path {
        &self.delta
    }

    /// An empty log, kept for the next collector.
    pub(super) fn spare_delta(&self) -> PathBuf {
        self.spare_delta.clone()
    }

    /// Makes the caller the one collector, for as long as it keeps what is returned; `None` if there is
    /// one.
    pub(super) fn lock_collector(&self) -> io::Result<Option<CollectorLock>> {
        // Whoever may read it may lock it, be it another user's.
        let held = File::open(&self.collector)?;
        let locked = attempt(&held, FlockOperation::NonBlockingLockExclusive)?;
        Ok(locked.then_some(CollectorLock { _held: held }))
    }
}

/// Being the one collector of a volume.
#[derive(Debug)]
pub(super) struct CollectorLock {
    // The lock lives as long as the open file.
    _held: File,
}

/// Locks a repository's manifests against deletions, or, exclusively, against every other change. The
/// directory of a blob's link is locked in the same way, against its removal and its repair.
///
/// `directory` must exist. Taken before a shared section, never inside one.
pub(super) fn lock_repository(directory: &Path, mode: Mode) -> io::Result<RepositoryLock> {
    let operation = match mode {
        Mode::Exclusive => FlockOperation::LockExclusive,
        Mode::Shared => FlockOperation::LockShared,
    };
    loop {
        let held = File::open(directory)?;
        wait(&held, operation)?;
        // The directory may have been removed and made anew while this waited.
        match is_at(&held, directory) {
            Ok(true) => return Ok(RepositoryLock { _held: held }),
            Ok(false) => {}
            // It may come again; if not, opening it says so.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes the caller the one writer of an upload's data file, for as long as `file` is open.
///
/// `false` if somebody else is, or if the file is not (or no longer) the one at `path`.
pub(super) fn become_writer(file: &File, path: &Path) -> io::Result<Writer> {
    if !attempt(file, FlockOperation::NonBlockingLockExclusive)? {
        return Ok(Writer::Busy);
    }
    match is_at(file, path) {
        Ok(true) => Ok(Writer::Yes),
        Ok(false) => Ok(Writer::Gone),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Writer::Gone),
        Err(error) => Err(error),
    }
}

/// The outcome of [`become_writer`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Writer {
    Busy,
    Gone,
    Yes,
}

/// Whether `file` is what has the name `path` now.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (held, named) = (file.metadata()?, std::fs::metadata(path)?);
    Ok(held.dev() == named.dev() && held.ino() == named.ino())
}

/// Proof of being inside a shared section.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    sections: &'a Sections,
}

impl Shared<'_> {
    /// Tells a collector that is at work what it must not take away. Not synced: after loss of power
    /// there is no collector at work.
    pub(super) fn log(
        &self,
        what: Logged,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<()> {
        let log = OpenOptions::new().append(true).open(&self.sections.delta);
        let mut log = match log {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            log => log?,
        };
        let kind = match what {
            Logged::Blob => "blob",
            Logged::Manifest => "manifest",
        };
        // One write: lines of two processes never mix. But a full disk may take only a part of it; so that
        // this does not run into the next line, each begins with a line break of its own.
        log.write_all(format!("\n{kind} {repository} {digest}\n").as_bytes())
    }
}

/// What a line of the delta log names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Logged {
    Blob,
    Manifest,
}

/// Locks the index of a listing, which is only a hint: `None` if somebody keeps it for too long.
///
/// Taken inside of everything else, for no longer than one change of one directory takes.
pub(super) fn lock_listing(file: &Arc<File>, mode: Mode) -> io::Result<Option<ListingLock>> {
    let operation = match mode {
        Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        Mode::Shared => FlockOperation::NonBlockingLockShared,
    };
    for _ in 0..100 {
        if attempt(file, operation)? {
            return Ok(Some(ListingLock(Arc::clone(file))));
        }
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
    Ok(None)
}

/// A locked index. Its file stays open beyond the lock.
#[derive(Debug)]
pub(super) struct ListingLock(Arc<File>);

impl ListingLock {
    pub(super) fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for ListingLock {
    fn drop(&mut self) {
        // Only a bad descriptor fails, and this one is open.
        let _ = flock(&*self.0, FlockOperation::Unlock);
    }
}

/// How a repository, or the index of a listing, is locked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    Exclusive,
    Shared,
}

/// A locked repository.
#[derive(Debug)]
pub(super) struct RepositoryLock {
    // The lock lives as long as the open file.
    _held: File,
}

fn wait(file: &File, operation: FlockOperation) -> io::Result<()> {
    loop {
        match flock(file, operation) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

fn attempt(file: &File, operation: FlockOperation) -> io::Result<bool> {
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn sections() -> (tempfile::TempDir, Sections) {
        let directory = tempfile::tempdir().unwrap();
        let sections = Sections::new(directory.path());
        sections.create().unwrap();
        (directory, sections)
    }

    #[test]
    fn shared_holders_do_not_wait_for_each_other() {
        let (_directory, sections) = sections();
        let inner = sections.shared(|_| {
            std::thread::scope(|scope| scope.spawn(|| sections.shared(|_| Ok(7))).join().unwrap())
        });
        assert_eq!(inner.unwrap(), 7);
    }

    #[test]
    fn an_exclusive_holder_gives_up_while_somebody_is_inside() {
        let (_directory, sections) = sections();
        let outcome = sections.shared(|_| {
            std::thread::scope(|scope| {
                scope
                    .spawn(|| sections.exclusive(Duration::from_millis(20), |_| Ok(())))
                    .join()
                    .unwrap()
            })
        });
        assert_eq!(outcome.unwrap(), None);
        assert_eq!(
            sections.exclusive(Duration::ZERO, |_| Ok(1)).unwrap(),
            Some(1)
        );
    }

    #[test]
    fn a_stream_of_shared_holders_does_not_starve_an_exclusive_one() {
        let (_directory, sections) = sections();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        sections
                            .shared(|_| {
                                std::thread::park_timeout(Duration::from_millis(2));
                                Ok(())
                            })
                            .unwrap();
                    }
                });
            }
            for _ in 0..5 {
                let got = sections.exclusive(Duration::from_secs(10), |_| Ok(()));
                assert_eq!(got.unwrap(), Some(()));
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_shared_section_waits_for_an_exclusive_one() {
        let (_directory, sections) = sections();
        let (entered, order) = mpsc::channel();
        std::thread::scope(|scope| {
            sections
                .exclusive(Duration::ZERO, |_| {
                    let late = entered.clone();
                    let sections = &sections;
                    scope.spawn(move || {
                        sections.shared(|_| {
                            late.send("shared").unwrap();
                            Ok(())
                        })
                    });
                    std::thread::park_timeout(Duration::from_millis(50));
                    entered.send("exclusive").unwrap();
                    Ok(())
                })
                .unwrap();
        });
        assert_eq!(order.recv(), Ok("exclusive"));
        assert_eq!(order.recv(), Ok("shared"));
    }

    #[test]
    fn only_a_running_collector_is_told() {
        let (directory, sections) = sections();
        let repository = "a/b".parse().unwrap();
        let digest = Digest::sha256(b"x");
        let log = || sections.shared(|shared| shared.log(Logged::Blob, &repository, &digest));
        log().unwrap();
        let delta = directory.path().join("delta");
        assert!(!delta.exists());
        std::fs::write(&delta, "").unwrap();
        log().unwrap();
        let text = std::fs::read_to_string(&delta).unwrap();
        assert_eq!(text, format!("\nblob a/b {digest}\n"));
    }
}
