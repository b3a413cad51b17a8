//! An example as a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A running example. It is killed if a test fails before it stops it.
pub(crate) struct Program {
    process: Child,
    stdout: BufReader<ChildStdout>,
    addr: String,
}

impl Program {
    /// Starts `executable` on an ephemeral port, and waits until it listens.
    pub(crate) fn start(executable: &str, further: &[&str]) -> Self {
        let mut process = Command::new(executable)
            .arg("127.0.0.1:0")
            .args(further)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let mut program = Self {
            process,
            stdout,
            addr: String::new(),
        };
        let mut line = String::new();
        program.stdout.read_line(&mut line).unwrap();
        let addr = line.trim_end().strip_prefix("listening on ");
        program.addr = addr
            .expect("the line that says where it listens")
            .to_owned();
        program
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Interrupts it, as Ctrl-C does, and expects that it ends well.
    pub(crate) async fn stop(mut self) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::INT).unwrap();
        let asked = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            assert!(asked.elapsed() < Duration::from_secs(20), "still running");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn crash(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail if it has ended, which is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
