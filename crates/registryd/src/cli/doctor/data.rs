//! The place where a registry keeps its images.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Finding;
use crate::config::{Config, StorageDriver};
use crate::mounts::{self, Fate};

/// Below this, a push of one large image fails.
const LITTLE: u64 = 1 << 30;

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let filesystem = match &config.storage.driver {
        StorageDriver::Filesystem(filesystem) => filesystem,
        StorageDriver::InMemory {} => {
            return vec![Finding::warning(
                "storage",
                "everything is gone when the process ends",
                "use `storage.filesystem`",
            )];
        }
        _ => {
            return vec![Finding::ok(
                "storage",
                "images are kept by another store than the filesystem's, which is not looked at",
            )];
        }
    };
    let root = &filesystem.rootdirectory;
    let mut found = vec![writable(root, sync)];
    found.extend(space(existing(root)));
    found.push(lasting(root));
    found
}

/// Writes a file, syncs it, and removes it.
fn writable(root: &Path, sync: impl Fn(&File) -> io::Result<()>) -> Finding {
    let attempt = || -> io::Result<()> {
        std::fs::create_dir_all(root)?;
        let path = root.join(format!(".registryd-doctor-{}", std::process::id()));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        let outcome = file
            .write_all(b"written by `registryd doctor`\n")
            .and_then(|()| sync(&file));
        std::fs::remove_file(&path)?;
        outcome
    };
    let Err(error) = attempt() else {
        return Finding::ok(
            "write",
            format!("{} takes files and syncs them", root.display()),
        );
    };
    let uid = rustix::process::geteuid().as_raw();
    let place = existing(root);
    let owner = std::fs::metadata(place)
        .map(|metadata| {
            format!(
                " ({} belongs to {}:{}, mode {:04o})",
                place.display(),
                metadata.uid(),
                metadata.gid(),
                metadata.mode() & 0o7777
            )
        })
        .unwrap_or_default();
    let fix = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "mount the volume writable: without `:ro` in docker, without `readOnly: true` in Kubernetes"
                .to_owned()
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room, or enlarge the volume".to_owned()
        }
        io::ErrorKind::PermissionDenied => format!(
            "chown -R {uid} {}, or in Kubernetes `securityContext.fsGroup: {uid}`",
            root.display()
        ),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => format!(
            "name a directory in `storage.filesystem.rootdirectory`; {} is a file",
            place.display()
        ),
        _ => "look at the kernel's log (dmesg), or at the server of a network file system: what cannot be synced is lost with the power".to_owned(),
    };
    Finding::error(
        "write",
        format!(
            "cannot write to {} as user {uid}: {error}{owner}",
            root.display()
        ),
        fix,
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "whether a sync works is the question; nothing relies on this file"
)]
fn sync(file: &File) -> io::Result<()> {
    file.sync_all()
}

fn space(place: &Path) -> Vec<Finding> {
    let Ok(disk) = rustix::fs::statvfs(place) else {
        return Vec::new();
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    vec![
        disk_space(place, free),
        inodes(place, disk.f_favail, disk.f_files),
    ]
}

fn disk_space(place: &Path, free: u64) -> Finding {
    let what = format!("{} MiB are free at {}", free >> 20, place.display());
    if free < LITTLE {
        return Finding::warning("disk", what, "make room, or enlarge the volume");
    }
    Finding::ok("disk", what)
}

/// Some file systems have as many as they have room for, and count none.
fn inodes(place: &Path, free: u64, all: u64) -> Finding {
    if all > 0 && free < all / 50 {
        return Finding::warning(
            "inodes",
            format!("{free} of {all} inodes are free at {}", place.display()),
            "each blob takes several: make a file system with more of them",
        );
    }
    Finding::ok("inodes", "there are enough inodes")
}

/// Whether what is written there outlives a container.
fn lasting(root: &Path) -> Finding {
    let (fate, others) = mounts::fate(root);
    match fate.problem(root, &others) {
        None => Finding::ok(
            "volume",
            format!("{} outlives this process", root.display()),
        ),
        Some((what, fix)) if matches!(fate, Fate::Goes(_)) => Finding::error("volume", what, fix),
        Some((what, fix)) => Finding::warning("volume", what, fix),
    }
}

/// The nearest directory above that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    #[test]
    fn a_place_that_cannot_be_written_names_who_tried() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let finding = writable(&file.join("root"), sync);
        assert_eq!(finding.severity, Severity::Error);
        assert!(
            finding.what.contains("as user ") && finding.what.contains("belongs to"),
            "{}",
            finding.what
        );
        assert!(finding.fix.unwrap().ends_with("file is a file"));
        let new = writable(&folder.path().join("new"), sync);
        assert_eq!(new.severity, Severity::Ok);
    }

    /// Root may write everywhere, and disks that fail are rare: what a sync would say is said for it.
    #[test]
    fn each_way_of_failing_has_a_fix_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        for (error, fix) in [
            (rustix::io::Errno::IO, "dmesg"),
            (rustix::io::Errno::ACCESS, "fsGroup"),
            (rustix::io::Errno::ROFS, "writable"),
            (rustix::io::Errno::NOSPC, "make room"),
        ] {
            let finding = writable(folder.path(), |_| Err(error.into()));
            assert_eq!(finding.severity, Severity::Error);
            assert!(finding.fix.unwrap().contains(fix), "{error}");
        }
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 0, "the file is removed");
    }

    #[test]
    fn little_room() {
        let place = Path::new("/var/lib/registry");
        assert_eq!(
            disk_space(place, 5 << 20).what,
            "5 MiB are free at /var/lib/registry"
        );
        assert_eq!(disk_space(place, 5 << 20).severity, Severity::Warning);
        assert_eq!(disk_space(place, 5 << 30).severity, Severity::Ok);
        assert_eq!(inodes(place, 1, 1000).severity, Severity::Warning);
        assert_eq!(inodes(place, 900, 1000).severity, Severity::Ok);
        assert_eq!(inodes(place, 0, 0).severity, Severity::Ok);
    }
}
