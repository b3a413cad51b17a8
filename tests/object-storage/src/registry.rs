//! registryd as a process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, bail};

/// A registryd that serves. It is killed when this is dropped.
#[derive(Debug)]
pub struct Registryd {
    process: Child,
    log: Receiver<String>,
    /// Where it listens.
    pub address: String,
    /// What it said until then.
    pub said: Vec<String>,
}

impl Registryd {
    /// Starts `binary` with nothing in its environment but `variables`.
    ///
    /// # Errors
    /// If it does not begin to listen, with what it said.
    pub fn start(binary: &str, variables: &[(String, String)]) -> anyhow::Result<Self> {
        let mut process = command(binary, variables)
            .spawn()
            .context("starting registryd")?;
        let stderr = BufReader::new(process.stderr.take().context("its log")?);
        let (send, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let mut started = Self {
            process,
            log,
            address: String::new(),
            said: Vec::new(),
        };
        loop {
            let Ok(line) = started.log.recv_timeout(Duration::from_secs(120)) else {
                bail!("registryd does not listen: {:#?}", started.said);
            };
            if let Some((_, rest)) = line.split_once("listening on ") {
                rest.trim().clone_into(&mut started.address);
                return Ok(started);
            }
            started.said.push(line);
        }
    }

    /// The most memory that it has had resident so far, in bytes.
    ///
    /// # Errors
    /// If it has ended.
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        let status = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(&status).with_context(|| status.clone())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes: u64 = kibibytes.context("no VmHWM")?.trim().parse()?;
        Ok(kibibytes << 10)
    }

    /// Ends it as a power cut would.
    ///
    /// # Errors
    /// If it has ended before.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().context("it is gone already")?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Registryd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What registryd says when it does not start.
///
/// # Errors
/// If it cannot be run, or starts.
pub fn refusal(binary: &str, variables: &[(String, String)]) -> anyhow::Result<String> {
    let output = command(binary, variables).output()?;
    if output.status.success() {
        bail!("it ended without an error");
    }
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn command(binary: &str, variables: &[(String, String)]) -> Command {
    let mut command = Command::new(binary);
    command
        .env_clear()
        .envs(variables.iter().cloned())
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}
