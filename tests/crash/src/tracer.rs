//! Syscalls of a running server that fail, or only seem to be done.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};

use crate::pause;

/// Everything that makes written content durable.
pub const SYNC: &str = "fsync,fdatasync,syncfs,sync_file_range";

/// A strace attached to the server; dropping it lets go.
#[derive(Debug)]
pub struct Tracer {
    strace: Child,
    pid: u32,
}

impl Tracer {
    /// Attaches to every thread of a process; the named syscalls do what `effect` says instead of
    /// their work: `error=EIO`, `retval=0`.
    ///
    /// # Errors
    /// When strace is missing or may not attach.
    pub fn attach(pid: u32, syscalls: &str, effect: &str) -> Result<Self> {
        let strace = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null"])
            .arg(format!("--trace={syscalls}"))
            .arg(format!("--inject={syscalls}:{effect}"))
            .args(["-p", &pid.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .context("start `strace` (package strace)")?;
        let mut tracer = Self { strace, pid };
        for _ in 0..500 {
            if tracer.attached_everywhere() {
                return Ok(tracer);
            }
            if let Some(status) = tracer.strace.try_wait()? {
                bail!("strace ended ({status}) instead of attaching to {pid}");
            }
            pause(Duration::from_millis(10));
        }
        bail!("strace does not attach to {pid}");
    }

    /// Whether every thread of the server is traced.
    fn attached_everywhere(&self) -> bool {
        self.threads().all(|status| status)
    }

    fn threads(&self) -> impl Iterator<Item = bool> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid));
        tasks.into_iter().flatten().flatten().map(|task| {
            fs::read_to_string(task.path().join("status")).is_ok_and(|status| {
                status
                    .lines()
                    .any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
            })
        })
    }

    /// Lets go of the process, which runs on.
    ///
    /// # Errors
    /// When a thread stays traced.
    pub fn detach(mut self) -> Result<()> {
        self.let_go().context("detach strace")?;
        for _ in 0..500 {
            if self.threads().all(|traced| !traced) {
                return Ok(());
            }
            pause(Duration::from_millis(10));
        }
        bail!("strace does not let go of {}", self.pid)
    }

    fn let_go(&mut self) -> Result<()> {
        if self.strace.try_wait()?.is_none() {
            let pid = i32::try_from(self.strace.id()).ok().and_then(Pid::from_raw);
            rustix::process::kill_process(pid.context("a process id")?, Signal::TERM)?;
            self.strace.wait()?;
        }
        Ok(())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // The server is killed right after, traced or not.
        let _ = self.let_go();
    }
}
