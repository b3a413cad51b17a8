//! The file that pushes log to: made when a run begins, also on a full disk, and gone when it ends.
//!
//! There is always one ready, with blocks of its own: without them a run on a full disk, which is when it is
//! needed most, could not begin, and pushers could not say what they rely on.

use std::fs::{self, File};
use std::io;

use super::super::Inner;
use super::super::durable::open_file;
use super::volume::share;

/// A log that a run reads, and everybody else writes. Removed when it is dropped, which must be before the
/// collector's lock is let go.
pub(super) struct Log<'a> {
    inner: &'a Inner,
    file: File,
}

impl Log<'_> {
    /// The open log.
    ///
    /// # Errors
    /// If another file has its name: then somebody's claims went where nobody reads them.
    pub(super) fn file(&self) -> io::Result<&File> {
        let path = self.inner.sections.delta();
        match super::super::section::is_at(&self.file, path) {
            Ok(true) => Ok(&self.file),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Err(io::Error::other(format!(
                "the log of pushes, `{}`, was replaced during the run: leave the files in its directory to \
                 the registry",
                path.display()
            ))),
        }
    }
}

impl Drop for Log<'_> {
    fn drop(&mut self) {
        // Left over, it only grows until the next run or start.
        let _ = self.inner.disk.remove_file(self.inner.sections.delta());
        self.inner.reserve_log();
    }
}

impl Inner {
    /// Puts an empty log in place. Nobody is in a shared section.
    pub(super) fn begin_log(&self) -> io::Result<Log<'_>> {
        let path = self.sections.delta();
        self.disk.remove_file(path)?;
        match self.disk.rename_away(&self.sections.spare_delta(), path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                drop(self.disk.create(path)?);
            }
            renamed => renamed?,
        }
        // Everybody must be able to write to it, or nobody could push.
        let file = share(path)
            .and_then(|()| open_file(path))
            .inspect_err(|_| drop(fs::remove_file(path)))?;
        Ok(Log { inner: self, file })
    }

    /// Keeps a log ready, if there is room for it. The caller is the one collector.
    pub(in super::super) fn reserve_log(&self) {
        let path = self.sections.spare_delta();
        if path.exists() {
            return;
        }
        let Ok(file) = self.disk.create(&path) else {
            return;
        };
        // Without its blocks, or with another owner, it is as good as one made when it is needed.
        let _ = reserve(&file);
        let _ = share(&path);
    }
}

#[cfg(target_os = "linux")]
fn reserve(file: &File) -> io::Result<()> {
    let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(file, flags, 0, RESERVED)?)
}

#[cfg(not(target_os = "linux"))]
fn reserve(_: &File) -> io::Result<()> {
    Ok(())
}

/// Room for what some five hundred requests rely on.
#[cfg(target_os = "linux")]
const RESERVED: u64 = 64 * 1024;
