//! To a registry, by skopeo: it knows docker's and podman's logins, their trusted authorities, and how to try again.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Pushes what an archive holds, every architecture of it, with its digest as it is.
pub(super) fn push(archive: &Path, reference: &str, options: &[OsString]) -> Result<()> {
    let status = Command::new("skopeo")
        .args([
            "copy",
            "--quiet",
            "--all",
            "--preserve-digests",
            "--retry-times=2",
        ])
        .args(options)
        .arg(format!("oci-archive:{}", archive.display()))
        .arg(format!("docker://{reference}"))
        .status()
        .context("start skopeo, which pushes: `apt-get install skopeo`")?;
    ensure!(
        status.success(),
        "skopeo could not push to {reference} ({status}); the image is in {}",
        archive.display()
    );
    Ok(())
}
