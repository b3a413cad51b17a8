//! What link files said, for as long as they are the same files.
//!
//! A look at a file that was read a moment ago costs a third of opening, reading and closing it, and pulls
//! of the same few images are most of what a registry does. So the answer is never taken from here: the
//! disk is asked whether the file is still the one that was read.

use std::fmt;
use std::fs;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use oci_core::Digest;
use quick_cache::sync::Cache;

use super::durable::Identity;

/// A bounded table of links.
pub(super) struct KnownLinks {
    cache: Cache<PathBuf, Arc<Known>>,
    begun: Instant,
}

struct Known {
    file: Identity,
    digest: Digest,
    /// When the file was last looked at, in milliseconds since `begun`.
    seen: AtomicU64,
}

impl KnownLinks {
    /// What the link at `path` says, if that is known.
    pub(super) fn confirm(&self, path: &Path) -> Option<Digest> {
        Some(self.look(path)?.0)
    }

    /// The same, and how its file looks now. The disk is asked, but only about what it was asked about a
    /// moment ago: the kernel has it in memory.
    pub(super) fn look(&self, path: &Path) -> Option<(Digest, fs::Metadata)> {
        let known = self.cache.get(path)?;
        let now = self.now();
        if now.saturating_sub(known.seen.load(Ordering::Relaxed)) > RECENT {
            return None;
        }
        let found = fs::metadata(path).ok()?;
        if Identity::of(&found) != Some(known.file) {
            return None;
        }
        known.seen.store(now, Ordering::Relaxed);
        Some((known.digest, found))
    }

    /// Notes that `file`, which was just read and lies at `path`, says `digest`; unless a change of it
    /// could go unnoticed.
    pub(super) fn learn(&self, path: PathBuf, file: &File, digest: Digest) {
        let Ok(found) = file.metadata() else {
            return;
        };
        let Some(file) = Identity::of(&found).filter(|_| has_settled(&found)) else {
            return;
        };
        let seen = AtomicU64::new(self.now());
        let known = Known { file, digest, seen };
        self.cache.insert(path, Arc::new(known));
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Whether any later change of a file gives it another time of change than `metadata` has: that time is not
/// now, and the file system does not count in seconds.
fn has_settled(metadata: &fs::Metadata) -> bool {
    let (Ok(seconds), Ok(nanoseconds)) = (
        u64::try_from(metadata.ctime()),
        u32::try_from(metadata.ctime_nsec()),
    ) else {
        return false;
    };
    let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds));
    let age = changed.and_then(|changed| SystemTime::now().duration_since(changed).ok());
    nanoseconds != 0 && age.is_some_and(|age| age > TICK)
}

impl Default for KnownLinks {
    fn default() -> Self {
        Self {
            cache: Cache::new(MOST),
            begun: Instant::now(),
        }
    }
}

impl fmt::Debug for KnownLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownLinks")
            .field("links", &self.cache.len())
            .finish_non_exhaustive()
    }
}

/// At some 400 bytes each, three megabytes.
const MOST: usize = 8192;
/// In milliseconds: what was looked at so recently is still in the kernel's memory.
const RECENT: u64 = 10_000;
/// Longer than the steps in which kernels count the times of files.
const TICK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn write(path: &Path, content: &str) -> (File, Digest) {
        fs::write(path, content).unwrap();
        (
            File::open(path).unwrap(),
            Digest::sha256(content.as_bytes()),
        )
    }

    /// Until a change can no longer go unnoticed.
    #[expect(clippy::disallowed_methods, reason = "no runtime waits for this")]
    fn settle(path: &Path) {
        while !has_settled(&fs::metadata(path).unwrap()) {
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "nothing here must last")]
    fn a_link_is_known_until_its_file_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link");
        let links = KnownLinks::default();
        assert_eq!(links.confirm(&path), None);

        let (file, first) = write(&path, "first");
        settle(&path);
        links.learn(path.clone(), &file, first);
        assert_eq!(links.confirm(&path), Some(first));

        // In place, as Distribution does, with as many bytes.
        write(&path, "other");
        assert_eq!(links.confirm(&path), None);
        settle(&path);
        links.learn(path.clone(), &file, first);

        // By renaming, as this engine does.
        let new = directory.path().join("new");
        write(&new, "third");
        settle(&new);
        fs::rename(&new, &path).unwrap();
        assert_eq!(links.confirm(&path), None);

        fs::remove_file(&path).unwrap();
        assert_eq!(links.confirm(&path), None);
    }

    #[test]
    fn what_has_just_changed_is_not_learnt() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link");
        let links = KnownLinks::default();
        // Within one tick another change would leave no trace. A slow machine may need a few tries.
        for attempt in 0..100 {
            let (file, digest) = write(&path, &attempt.to_string());
            let begun = Instant::now();
            links.learn(path.clone(), &file, digest);
            if begun.elapsed() < TICK / 2 {
                assert_eq!(links.confirm(&path), None);
                return;
            }
        }
        panic!("the machine is too slow for this test");
    }
}
