//! `registryd retention`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use oci_core::runtime::ThreadPool;
use oci_core::{RepositoryName, Tag};

use super::configured;
use crate::assemble::storage;
use crate::cli::out::say;
use crate::retention::{Outcome, Rules, apply};

/// What goes is what no rule of `storage.retention` keeps, whether or not that is enabled for the server. It may
/// run while `registryd` serves the same store: a tag that is pushed meanwhile stays.
///
/// The exit status is 0 when all was done, 1 when it failed.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file; by default what the variable `REGISTRY_CONFIGURATION_PATH` names.
    config: Option<PathBuf>,
    /// Say what would go and what would stay, and change nothing.
    #[arg(short, long)]
    dry_run: bool,
    /// Do not name the tags that stay.
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Some(loaded) = configured::load(arguments.config.clone(), false) else {
        return Ok(ExitCode::FAILURE);
    };
    configured::begin_log(&loaded);
    let config = &loaded.config.storage;
    configured::existing(&config.driver)?;
    if config.retention.policies.is_empty() {
        bail!(
            "`storage.retention.policies` says nothing: every tag stays; write which tags are to be kept, as \
             in `policies: [{{repositories: ['**'], keeptags: [{{mostrecentlypushedcount: 10}}]}}]`"
        );
    }
    let rules = Rules::parse(&config.retention).context("`storage.retention`")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let (dry_run, quiet) = (arguments.dry_run, arguments.quiet);
    let mut tell = |repository: &RepositoryName, tag: &Tag, outcome, verdict| {
        let what = match outcome {
            Outcome::Kept if quiet => return,
            Outcome::Kept => "stays",
            Outcome::Removed if dry_run => "would go",
            Outcome::Removed => "went",
            Outcome::Overtaken => "stays for now, or was deleted: somebody was at it a moment ago",
            Outcome::Refused => "stays: a policy of the registry keeps it",
        };
        say!("{repository}:{tag} {what} ({verdict})");
    };
    let retained = runtime.block_on(async {
        let (builder, _) = storage::open(config, &ThreadPool::default()).await?;
        let retained = apply(&builder.build(), &rules, dry_run, &mut tell).await;
        retained.context("not every tag was looked at; what is named above is done")
    })?;
    let (would, gone) = if dry_run {
        ("would stay", "would go")
    } else {
        ("stay", "went")
    };
    say!(
        "\n{} repositories with a policy: {} tags {would}, {} {gone}{}",
        retained.repositories,
        retained.kept + retained.refused,
        retained.removed,
        if dry_run {
            ", as --dry-run asks nothing did"
        } else {
            ""
        }
    );
    Ok(ExitCode::SUCCESS)
}
