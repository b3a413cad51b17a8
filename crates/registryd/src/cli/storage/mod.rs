//! `registryd storage`: copying and checking what stores hold. `registryd import`: taking over.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::cli::out::note;
use crate::cli::storage::place::Opened;
use crate::config::{Log, LogLevel};
use crate::telemetry;

mod check;
mod copy;
mod import;
mod place;
mod progress;

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub(super) enum Storage {
    /// Copy all repositories from one store to another.
    ///
    /// FROM and TO are configuration files, of which only `storage` is used, or `filesystem:DIRECTORY`
    /// or `sled:DIRECTORY`. REGISTRY_* variables are not applied to them. Every byte is verified by its
    /// digest. What TO has already is not copied again, so a copy that was broken off goes on when it is
    /// started again; tags are made to point where they do in FROM. Pushes to FROM meanwhile may be
    /// copied or not: run it once more when nobody pushes.
    ///
    /// Exit status: 0 if everything was copied, 1 if something in FROM is missing or damaged, 2 if the
    /// copy could not be done, 130 if it was interrupted.
    Copy(Copy),
    /// Check records, links, references and sizes.
    ///
    /// Exit status: 0 if everything is right, 1 if not, 2 if it could not be checked.
    Check(Check),
    /// Check as `check` does, and read every byte of content.
    ///
    /// Exit status: 0 if everything is right, 1 if not, 2 if it could not be checked.
    Scrub(Check),
}

#[derive(Debug, Args)]
pub(super) struct Copy {
    /// What to read.
    from: String,
    /// What to write.
    to: String,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// A configuration file, to which REGISTRY_* variables are applied, `filesystem:DIRECTORY` or
    /// `sled:DIRECTORY`; by default what the variable `REGISTRY_CONFIGURATION_PATH` names, or ./registry-data.
    store: Option<String>,
    /// Repair what can be derived from what is sound, and take damaged content away so that pushing it
    /// again heals it.
    #[arg(long)]
    repair: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Makes what CNCF Distribution keeps in a bucket visible in the store of the same bucket.
///
/// CONFIG is a configuration file whose `storage` names the bucket and the `rootdirectory` that
/// Distribution uses: its own file will do. REGISTRY_* variables are applied to it. Its objects stay where they are; records are written that point
/// there, and nothing of Distribution is ever deleted. An import that was broken off goes on when it is
/// started again. Pushes to Distribution meanwhile may be imported or not: run it once more when nobody
/// pushes there.
///
/// Exit status: 0 if everything was imported, 1 if something is missing or damaged or in the way, or there was
/// nothing to import, 2 if the import could not be done, 130 if it was interrupted.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The configuration file; by default what the variable `REGISTRY_CONFIGURATION_PATH` and others
    /// configure.
    config: Option<String>,
    /// Look and count, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Make tags point where they do for Distribution, also those that point elsewhere here by now.
    #[arg(long)]
    move_tags: bool,
}

pub(super) fn import(arguments: &Import) -> ExitCode {
    block_on(import::run(arguments))
}

pub(super) fn run(command: Storage) -> ExitCode {
    block_on(async {
        match command {
            Storage::Copy(arguments) => copy::run(&arguments).await,
            Storage::Check(arguments) => check::run(&arguments, false).await,
            Storage::Scrub(arguments) => check::run(&arguments, true).await,
        }
    })
}

fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime");
    // For what a store has to say when it is opened.
    telemetry::init(&Log {
        level: LogLevel::Warn,
        ..Log::default()
    });
    let outcome = runtime.and_then(|runtime| runtime.block_on(work));
    outcome.unwrap_or_else(|error| {
        note!("error: {error:#}");
        ExitCode::from(2)
    })
}

/// What `work` gives, unless the person at the terminal ends it first. What was begun on the disk comes
/// to its end either way.
async fn or_interrupted<T>(
    work: impl Future<Output = T>,
    stores: &[&Opened],
) -> anyhow::Result<Option<T>> {
    let done = tokio::select! {
        done = work => Some(done),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("cannot take over SIGINT")?;
            None
        }
    };
    for store in stores {
        store.pool.wait_idle(Duration::from_secs(5));
    }
    Ok(done)
}

/// What a shell says of a program that SIGINT ended.
const INTERRUPTED: u8 = 130;
