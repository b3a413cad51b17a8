//! Which files and directories this process knows to be on the disk under their names.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

/// A file or directory, whatever its name: device, inode and time of birth, because inode numbers come
/// again soon after a deletion. Of a file also the time of its last change, because another registry
/// rewrites files in place; a directory changes with every name in it, and stays what it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(in super::super) struct Identity {
    device: u64,
    inode: u64,
    born: SystemTime,
    /// Seconds and nanoseconds; zeros for a directory.
    changed: (i64, i64),
}

impl Identity {
    /// `None` where the file system keeps no time of birth: then nothing is ever known.
    pub(in super::super) fn of(metadata: &Metadata) -> Option<Self> {
        let changed = if metadata.is_dir() {
            (0, 0)
        } else {
            (metadata.ctime(), metadata.ctime_nsec())
        };
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            born: metadata.created().ok()?,
            changed,
        })
    }
}

/// A file whose content may not be on the disk although it can be read: syncing it failed. Not even a
/// later sync that succeeds says otherwise, nor does a change of its times.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Doubted {
    device: u64,
    inode: u64,
    born: Option<SystemTime>,
}

impl Doubted {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            born: metadata.created().ok(),
        }
    }
}

/// The files that could not be synced. One for each failure, so there are few.
#[derive(Debug, Default)]
pub(super) struct Doubtful(HashSet<Doubted>);

impl Doubtful {
    pub(super) fn contains(&self, metadata: &Metadata) -> bool {
        !self.0.is_empty() && self.0.contains(&Doubted::of(metadata))
    }

    pub(super) fn learn(&mut self, metadata: &Metadata) {
        self.0.insert(Doubted::of(metadata));
    }

    /// A new file that was written and synced may have the number of an old one.
    pub(super) fn forget(&mut self, metadata: &Metadata) {
        if !self.0.is_empty() {
            self.0.remove(&Doubted::of(metadata));
        }
    }
}

/// A bounded set. Forgetting costs one more sync of something that is clean, nothing else.
#[derive(Debug, Default)]
pub(super) struct Known(HashSet<Identity>);

impl Known {
    pub(super) fn contains(&self, identity: &Identity) -> bool {
        self.0.contains(identity)
    }

    pub(super) fn learn(&mut self, identities: impl IntoIterator<Item = Identity>) {
        if self.0.len() >= LIMIT {
            self.0.clear();
        }
        self.0.extend(identities);
    }
}

/// About 3 MiB.
const LIMIT: usize = 50_000;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_was_written_to_is_another_one_and_a_directory_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link");
        fs::write(&path, "a").unwrap();
        let of = |path: &std::path::Path| Identity::of(&fs::metadata(path).unwrap());
        let (file, parent) = (of(&path), of(directory.path()));
        // Longer than the clock that dates changes stands still.
        std::thread::park_timeout(std::time::Duration::from_millis(30));
        assert_eq!(of(&path), file);
        fs::write(&path, "b").unwrap();
        fs::write(directory.path().join("other"), "").unwrap();
        assert_ne!(of(&path), file);
        assert_eq!(of(directory.path()), parent);
    }
}
