//! Collecting garbage: beside the server that is measured, and as Distribution does it, without one.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::Load;
use crate::arena::Arena;
use crate::measure::{Metric, Sample, float};
use crate::seed::{self, Garbage};
use crate::server::{Program, Server, Setup};

/// One collection of a registry of which a part is garbage, by the program's own command.
pub(crate) struct Collect {
    pub(crate) program: Program,
    pub(crate) sizes: Garbage,
}

impl Load for Collect {
    fn setup(&self, arena: &Arena) -> Result<Setup> {
        // Of each round its own, which stays: ext4 is slow where many files went.
        let name = format!("collect-{}", arena.number());
        Ok(Setup {
            root: Some(seed::garbage(arena, &name, self.sizes)?),
            ..Setup::default()
        })
    }

    fn fresh(&self) -> bool {
        true
    }

    fn prepare(&self, _arena: &Arena, _server: &Server) -> Result<()> {
        Ok(())
    }

    /// The server runs meanwhile. Nobody writes to it, so that for Distribution this is as good as without.
    fn measure(&self, arena: &Arena, server: &Server) -> Result<Sample> {
        let before = blobs(&server.root)?;
        let own = arena.scratch.subdirectory("collect")?;
        let mut command = self.program.collector(&server.root, &own)?;
        let log = fs::File::create(own.join("log")).context("create a log file")?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let started = Instant::now();
        let status = run(arena, &mut command)?;
        let seconds = started.elapsed().as_secs_f64();
        let name = &self.program.name;
        if !status {
            let log = fs::read_to_string(own.join("log")).unwrap_or_default();
            bail!("the collector of {name} failed:\n{log}");
        }
        let kept: HashSet<String> = seed::kept(arena, self.sizes)?.into_iter().collect();
        check(&before, &blobs(&server.root)?, &kept)
            .with_context(|| format!("collected by {name}"))?;
        fs::remove_dir_all(&own)?;
        let count = u64::try_from(before.len()).unwrap_or(u64::MAX);
        Ok(Sample::default().with(Metric::Collected, float(count) / seconds))
    }
}

fn run(arena: &Arena, command: &mut Command) -> Result<bool> {
    let mut child = arena.scratch.spawn(command).context("start a collector")?;
    let status = child.wait().context("wait for a collector")?;
    arena.scratch.end_group(&mut child);
    Ok(status.success())
}

/// The digests, without their algorithm, of all blobs that lie in a registry.
fn blobs(root: &Path) -> Result<HashSet<String>> {
    let mut found = HashSet::new();
    for start in fs::read_dir(root.join("docker/registry/v2/blobs/sha256"))? {
        for blob in fs::read_dir(start?.path())? {
            let blob = blob?;
            if blob.path().join("data").exists() {
                found.insert(blob.file_name().to_string_lossy().into_owned());
            }
        }
    }
    Ok(found)
}

/// That a collection removed the garbage and nothing else: a faster one that does not is no faster.
fn check(before: &HashSet<String>, after: &HashSet<String>, kept: &HashSet<String>) -> Result<()> {
    let (lost, left) = (
        kept.difference(after).count(),
        after.difference(kept).count(),
    );
    if lost > 0 || left > 0 || before == kept {
        bail!(
            "of {} blobs {} are to stay: {lost} of these are gone, and {left} that are garbage are left",
            before.len(),
            kept.len()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> HashSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn garbage_that_is_left_and_content_that_is_gone_are_noticed() {
        let (all, kept) = (set(&["a", "b", "c"]), set(&["a", "b"]));
        check(&all, &kept, &kept).unwrap();
        for wrong in [set(&["a", "b", "c"]), set(&["a"]), set(&["a", "c"])] {
            assert!(check(&all, &wrong, &kept).is_err(), "{wrong:?}");
        }
        // There was nothing to collect.
        assert!(check(&kept, &kept, &kept).is_err());
    }

    #[test]
    fn blobs_are_files_where_distribution_has_them() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("docker/registry/v2/blobs/sha256/ab");
        fs::create_dir_all(below.join("abcd")).unwrap();
        fs::create_dir_all(below.join("abef")).unwrap();
        fs::write(below.join("abcd/data"), "x").unwrap();
        assert_eq!(blobs(root.path()).unwrap(), set(&["abcd"]));
    }
}
