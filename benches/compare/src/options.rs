//! The command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Measures registryd beside Debian's docker-registry, nginx and other registries.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "registry-compare")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(crate) struct Options {
    /// The registryd to measure; otherwise `cargo build --release -p registryd` makes it
    #[arg(long, value_name = "PATH")]
    pub(crate) registryd: Option<PathBuf>,

    /// Another registry: a name and the command that starts it, such as
    /// `v3=/opt/registry serve {config}`. `{config}` is a file with Distribution's configuration,
    /// `{addr}` the address to listen on, `{port}` its port, `{root}` an empty storage directory
    #[arg(long, value_name = "NAME=COMMAND")]
    pub(crate) peer: Vec<String>,

    /// What `{config}` holds for a peer, if not Distribution's configuration: a file in which
    /// `{addr}`, `{port}` and `{root}` are replaced
    #[arg(long, value_name = "NAME=FILE")]
    pub(crate) peer_config: Vec<String>,

    /// A registry that already runs. Only rows that need nothing but HTTP are run with it
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub(crate) attach: Vec<String>,

    /// Start none of these: `registryd`, `docker-registry`, `nginx`
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) without: Vec<String>,

    /// How many rounds
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<u32>,

    /// Only rows that have one of these names, or contain it
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pub(crate) rows: Vec<String>,

    /// List the rows and end
    #[arg(long)]
    pub(crate) list: bool,

    /// Tiny sizes, two rounds: whether all answers are right, and no figure to keep
    #[arg(long)]
    pub(crate) short: bool,

    /// Where data is written: a directory on a real disk. By default below the target directory
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,

    /// Where the report goes; by default `benches/RESULTS.md`, with `--short` nowhere
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Where the figures go as JSON, each round's too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Exit with 1 if a target that must be met is missed
    #[arg(long)]
    pub(crate) check: bool,

    /// Tags of the repository whose tags are listed
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) tags: u32,

    /// Repositories of the catalog that is listed
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) repositories: u32,

    /// Also run 32 pushes and 64 pulls of 1 GiB in 100 MiB of memory and a tenth of a CPU, of
    /// registryd alone. Needs root and a writable cgroup file system, and takes many minutes
    #[arg(long)]
    pub(crate) limits: bool,

    /// How many seconds to wait for an idle machine before each measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) idle_wait: u64,
}

impl Options {
    /// What clap cannot see.
    pub(crate) fn check(&self) -> Result<()> {
        if self.rounds == Some(0) {
            bail!("--rounds 0: there would be no figures; ask for 1 or more");
        }
        for peer in self.peer.iter().chain(&self.peer_config) {
            named(peer)?;
        }
        self.attached()?;
        if self.tags < 200 || self.repositories < 200 {
            bail!(
                "--tags and --repositories must be at least 200: a page of 100 is taken from the middle"
            );
        }
        Ok(())
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.short { 2 } else { 5 })
    }

    /// Whether a row is to be run. A pattern that is the name of one row means that row only.
    pub(crate) fn wants(&self, row: &str, names: &[String]) -> bool {
        let wants = |pattern: &String| {
            if names.contains(pattern) {
                row == pattern
            } else {
                row.contains(pattern.as_str())
            }
        };
        self.rows.is_empty() || self.rows.iter().any(wants)
    }

    pub(crate) fn wants_program(&self, name: &str) -> bool {
        !self.without.iter().any(|without| without == name)
    }

    pub(crate) fn output(&self) -> Option<PathBuf> {
        // A part of the rows must not replace a report of all.
        let whole = self.rows.is_empty() && !self.short;
        let default = || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("RESULTS.md");
        self.output.clone().or_else(|| whole.then(default))
    }

    pub(crate) fn attached(&self) -> Result<Vec<(String, SocketAddr)>> {
        let parse = |text: &String| {
            let (name, address) = named(text)?;
            match address.parse() {
                Ok(address) => Ok((name.to_owned(), address)),
                Err(error) => bail!("--attach {text}: {address:?} is not IP:PORT ({error})"),
            }
        };
        self.attach.iter().map(parse).collect()
    }
}

/// Parts `NAME=VALUE`.
pub(crate) fn named(text: &str) -> Result<(&str, &str)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.trim().is_empty() => Ok((name, value)),
        _ => bail!("{text:?} is not NAME=VALUE, such as `v3=/opt/registry serve {{config}}`"),
    }
}
