//! Small files that people and other programs read while they are replaced: keys, certificates,
//! password files, settings of clients.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The longest file that is read.
const MAX: u64 = 1 << 20;

/// Reads a regular file of at most 1 MiB. Symbolic links are followed.
///
/// # Errors
/// If it is missing, no regular file, too large, or cannot be read.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Before opening it: opening a pipe would wait for somebody to write.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other(if metadata.is_dir() {
            "it is a directory"
        } else {
            "it is not a regular file"
        }));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(bytes)
}

/// As [`read`], `None` where there is nothing.
pub(crate) fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts `bytes` in the place of the file in one step: who opens it sees the old or the new, never a part.
///
/// A file that is there keeps its mode and owner, and a symbolic link stays one; `mode` is for a new file.
///
/// # Errors
/// If it cannot be written. The old file is then still there.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let path = match std::fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let old = std::fs::metadata(&path).ok();
    let temporary = beside(&path)?;
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        let mode = match &old {
            Some(old) => {
                let new = file.metadata()?;
                if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                    std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
                }
                old.mode() & 0o7777
            }
            None => mode,
        };
        // After the owner, whose change clears bits of the mode; and whatever the umask says.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        sync(&file)?;
        rename(&temporary, &path)
    })();
    if let Err(error) = written {
        let _ = std::fs::remove_file(&temporary);
        // A file that a container runtime mounted by itself can only be written where it is.
        if error.kind() == io::ErrorKind::ResourceBusy {
            return in_place(&path, bytes);
        }
        return Err(error);
    }
    match path.parent() {
        // Only a name: a file of the working directory.
        Some(parent) if parent.as_os_str().is_empty() => sync(&File::open(".")?),
        Some(parent) => sync(&File::open(parent)?),
        None => Ok(()),
    }
}

/// Waits until nobody else edits the file, and keeps others waiting while the answer lives.
///
/// The lock lies beside it and stays: who removed it would let in two at once.
///
/// # Errors
/// If the lock can neither be made nor opened.
pub(crate) fn lock_beside(path: &Path) -> io::Result<File> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".lock");
    lock(&path.with_file_name(name))
}

/// Makes a file if there is none, and waits until nobody else has it locked.
///
/// # Errors
/// If it can neither be made nor opened.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    let made = OpenOptions::new().append(true).create(true).open(path);
    let file = match made {
        // That of another user: reading is enough to lock it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path)?,
        made => made?,
    };
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

fn in_place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    sync(&file)
}

/// A name in the same directory that nobody else uses.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", hex::encode(random)));
    Ok(path.with_file_name(name))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the binary that replaces a file outside the stores"
)]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the binary that replaces a file outside the stores"
)]
fn sync(file: &File) -> io::Result<()> {
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_keeps_mode_and_link_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("real");
        let link = directory.path().join("link");
        std::fs::write(&real, "old").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        replace(&link, b"new", 0o600).unwrap();
        assert!(link.is_symlink());
        assert_eq!(read(&real).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&real).unwrap().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_new_file_has_the_mode_it_was_given() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        replace(&path, b"secret", 0o600).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_small_file_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path()).is_err());
        let large = directory.path().join("large");
        File::create(&large).unwrap().set_len(MAX + 1).unwrap();
        assert!(read(&large).is_err());
        assert!(
            read_if_there(&directory.path().join("no"))
                .unwrap()
                .is_none()
        );
    }
}
