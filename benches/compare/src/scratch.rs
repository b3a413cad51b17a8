//! What must be gone at the end, however that comes: processes and data.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::machine;

/// A directory of its own on a disk, and the process groups that run in it.
#[derive(Debug)]
pub(crate) struct Scratch {
    directory: TempDir,
    groups: Arc<Mutex<Vec<u32>>>,
    /// Directories of the cgroup file system, which are removed when they are empty.
    cgroups: Arc<Mutex<Vec<PathBuf>>>,
}

impl Scratch {
    pub(crate) fn create(below: &Path) -> Result<Self> {
        fs::create_dir_all(below).with_context(|| format!("create {}", below.display()))?;
        machine::on_disk(below)?;
        let directory = tempfile::Builder::new()
            .prefix("compare-")
            .tempdir_in(below)
            .with_context(|| format!("create a directory in {}", below.display()))?;
        let groups: Arc<Mutex<Vec<u32>>> = Arc::default();
        let cgroups: Arc<Mutex<Vec<PathBuf>>> = Arc::default();
        let path = directory.path().to_owned();
        let (known, known_cgroups) = (Arc::clone(&groups), Arc::clone(&cgroups));
        ctrlc::set_handler(move || {
            eprintln!("registry-compare: interrupted, cleaning up");
            // Kept locked until the end, so that no further process starts.
            let groups = known.lock().unwrap_or_else(PoisonError::into_inner);
            for group in groups.iter() {
                kill(*group);
            }
            remove(&path);
            remove_cgroups(&known_cgroups);
            std::process::exit(130);
        })
        .context("catch SIGINT and SIGTERM")?;
        Ok(Self {
            directory,
            groups,
            cgroups,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A new empty directory.
    pub(crate) fn subdirectory(&self, name: &str) -> Result<PathBuf> {
        let path = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(self.path())
            .context("create a directory")?;
        Ok(path.keep())
    }

    /// Makes a directory in the cgroup file system. It goes with this value.
    pub(crate) fn cgroup(&self, path: PathBuf) -> Result<PathBuf> {
        fs::create_dir(&path).with_context(|| {
            let path = path.display();
            format!("make the cgroup {path}: this needs root and a writable cgroup file system")
        })?;
        let mut cgroups = self.cgroups.lock().unwrap_or_else(PoisonError::into_inner);
        cgroups.push(path.clone());
        Ok(path)
    }

    /// Starts a program in a process group of its own, which does not outlive this process.
    pub(crate) fn spawn(&self, command: &mut Command) -> std::io::Result<Child> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.process_group(0).spawn()?;
        groups.push(child.id());
        Ok(child)
    }

    /// Ends a process group and waits for its leader.
    ///
    /// The leader is asked first: it waits for the processes that it started.
    pub(crate) fn end_group(&self, leader: &mut Child) {
        let group = leader.id();
        if let Some(pid) = pid(group) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline && matches!(leader.try_wait(), Ok(None)) {
            registry_load_driver::pause(Duration::from_millis(2));
        }
        kill(group);
        let _ = leader.wait();
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|known| *known != group);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove_cgroups(&self.cgroups);
    }
}

fn remove_cgroups(cgroups: &Mutex<Vec<PathBuf>>) {
    let mut cgroups = cgroups.lock().unwrap_or_else(PoisonError::into_inner);
    for cgroup in cgroups.drain(..) {
        for _ in 0..20 {
            if fs::remove_dir(&cgroup).is_ok() {
                break;
            }
            registry_load_driver::pause(Duration::from_millis(50));
        }
    }
}

/// Removes a directory. Processes that were just killed may still write.
pub(crate) fn remove(path: &Path) {
    for _ in 0..20 {
        if fs::remove_dir_all(path).is_ok() || !path.exists() {
            return;
        }
        registry_load_driver::pause(Duration::from_millis(50));
    }
    eprintln!("registry-compare: {} could not be removed", path.display());
}

fn kill(group: u32) {
    if let Some(group) = pid(group) {
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}
