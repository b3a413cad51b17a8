//! Finding the programs the tests drive, and saying how to install those that are missing.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The search path of every program under test. Debian's own packages come before anything a
/// developer put into `/usr/local`, because their versions are the ones the tests know.
pub const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin";

/// Where a program is installed.
///
/// # Errors
/// When it is not: the message names the Debian package.
pub fn find(program: &str) -> Result<PathBuf> {
    let found = PATH
        .split(':')
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file());
    match found {
        Some(path) => Ok(path),
        None => bail!(
            "`{program}` is not installed: run `.ci/install-clients` as root, or `apt-get install \
             -y --no-install-recommends {}`",
            package(program)
        ),
    }
}

/// The Debian package that brings a program.
fn package(program: &str) -> &str {
    match program {
        "dockerd" | "docker" => "docker.io",
        "ctr" | "containerd" => "containerd",
        "nsenter" | "setpriv" | "unshare" => "util-linux",
        "mount" | "umount" => "mount",
        "ip" => "iproute2",
        "nginx" => "nginx-light",
        "sh" => "dash",
        other => other,
    }
}
