//! Running one program: its arguments, its time limit, and what it said.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{Read as _, Seek as _},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::tool;

/// A program about to be run.
///
/// It sees only the environment given here, and dies with the thread that started it.
#[derive(Debug, Clone)]
pub struct Invocation {
    prefix: Vec<OsString>,
    argv: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    limit: Duration,
}

impl Invocation {
    /// A program without arguments, to be ended after five minutes.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            prefix: Vec::new(),
            argv: vec![program.into()],
            environment: vec![("PATH".into(), tool::PATH.into())],
            directory: None,
            limit: Duration::from_secs(300),
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.argv.push(argument.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.argv.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Sets one environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs the program in a directory.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Ends the program after this time.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Words that go in front of the program's name: the wrapper that isolates it.
    pub(crate) fn prefix<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.prefix = words
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        self
    }

    /// Runs the program and asks for success.
    ///
    /// # Errors
    /// When it cannot be started, fails, or takes too long; the message holds what it said.
    pub fn succeed(self) -> Result<Output> {
        let shown = self.shown();
        let output = self.run()?;
        if output.status.success() {
            return Ok(output);
        }
        bail!("`{shown}` failed ({}):\n{}", output.status, output.tail());
    }

    /// Runs the program and asks that it fails for want of a right: a login, push or pull without
    /// a password or with a wrong one.
    ///
    /// # Errors
    /// When it cannot be started, succeeds, takes too long, or fails for another reason.
    pub fn refused(self) -> Result<Output> {
        const REASONS: [&str; 6] = [
            "401",
            "unauthorized",
            "authentication required",
            "invalid username/password",
            "no basic auth credentials",
            "not authorized",
        ];
        let shown = self.shown();
        let output = self.run()?;
        if output.status.success() {
            bail!(
                "`{shown}` succeeded and should have been refused:\n{}",
                output.tail()
            );
        }
        let said = output.all().to_lowercase();
        if !REASONS.iter().any(|reason| said.contains(reason)) {
            bail!(
                "`{shown}` failed, but not because it was refused:\n{}",
                output.tail()
            );
        }
        Ok(output)
    }

    /// Runs the program and asks for a failure of any kind, where a client does not tell the
    /// reason: docker's last word about a refused pull from a loopback address is that plain HTTP,
    /// which it tries next, does not work either.
    ///
    /// # Errors
    /// When it cannot be started, succeeds, or takes too long.
    pub fn fails(self) -> Result<Output> {
        let shown = self.shown();
        let output = self.run()?;
        if output.status.success() {
            bail!(
                "`{shown}` succeeded and should have failed:\n{}",
                output.tail()
            );
        }
        Ok(output)
    }

    /// Runs the program, whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be started or takes too long.
    pub fn run(self) -> Result<Output> {
        let shown = self.shown();
        let limit = self.limit;
        let mut stdout = tempfile::tempfile().context("make a file for output")?;
        let mut stderr = tempfile::tempfile().context("make a file for output")?;
        let mut child = self.spawn(stdout.try_clone()?, stderr.try_clone()?)?;
        let status = wait(&mut child, limit)?;
        let output = |file: &mut File| -> Result<Vec<u8>> {
            let mut bytes = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let (stdout, stderr) = (output(&mut stdout)?, output(&mut stderr)?);
        let Some(status) = status else {
            let said = Output {
                status: ExitStatus::default(),
                stdout,
                stderr,
            };
            bail!(
                "`{shown}` did not end within {limit:?} and was killed:\n{}",
                said.tail()
            );
        };
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }

    /// Starts the program with its output going to two files.
    ///
    /// # Errors
    /// When it is not installed or cannot be started.
    pub(crate) fn spawn(self, stdout: File, stderr: File) -> Result<Child> {
        let program = self.argv.first().cloned().unwrap_or_default();
        if !program.as_encoded_bytes().contains(&b'/') {
            tool::find(&program.to_string_lossy())?;
        }
        // The kernel ends the child when the thread that started it is gone, however that came.
        let mut command = Command::new(tool::find("setpriv")?);
        command
            .args(["--pdeathsig", "KILL"])
            .args(&self.prefix)
            .args(&self.argv)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
            .spawn()
            .with_context(|| format!("start `{}`", self.shown()))
    }

    /// The command line, for messages.
    pub(crate) fn shown(&self) -> String {
        let words: Vec<_> = self
            .argv
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        words.join(" ")
    }
}

/// What a program left: its status and everything it wrote.
#[derive(Debug)]
pub struct Output {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Output {
    /// Whether the program ended with status 0.
    pub fn is_success(&self) -> bool {
        self.status.success()
    }

    /// Standard output as it came.
    pub fn bytes(&self) -> &[u8] {
        &self.stdout
    }

    /// Standard output as text, without white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Standard output and standard error, one after the other.
    pub fn all(&self) -> String {
        let (out, err) = (
            String::from_utf8_lossy(&self.stdout),
            String::from_utf8_lossy(&self.stderr),
        );
        format!("{out}{err}")
    }

    /// The end of what the program said.
    fn tail(&self) -> String {
        last_lines(&self.all(), 40)
    }
}

/// The last lines of a text, cut where they are very long.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<String> = text
        .lines()
        .rev()
        .take(count)
        .map(|line| line.chars().take(400).collect())
        .collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Waits for a child; after the limit it is killed and `None` is returned.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(status) = child.try_wait().context("wait for a child process")? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            child.kill().context("kill a child process")?;
            child.wait().context("wait for a killed child process")?;
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
