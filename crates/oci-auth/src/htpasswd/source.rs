//! The file: whether it changed, and what is in it.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::error::HtpasswdError;

/// The longest file that is read, in bytes.
pub(super) const MAX_FILE: u64 = 16 << 20;

/// What is compared to tell whether a file changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    identity: (u64, u64, i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            size: metadata.len(),
            modified: metadata.modified().ok(),
            // Another file in its place may well have the same size and a time that was copied, but
            // not the same number; nobody can set back the time of the last change of the inode.
            #[cfg(unix)]
            identity: (
                metadata.dev(),
                metadata.ino(),
                metadata.ctime(),
                metadata.ctime_nsec(),
            ),
        }
    }

    /// Whether a later change would surely give another stamp. File systems count time in steps, so
    /// a file changed just now may change again without a trace.
    fn is_settled(&self, now: SystemTime) -> bool {
        self.modified
            .and_then(|modified| now.duration_since(modified).ok())
            .is_some_and(|age| age > STEP)
    }
}

/// A file as it was read.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) bytes: Vec<u8>,
    /// What to compare with later; `None` if the file must be read again to be sure.
    pub(super) stamp: Option<Stamp>,
    /// How it looked when it was read.
    pub(super) seen: Option<Stamp>,
    /// Which file it is, whatever its name and contents: its device and number.
    pub(super) file: Option<(u64, u64)>,
}

/// Reads the file, unless it still bears the stamp `known`.
///
/// Symbolic links are followed every time: Kubernetes swaps a link to swap a Secret.
pub(super) fn read_if_changed(
    path: &Path,
    known: Option<&Stamp>,
    now: SystemTime,
) -> Result<Option<Contents>, HtpasswdError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => HtpasswdError::Missing {
            path: path.to_owned(),
        },
        _ => HtpasswdError::Unreadable {
            path: path.to_owned(),
            source,
        },
    };
    // Before opening it: opening a pipe would wait for somebody to write.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(HtpasswdError::Directory {
            path: path.to_owned(),
        });
    }
    if !metadata.is_file() {
        return Err(HtpasswdError::NotAFile {
            path: path.to_owned(),
        });
    }
    if known == Some(&Stamp::of(&metadata)) {
        return Ok(None);
    }
    let file = File::open(path).map_err(failed)?;
    // The stamp of the very file that is read, taken first: a write in between shows next time.
    let stamp = Stamp::of(&file.metadata().map_err(failed)?);
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(HtpasswdError::TooLarge {
            path: path.to_owned(),
        });
    }
    #[cfg(unix)]
    let file = Some((stamp.identity.0, stamp.identity.1));
    #[cfg(not(unix))]
    let file = None;
    Ok(Some(Contents {
        bytes,
        stamp: stamp.is_settled(now).then(|| stamp.clone()),
        seen: Some(stamp),
        file,
    }))
}

/// Coarser than the clock of any file system in use; FAT counts two seconds.
pub(super) const STEP: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path, known: Option<&Stamp>, now: SystemTime) -> Option<Contents> {
        read_if_changed(path, known, now).unwrap()
    }

    #[test]
    fn a_file_is_read_again_only_after_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        std::fs::write(&path, "one").unwrap();
        let now = SystemTime::now();
        // Just written: it could change once more within the same tick of the file system.
        assert_eq!(read(&path, None, now).unwrap().stamp, None);

        let later = now + Duration::from_secs(10);
        let stamp = read(&path, None, later).unwrap().stamp.unwrap();
        assert!(read(&path, Some(&stamp), later).is_none());

        std::fs::write(&path, "three").unwrap();
        let contents = read(&path, Some(&stamp), later).unwrap();
        assert_eq!(contents.bytes, b"three");
    }

    #[cfg(unix)]
    #[test]
    fn another_file_of_same_size_and_time_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let other = directory.path().join("other");
        std::fs::write(&path, "one").unwrap();
        std::fs::write(&other, "two").unwrap();
        let time = File::open(&path).unwrap().metadata().unwrap().modified();
        let file = File::options().write(true).open(&other).unwrap();
        file.set_modified(time.unwrap()).unwrap();
        let later = SystemTime::now() + Duration::from_secs(10);
        let stamp = read(&path, None, later).unwrap().stamp.unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::hard_link(&other, &path).unwrap();
        assert_eq!(read(&path, Some(&stamp), later).unwrap().bytes, b"two");
    }

    #[test]
    fn what_is_no_readable_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let missing = directory.path().join("no");
        let error = read_if_changed(&missing, None, now).unwrap_err();
        assert!(error.is_missing(), "{error}");
        let error = read_if_changed(directory.path(), None, now).unwrap_err();
        assert!(matches!(error, HtpasswdError::Directory { .. }), "{error}");
        let large = directory.path().join("large");
        File::create(&large).unwrap().set_len(MAX_FILE + 1).unwrap();
        let error = read_if_changed(&large, None, now).unwrap_err();
        assert!(matches!(error, HtpasswdError::TooLarge { .. }), "{error}");
        #[cfg(unix)]
        {
            let socket = directory.path().join("socket");
            let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
            let error = read_if_changed(&socket, None, now).unwrap_err();
            assert!(matches!(error, HtpasswdError::NotAFile { .. }), "{error}");
        }
    }
}
