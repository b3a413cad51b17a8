//! Small file systems that can be filled or cut off. Needs root.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::pause;

/// The kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum FileSystem {
    /// In memory; it can be filled, not cut.
    Tmpfs,
    /// On a file behind a loop device.
    Ext4,
    /// On a file behind a loop device.
    Xfs,
}

impl FileSystem {
    fn name(self) -> &'static str {
        match self {
            Self::Tmpfs => "tmpfs",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// A mounted file system; dropping it unmounts it.
#[derive(Debug)]
pub struct Volume {
    kind: FileSystem,
    size: u64,
    image: PathBuf,
    mountpoint: PathBuf,
}

impl Volume {
    /// Makes and mounts an empty file system of `size` bytes below `scratch`.
    pub fn create(kind: FileSystem, size: u64, scratch: &Path) -> Result<Self> {
        let volume = Self {
            kind,
            size,
            image: scratch.join("volume.img"),
            mountpoint: scratch.join("volume"),
        };
        fs::create_dir_all(&volume.mountpoint)
            .with_context(|| format!("create {}", volume.mountpoint.display()))?;
        volume.format()?;
        volume.mount()?;
        Ok(volume)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mountpoint
    }

    /// Starts again with an empty file system.
    pub fn renew(&self) -> Result<()> {
        self.unmount()?;
        self.format()?;
        self.mount()
    }

    /// Stops all writing at once, as losing power would: what is not on the device by now never
    /// comes there, the journal included.
    pub fn cut(&self) -> Result<()> {
        // FS_IOC_SHUTDOWN with the flag "do not flush the log". It has no safe wrapper.
        const SCRIPT: &str = "open(my $f, '<', $ARGV[0]) or die \"open: $!\\n\"; \
            my $how = pack('L', 2); \
            ioctl($f, 0x8004587D, $how) or die \"shutdown: $!\\n\"";
        run(Command::new("perl")
            .args(["-e", SCRIPT])
            .arg(&self.mountpoint))
    }

    /// Unmounts and mounts again: the journal is replayed.
    pub fn remount(&self) -> Result<()> {
        self.unmount()?;
        self.mount()
    }

    /// Free bytes.
    pub fn free(&self) -> Result<u64> {
        let state = rustix::fs::statvfs(&self.mountpoint).context("ask for free space")?;
        Ok(state.f_bavail * state.f_frsize)
    }

    fn format(&self) -> Result<()> {
        if self.kind == FileSystem::Tmpfs {
            return Ok(());
        }
        File::create(&self.image)
            .and_then(|file| file.set_len(self.size))
            .with_context(|| format!("make {}", self.image.display()))?;
        let program = format!("mkfs.{}", self.kind.name());
        let quiet: &[&str] = match self.kind {
            FileSystem::Ext4 => &["-q", "-F", "-m", "0", "-E", "nodiscard"],
            _ => &["-q", "-f", "-K"],
        };
        run(Command::new(program).args(quiet).arg(&self.image))
    }

    fn mount(&self) -> Result<()> {
        let mut command = Command::new("mount");
        command.args(["-t", self.kind.name()]);
        if self.kind == FileSystem::Tmpfs {
            command.args(["-o", &format!("size={}", self.size), "tmpfs"]);
        } else {
            command.args(["-o", "loop"]).arg(&self.image);
        }
        run(command.arg(&self.mountpoint))
    }

    fn unmount(&self) -> Result<()> {
        let mut attempt = 0;
        loop {
            let done = run(Command::new("umount").arg(&self.mountpoint));
            attempt += 1;
            if done.is_ok() || attempt == 20 {
                return done;
            }
            pause(Duration::from_millis(50));
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // The mount is private to this program and goes away with it at the latest.
        let _ = self.unmount();
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
