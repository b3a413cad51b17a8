//! Asking the storage whether it still answers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oci_core::Registry;
use oci_core::store::PageRequest;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::time::{Instant, timeout};

/// A question that costs little and that a storage in trouble cannot answer.
#[derive(Debug)]
pub struct StorageProbe {
    registry: Registry,
    /// The directory of the filesystem store.
    root: Option<PathBuf>,
    last: tokio::sync::Mutex<Option<(Instant, Result<(), String>)>>,
    space: Mutex<Option<Space>>,
    /// A question to the disk that has not come back, be it given up or not.
    asking: Arc<AtomicBool>,
}

/// Room in the file system of the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Space {
    /// Bytes left for this user.
    pub free_bytes: u64,
    /// Bytes in all.
    pub size_bytes: u64,
    /// Files that can still be made.
    pub free_inodes: u64,
    /// Files in all.
    pub inodes: u64,
}

impl StorageProbe {
    /// A probe of the stores of `registry`, and of the directory they use, if they do.
    pub fn new(registry: Registry, root: Option<PathBuf>) -> Self {
        Self {
            registry,
            root,
            last: tokio::sync::Mutex::default(),
            space: Mutex::default(),
            asking: Arc::default(),
        }
    }

    /// Asks, unless the last answer is fresh. Of many who ask at once, one does.
    pub(super) async fn check(&self) -> Result<(), String> {
        let mut last = self.last.lock().await;
        if let Some((when, answer)) = &*last
            && when.elapsed() < FRESH
        {
            return answer.clone();
        }
        let answer = match timeout(PATIENCE, self.ask()).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} seconds", PATIENCE.as_secs())),
        };
        *last = Some((Instant::now(), answer.clone()));
        answer
    }

    /// What the last check found.
    pub(super) fn space(&self) -> Option<Space> {
        *self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self) -> Result<(), String> {
        if let Some(root) = self.root.clone() {
            // A disk that hangs must not take a thread for each time it is asked.
            if self.asking.swap(true, Ordering::AcqRel) {
                return Err("an earlier question to the disk is still without an answer".to_owned());
            }
            let asking = Arc::clone(&self.asking);
            let asked = tokio::task::spawn_blocking(move || {
                let answer = ask_disk(&root);
                asking.store(false, Ordering::Release);
                answer
            });
            let space = asked.await.map_err(|error| error.to_string())??;
            *self.space.lock().unwrap_or_else(PoisonError::into_inner) = Some(space);
        }
        let one = PageRequest::first(1);
        match self.registry.manifests().repositories(&one).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let cause = std::error::Error::source(&error);
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                Err(format!("{error}{cause}"))
            }
        }
    }
}

/// Writes a byte into a file that has no name, and counts what is left.
///
/// A disk that is full or read-only still serves pulls: that is no reason to send clients away, and shows
/// in the metrics and in what pushes are told.
fn ask_disk(root: &Path) -> Result<Space, String> {
    let failed = |doing: &str, error: Errno| {
        let io = std::io::Error::from(error);
        format!("cannot {doing} {}: {io}", root.display())
    };
    let counted = rustix::fs::statvfs(root).map_err(|error| failed("look at", error))?;
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let written = rustix::fs::open(root, flags, Mode::RUSR | Mode::WUSR)
        .and_then(|file| rustix::io::write(&file, b"?"));
    match written {
        // No room or no leave to write; or a file system without nameless files.
        Ok(_)
        | Err(
            Errno::NOSPC
            | Errno::DQUOT
            | Errno::ROFS
            | Errno::ACCESS
            | Errno::PERM
            | Errno::OPNOTSUPP
            | Errno::ISDIR
            | Errno::NOENT
            | Errno::INVAL,
        ) => {}
        Err(error) => return Err(failed("write in", error)),
    }
    Ok(Space {
        free_bytes: counted.f_bavail.saturating_mul(counted.f_frsize),
        size_bytes: counted.f_blocks.saturating_mul(counted.f_frsize),
        free_inodes: counted.f_favail,
        inodes: counted.f_files,
    })
}

/// How long an answer counts. Probes and scrapes may come from many sides.
const FRESH: Duration = Duration::from_secs(1);
/// A storage that takes longer does not serve anybody.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use oci_core::memory::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn a_directory_is_written_to_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::new(MemoryStore::new());
        let probe = StorageProbe::new(registry, Some(dir.path().to_owned()));
        assert_eq!(probe.check().await, Ok(()));
        let space = probe.space().unwrap();
        assert!(space.size_bytes > 0 && space.free_bytes <= space.size_bytes);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_directory_that_is_gone_is_a_problem() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        let registry = Registry::new(MemoryStore::new());
        let probe = StorageProbe::new(registry, Some(gone));
        let problem = probe.check().await.unwrap_err();
        assert!(problem.contains("gone"), "{problem}");
    }
}
