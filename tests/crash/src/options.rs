//! Arguments that the programs share, and the frame they run in.

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{
    cycles::{Collect, Plan, Report},
    pause,
    program::{Kind, Program, Store},
    server::nanoseconds,
};

/// Which server, and where.
#[derive(Debug, Clone, clap::Args)]
#[non_exhaustive]
pub struct Options {
    /// The registryd binary; without it `$REGISTRYD_BIN`, or the one beside this program.
    #[arg(long, value_name = "PATH")]
    registryd: Option<PathBuf>,
    /// A CNCF Distribution binary to test instead: a check of the harness.
    #[arg(long, value_name = "PATH", conflicts_with = "registryd")]
    distribution: Option<PathBuf>,
    /// An environment variable of the server; may be repeated.
    #[arg(long = "env", value_name = "NAME=VALUE")]
    environment: Vec<String>,
    /// Where stores and evidence go; without it the directory for temporary files.
    #[arg(long, value_name = "DIRECTORY")]
    scratch: Option<PathBuf>,
    /// The seed of every choice; without it another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Gives up after this many seconds.
    #[arg(long, default_value_t = 1800)]
    deadline: u64,
}

impl Options {
    /// The server under test.
    pub fn program(&self) -> Result<Program> {
        let mut program = match (&self.registryd, &self.distribution) {
            (_, Some(path)) => Program::at(Kind::Distribution, path.clone())?,
            (Some(path), None) => Program::at(Kind::Registryd, path.clone())?,
            (None, None) => Program::registryd()?,
        };
        for setting in &self.environment {
            let (name, value) = setting
                .split_once('=')
                .with_context(|| format!("--env {setting}: write NAME=VALUE"))?;
            program = program.env(name, value);
        }
        Ok(program)
    }

    /// The seed, to be printed.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(nanoseconds)
    }

    /// A new directory for stores and evidence.
    pub fn scratch(&self) -> Result<Scratch> {
        Scratch::below(&self.scratch.clone().unwrap_or_else(std::env::temp_dir))
    }

    /// Ends the whole program when it takes too long: nothing here may hang a build.
    pub fn watch(&self) {
        let limit = Duration::from_secs(self.deadline);
        thread::spawn(move || {
            pause(limit);
            eprintln!("FAILED: not finished after {limit:?}");
            std::process::exit(3);
        });
    }
}

/// What the server keeps its content in, and does beside serving, in the programs that run cycles.
#[derive(Debug, Clone, Copy, clap::Args)]
#[non_exhaustive]
pub struct Variant {
    /// The store under test.
    #[arg(long, value_enum, default_value_t)]
    pub store: Store,
    /// Collects garbage all the time and without grace, and makes some: what an acknowledged manifest needs
    /// must stay.
    #[arg(long, value_enum, value_name = "STORES", num_args = 0..=1, default_value_t, default_missing_value = "always")]
    pub collect: Collect,
}

impl Variant {
    /// Makes a plan fit.
    pub fn apply(&self, plan: &mut Plan) {
        plan.collect = self.collect;
        if self.store == Store::Sled {
            // It reads its log back before it serves.
            plan.ready_limit = Duration::from_secs(10);
        }
    }

    /// Whether a run did what it was to do.
    ///
    /// # Errors
    /// If a collector was to be at work and nothing was collected.
    pub fn check(&self, report: &Report) -> Result<()> {
        if self.collect != Collect::Never && report.collected == 0 {
            bail!("the collector collected nothing: {report}");
        }
        Ok(())
    }
}

/// A directory that goes away, unless it holds evidence.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// A new one below another directory.
    pub fn below(parent: &Path) -> Result<Self> {
        tempfile::Builder::new()
            .prefix("registry-crash-")
            .tempdir_in(parent)
            .map(Self)
            .with_context(|| format!("make a directory in {}", parent.display()))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves it in place.
    pub fn keep(self) -> PathBuf {
        self.0.keep()
    }
}

/// Runs the rest of the program in mounts of its own: whatever is mounted goes away with it, however
/// it ends. Returns in the new program only.
///
/// # Errors
/// When this is not root, or `unshare` is missing.
pub fn isolate() -> Result<()> {
    const MARK: &str = "REGISTRY_CRASH_ISOLATED";
    if std::env::var_os(MARK).is_some() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!("this program mounts file systems: run it as root");
    }
    let own = std::env::current_exe().context("find out where this program lies")?;
    let error = Command::new("unshare")
        .args(["--mount", "--"])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .exec();
    Err(error).context("start `unshare` (package util-linux)")
}

/// Prints the outcome and turns it into an exit status.
pub fn conclude(name: &str, outcome: Result<String>) -> ExitCode {
    match outcome {
        Ok(summary) => {
            println!("{name}: ok: {summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{name}: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}
