//! What a server and its children use.

use std::fs;
use std::io;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// CPU time and memory from a moment on.
#[derive(Debug)]
pub struct Meter {
    root: u32,
    processes: Vec<(u32, Duration)>,
}

/// What was used.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Used {
    /// CPU time of all threads, user and system.
    pub cpu: Duration,
    /// The most memory that was resident, in bytes, added up over the processes.
    pub peak_rss: u64,
}

impl Meter {
    /// Starts to measure process `root` and its children. Peaks of before are forgotten.
    pub fn start(root: u32) -> io::Result<Self> {
        let mut processes = Vec::new();
        for pid in family(root)? {
            // 5: the peak begins anew at what is resident now.
            fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
            processes.push((pid, cpu_time(pid)?));
        }
        Ok(Self { root, processes })
    }

    /// What was used since.
    pub fn stop(&self) -> io::Result<Used> {
        let mut used = Used::default();
        for pid in family(self.root)? {
            let before = self.processes.iter().find(|(known, _)| *known == pid);
            let before = before.map_or(Duration::ZERO, |(_, time)| *time);
            used.cpu += cpu_time(pid)?.saturating_sub(before);
            used.peak_rss += status_bytes(pid, "VmHWM:")?;
        }
        Ok(used)
    }
}

/// How much memory of a process and its children is resident now, in bytes.
pub fn resident(root: u32) -> io::Result<u64> {
    let mut bytes = 0;
    for pid in family(root)? {
        bytes += status_bytes(pid, "VmRSS:")?;
    }
    Ok(bytes)
}

/// CPU time of all threads of a process, also of those that ended.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let pid = Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?);
    let time = clock_getcpuclockid(pid).and_then(clock_gettime)?;
    Ok(time.into())
}

/// A process and everything it started that still runs.
pub fn family(root: u32) -> io::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Processes may end while we look.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The name in parentheses may hold anything; state and parent stand behind it.
        let parent = stat.rsplit(')').next().unwrap_or_default();
        let parent = parent.split_whitespace().nth(1);
        if let Some(parent) = parent.and_then(|parent| parent.parse::<u32>().ok()) {
            parents.push((pid, parent));
        }
    }
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&member) = family.get(next) {
        family.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == member)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    Ok(family)
}

fn status_bytes(pid: u32, field: &str) -> io::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path)?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other(format!("{path} has no {field}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cpu_time_and_memory_are_seen() {
        let me = std::process::id();
        let meter = Meter::start(me).unwrap();
        let before = cpu_time(me).unwrap();
        let mut block = vec![0_u8; 64 << 20];
        let mut turns = 0_u32;
        while cpu_time(me).unwrap() < before + Duration::from_millis(20) {
            block.fill(std::hint::black_box(1));
            turns += 1;
        }
        assert!(std::hint::black_box(&block).len() == 64 << 20 && turns > 0);
        drop(block);
        let used = meter.stop().unwrap();
        assert!(used.cpu >= Duration::from_millis(20));
        // Freed before the end: only a peak can show it.
        assert!(used.peak_rss >= 64 << 20, "{used:?}");
    }

    #[test]
    fn children_belong_to_the_family() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let family = family(std::process::id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(family.contains(&child.id()));
    }
}
