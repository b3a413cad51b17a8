//! A guide's limits: 100 MiB of memory and a tenth of a CPU.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use registry_load_driver::registry::{Client, Push};

use super::{Load, together};
use crate::arena::Arena;
use crate::measure::{Sample, metered};
use crate::server::{Server, Setup};

const MEMORY: u64 = 100 << 20;
/// In microseconds: a tenth of a CPU.
const PERIOD: u64 = 100_000;
const QUOTA: u64 = PERIOD / 10;

/// A server with so little CPU is silent for long.
const PATIENCE: Duration = Duration::from_secs(1_800);

const REPOSITORY: &str = "bench/limits";

/// Large pushes at once, then twice as many pulls at once, each of which is hashed.
pub(crate) struct Limits {
    pub(crate) size: u64,
    pub(crate) pushes: usize,
}

impl Load for Limits {
    fn setup(&self, arena: &Arena) -> Result<Setup> {
        Ok(Setup {
            cgroups: cgroups(arena)?,
            ..Setup::default()
        })
    }

    fn fresh(&self) -> bool {
        true
    }

    fn prepare(&self, _arena: &Arena, _server: &Server) -> Result<()> {
        Ok(())
    }

    fn measure(&self, arena: &Arena, server: &Server) -> Result<Sample> {
        let mut contents = Vec::new();
        for _ in 0..self.pushes {
            contents.push(arena.fresh(self.size)?);
        }
        let client = || -> Result<Client> {
            let mut connection = server.connect()?;
            connection.patience(PATIENCE)?;
            Ok(Client::new(connection))
        };
        let bytes = self.size * self.pushes as u64 * 3;
        let ((), used) = metered(server, || {
            let mut pushes = Vec::new();
            for content in &contents {
                pushes.push((client()?, content));
            }
            together(pushes, |_, (mut client, content)| {
                client.push(REPOSITORY, content, Push::Patch)
            })?;
            let mut pulls = Vec::new();
            for content in contents.iter().chain(&contents) {
                pulls.push((client()?, content));
            }
            together(pulls, |_, (mut client, content)| {
                client.verify(REPOSITORY, content)
            })?;
            Ok(())
        })?;
        Ok(Sample::transfer(bytes, &used))
    }
}

/// Cgroups with the limits set, of version 2, or else of version 1.
fn cgroups(arena: &Arena) -> Result<Vec<PathBuf>> {
    let top = Path::new("/sys/fs/cgroup");
    let name = format!("registry-compare-{}", arena.number());
    let set = |group: &Path, file: &str, value: String| {
        let path = group.join(file);
        fs::write(&path, value).with_context(|| format!("set the limit {}", path.display()))
    };
    let known = fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
    if ["cpu", "memory"]
        .iter()
        .all(|wanted| known.split_whitespace().any(|known| known == *wanted))
    {
        set(top, "cgroup.subtree_control", "+cpu +memory".into())?;
        let group = arena.scratch.cgroup(top.join(name))?;
        set(&group, "memory.max", MEMORY.to_string())?;
        set(&group, "cpu.max", format!("{QUOTA} {PERIOD}"))?;
        return Ok(vec![group]);
    }
    if !top.join("memory/memory.limit_in_bytes").exists() || !top.join("cpu").exists() {
        bail!(
            "no cgroups: {} has the controllers cpu and memory of neither version",
            top.display()
        );
    }
    let memory = arena.scratch.cgroup(top.join("memory").join(&name))?;
    set(&memory, "memory.limit_in_bytes", MEMORY.to_string())?;
    let cpu = arena.scratch.cgroup(top.join("cpu").join(&name))?;
    set(&cpu, "cpu.cfs_period_us", PERIOD.to_string())?;
    set(&cpu, "cpu.cfs_quota_us", QUOTA.to_string())?;
    Ok(vec![memory, cpu])
}
