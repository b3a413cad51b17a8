//! One running registry process.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};

use crate::{
    http::Connection,
    pause,
    payload::Random,
    program::{Program, Tls},
};

/// How long a start may take before it counts as failed.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A registry that serves; dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    ready_after: Duration,
}

impl Server {
    /// Starts the program on a storage directory; its configuration and log go to `scratch`.
    ///
    /// # Errors
    /// When it does not serve in time; the message holds the end of its log.
    pub fn start(program: &Program, storage: &Path, scratch: &Path) -> Result<Self> {
        Self::start_with(program, storage, scratch, None)
    }

    /// The same behind TLS: ready as soon as it accepts connections.
    pub fn start_with(
        program: &Program,
        storage: &Path,
        scratch: &Path,
        tls: Option<&Tls>,
    ) -> Result<Self> {
        let address = free_address()?;
        let config = scratch.join("config.yml");
        let log = scratch.join("server.log");
        fs::write(&config, program.config(storage, &address.to_string(), tls))
            .with_context(|| format!("write {}", config.display()))?;
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open {}", log.display()))?;
        let started = Instant::now();
        let child = program
            .command(&config)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("start the registry")?;
        let mut server = Self {
            child,
            address,
            log,
            ready_after: Duration::ZERO,
        };
        loop {
            let ready = if tls.is_some() {
                TcpStream::connect(address).is_ok()
            } else {
                server.answers()
            };
            if ready {
                server.ready_after = started.elapsed();
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                bail!(
                    "the registry ended ({status}) instead of serving:\n{}",
                    server.log_tail()
                );
            }
            if started.elapsed() > START_LIMIT {
                bail!(
                    "the registry does not serve after {START_LIMIT:?}:\n{}",
                    server.log_tail()
                );
            }
            pause(Duration::from_millis(2));
        }
    }

    fn answers(&self) -> bool {
        Connection::new(self.address)
            .send("GET", "/v2/", &[], crate::http::Body::Empty)
            .is_ok_and(|response| response.status == 200)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The time from the start of the process to its first good answer.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill the registry")?;
        self.child.wait().context("wait for the registry")?;
        Ok(())
    }

    /// Sends `SIGTERM`.
    pub fn terminate(&self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("a process id out of range")?;
        rustix::process::kill_process(pid, Signal::TERM).context("send SIGTERM")
    }

    /// The status it ended with, or nothing when it still runs after `limit`.
    pub fn ended_within(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.child.try_wait()?;
            if status.is_some() || Instant::now() > deadline {
                return Ok(status);
            }
            pause(Duration::from_millis(5));
        }
    }

    /// The last lines it logged.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// Bytes it asked the kernel to read so far, cached or not (`rchar`).
    pub fn bytes_read(&self) -> Result<u64> {
        self.proc_number("io", "rchar:")
    }

    /// Its peak resident memory in bytes since the last reset.
    pub fn peak_memory(&self) -> Result<u64> {
        Ok(self.proc_number("status", "VmHWM:")? * 1024)
    }

    /// Its resident memory in bytes.
    pub fn memory(&self) -> Result<u64> {
        Ok(self.proc_number("status", "VmRSS:")? * 1024)
    }

    /// Forgets the peak.
    pub fn reset_peak_memory(&self) -> Result<()> {
        let path = format!("/proc/{}/clear_refs", self.pid());
        File::options()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(b"5"))
            .with_context(|| format!("write {path}"))
    }

    fn proc_number(&self, file: &str, key: &str) -> Result<u64> {
        let path = format!("/proc/{}/{file}", self.pid());
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        text.lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("no {key} in {path}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is fine; there is nobody left to tell about anything else.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a log.
pub(crate) fn tail(path: &Path) -> String {
    let mut text = String::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(64 << 20).read_to_string(&mut text);
    }
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().take(400).collect())
        .collect();
    lines
        .get(lines.len().saturating_sub(15)..)
        .unwrap_or_default()
        .join("\n")
}

/// A free port below the range that outgoing connections use: none of ours can take it while the
/// server is down.
fn free_address() -> Result<SocketAddr> {
    let mut random = Random::new(u64::from(std::process::id()) ^ nanoseconds());
    for _ in 0..200 {
        let port = u16::try_from(random.between(10_000, 32_000)).unwrap_or_default();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port between 10000 and 32000")
}

/// Something that differs between two runs.
pub(crate) fn nanoseconds() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| {
            time.as_secs() << 30 | u64::from(time.subsec_nanos())
        })
}
