//! Whether a volume can be collected, and its trash.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use oci_core::StoreError;

use super::super::durable::{Dirty, is_full};
use super::super::listing::names_in;
use super::super::{Failure, Inner};

/// Refuses where `flock` may not exclude other machines, or where directories cannot be synced as a whole.
#[cfg(target_os = "linux")]
pub(super) fn check(path: &Path, any: bool) -> Result<(), Failure> {
    if any {
        return Ok(());
    }
    let kind = rustix::fs::statfs(path).map_err(io::Error::from)?.f_type;
    // Its type differs by architecture; these are numbers of 32 bits.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "only the lower half is the number"
    )]
    let kind = kind as u32;
    match DOUBTFUL.iter().find(|(magic, _)| *magic == kind) {
        Some((_, why)) => Err(StoreError::Unsupported(why).into()),
        None => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn check(_: &Path, _: bool) -> Result<(), Failure> {
    Err(StoreError::Unsupported("garbage collection of directories except on Linux").into())
}

macro_rules! doubtful {
    ($($magic:literal $name:literal,)*) => {
        &[$(($magic, concat!(
            "garbage collection on ", $name, ", whose locks may not keep out other machines; allow any file \
             system if only this machine uses the volume"
        )),)*]
    };
}

/// By `f_type`, as statfs(2) lists them.
#[cfg(target_os = "linux")]
const DOUBTFUL: &[(u32, &str)] = doubtful! {
    0x0000_6969 "NFS",
    0xff53_4d42 "CIFS",
    0xfe53_4d42 "SMB",
    0x0000_517b "SMB",
    0x6573_5546 "FUSE",
    0x0102_1997 "9P",
    0x00c3_6400 "Ceph",
    0x5346_414f "AFS",
    0x7375_7245 "Coda",
    0x0bd0_0bd0 "Lustre",
    0x4750_4653 "GPFS",
};

/// Gives a file or directory that was just made to whoever owns the directory that it is in, and lets those
/// write to it who may write there: an administrator, whose files nobody else may touch by default, collects
/// beside a registry that runs as another user.
///
/// Where that is not allowed, as to somebody who does not own the directory, what was made stays as it is.
pub(in super::super) fn share(path: &Path) -> io::Result<()> {
    let (made, above) = (
        fs::metadata(path)?,
        fs::metadata(path.parent().unwrap_or(path))?,
    );
    // A file has no use for what lets a directory be searched.
    let useful = if made.is_dir() { 0o777 } else { 0o666 };
    let mode = (made.mode() & 0o7777) | (above.mode() & useful);
    if mode != made.mode() & 0o7777 {
        unless_denied(fs::set_permissions(path, fs::Permissions::from_mode(mode)))?;
    }
    if made.uid() != above.uid() {
        unless_denied(std::os::unix::fs::chown(
            path,
            Some(above.uid()),
            Some(above.gid()),
        ))?;
    }
    Ok(())
}

fn unless_denied(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

impl Inner {
    /// Makes the directory for what is renamed away. On a full disk there may be none.
    pub(super) fn make_trash(&self) -> io::Result<()> {
        let trash = self.layout.trash();
        if trash.is_dir() {
            return Ok(());
        }
        match self.disk.ensure_directory(&trash, &mut Dirty::new()) {
            Err(error) if is_full(&error) => Ok(()),
            made => made.and_then(|()| share(&trash)),
        }
    }

    /// Unlinks what was renamed away. Whatever is there is nobody's any more.
    pub(super) fn empty_trash(&self) -> io::Result<()> {
        let trash = self.layout.trash();
        for name in names_in(&trash)?.unwrap_or_default() {
            self.disk.remove_file(&trash.join(name))?;
        }
        Ok(())
    }
}
