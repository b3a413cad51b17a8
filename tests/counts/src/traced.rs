//! A registry that runs under strace from its first instruction on.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};

use crate::{
    pause,
    trace::{Counts, KINDS, Reader},
};

/// For everything that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A traced registry; dropping it kills it.
#[derive(Debug)]
pub struct Traced {
    strace: Child,
    address: SocketAddr,
    trace: BufReader<File>,
    line: Vec<u8>,
    reader: Reader,
}

impl Traced {
    /// Starts a registry that serves `storage`; configuration, log and trace go to `scratch`.
    ///
    /// The tracer is the parent of the server, which needs no rights that other programs do not have.
    ///
    /// # Errors
    /// When strace is missing or may not trace, or when the registry does not serve.
    pub fn start(registryd: &Path, storage: &Path, scratch: &Path) -> Result<Self> {
        require("strace", "--version", "strace")?;
        require("setpriv", "--version", "util-linux")?;
        let (config, trace) = (scratch.join("config.yml"), scratch.join("trace"));
        let log = scratch.join("server.log");
        let text = config_text(storage);
        fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
        let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        // strace keeps this file and truncates it, so that it can be opened for reading now.
        let lines = File::create(&trace).and_then(|_| File::open(&trace));
        let lines = lines.with_context(|| format!("create {}", trace.display()))?;
        // Both end with the thread that started them, so that nothing is left running.
        let tie = ["--pdeathsig", "KILL"];
        let strace = Command::new("setpriv")
            .args(tie)
            .args(["strace", "-f", "--seccomp-bpf", "-qq", "--signal=none"])
            .args(["--string-limit=0", "--decode-fds=path", "-o"])
            .arg(&trace)
            .arg(format!("--trace={}", wanted()))
            .arg("setpriv")
            .args(tie)
            .arg(registryd)
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("start `strace`")?;
        let mut traced = Self {
            strace,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            trace: BufReader::new(lines),
            line: Vec::new(),
            reader: Reader::default(),
        };
        traced.address = traced.wait_until_it_listens(&log)?;
        traced.settle()?;
        Ok(traced)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until every thread of the server sleeps, and returns what was called since the last time.
    ///
    /// # Errors
    /// When it does not come to rest, or has ended.
    pub fn settle(&mut self) -> Result<Counts> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = None;
        loop {
            // What is in the trace was done before the threads are looked at.
            self.read_trace()?;
            let now = self.threads()?;
            let asleep = now.iter().all(|thread| thread.asleep);
            // The same sleepers that have not been awake in between: nothing runs and nothing will.
            if asleep && self.reader.is_quiet() && before.as_ref() == Some(&now) {
                self.read_trace()?;
                return Ok(self.reader.take());
            }
            if Instant::now() > deadline {
                bail!("the registry does not come to rest: {now:?}");
            }
            before = Some(now);
            pause(Duration::from_millis(1));
        }
    }

    fn wait_until_it_listens(&mut self, log: &Path) -> Result<SocketAddr> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(log)?;
            let address = text
                .split_once("listening on ")
                .and_then(|(_, rest)| rest.split_once('\n'))
                .map(|(line, _)| {
                    line.chars()
                        .take_while(|c| c.is_ascii_digit() || ".:".contains(*c))
                })
                .and_then(|address| address.collect::<String>().parse().ok());
            if let Some(address) = address {
                return Ok(address);
            }
            if let Some(status) = self.strace.try_wait()? {
                bail!(
                    "the traced registry ended ({status}) instead of serving; where containers may not \
                     trace, allow it (`--cap-add SYS_PTRACE`):\n{text}"
                );
            }
            if Instant::now() > deadline {
                bail!("the traced registry does not serve after {PATIENCE:?}:\n{text}");
            }
            pause(Duration::from_millis(5));
        }
    }

    fn read_trace(&mut self) -> Result<()> {
        loop {
            let read = self.trace.read_until(b'\n', &mut self.line);
            read.context("read the trace")?;
            if self.line.last() != Some(&b'\n') {
                // The rest of the line is on its way.
                return Ok(());
            }
            self.reader
                .line(String::from_utf8_lossy(&self.line).trim_end());
            self.line.clear();
        }
    }

    fn threads(&self) -> Result<Vec<Thread>> {
        let process = self.reader.process().context("the trace is empty")?;
        let tasks = format!("/proc/{process}/task");
        let mut threads = Vec::new();
        for task in fs::read_dir(&tasks).with_context(|| format!("{tasks}: the registry ended"))? {
            // A thread that ends right now is none.
            if let Ok(status) = fs::read_to_string(task?.path().join("status")) {
                threads.push(Thread::parse(&status));
            }
        }
        threads.sort_unstable_by_key(|thread| thread.id);
        Ok(threads)
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let process = self.reader.process().map(u32::cast_signed);
        if let Some(process) = process.and_then(Pid::from_raw) {
            // Already gone is fine.
            let _ = rustix::process::kill_process(process, Signal::KILL);
        }
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

#[derive(Debug, Eq, PartialEq)]
struct Thread {
    id: u64,
    asleep: bool,
    /// How often it was put to sleep, by itself or not.
    switches: u64,
}

impl Thread {
    fn parse(status: &str) -> Self {
        let value = |key| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_default().trim()
        };
        let number = |key| value(key).parse().unwrap_or(0);
        Self {
            id: number("Pid:"),
            // Not one that is stopped for the tracer, nor one that waits for a disk.
            asleep: value("State:").starts_with('S'),
            switches: number("voluntary_ctxt_switches:") + number("nonvoluntary_ctxt_switches:"),
        }
    }
}

/// Nothing but what is asked of it runs in it: no sweeps, no access log.
fn config_text(storage: &Path) -> String {
    format!(
        "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\nstorage:\n  \
         filesystem: {{rootdirectory: '{}'}}\n  delete: {{enabled: true}}\n  \
         maintenance: {{uploadpurging: {{enabled: false}}}}\nhttp: {{addr: '127.0.0.1:0'}}\n",
        storage.display()
    )
}

/// The counted calls; a question mark allows that a platform does not have one.
fn wanted() -> String {
    let names: Vec<String> = KINDS
        .iter()
        .flat_map(|(_, names)| *names)
        .map(|name| format!("?{name}"))
        .collect();
    names.join(",")
}

fn require(program: &str, argument: &str, package: &str) -> Result<()> {
    let started = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    started.map(drop).with_context(|| {
        format!("`{program}` does not start: install the Debian package `{package}`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_proc() {
        let status = "Name:\tx\nState:\tS (sleeping)\nPid:\t41\nTracerPid:\t7\n\
                      voluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t4\n";
        let thread = Thread::parse(status);
        assert_eq!((thread.id, thread.asleep, thread.switches), (41, true, 7));
        assert!(!Thread::parse("State:\tD (disk sleep)\n").asleep);
    }

    #[test]
    fn a_program_that_is_missing_is_named_with_its_package() {
        let error = require("no-such-program", "--version", "its-package").unwrap_err();
        assert!(error.to_string().contains("`its-package`"), "{error}");
    }
}
