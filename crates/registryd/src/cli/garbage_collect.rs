//! `registryd garbage-collect`

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use oci_core::StoreError;
use oci_core::runtime::ThreadPool;
use oci_core::store::{
    Candidate, CandidateKind, CollectEnd, CollectObserver, CollectOptions, Collected, Phase,
};

use super::configured;
use crate::assemble::{self, storage};
use crate::cli::out::{self, Out, note, say};
use crate::config::{Config, StorageDriver, parse_duration};

/// It may run while `registryd` serves the same volume or bucket; a sled database is open in one process at a
/// time, so there the server has to stop, or to collect by itself (`storage.gc`). A process of CNCF Distribution (`registry:2`,
/// `registry:3`) on the volume must be stopped first: it does not say what its clients rely on.
///
/// Switches may have a value, as Distribution's have: `--delete-untagged=true`.
///
/// The exit status is 0 when all was done, 3 when the share of garbage is so unusual that nothing was removed,
/// 4 when another collection is at work or pushes left no time for it, and 1 for any other failure.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file; by default what the variable `REGISTRY_CONFIGURATION_PATH` names.
    config: Option<PathBuf>,
    /// Say what would be removed, and remove nothing.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    dry_run: bool,
    /// Remove also manifests that no tag leads to; what refers to a manifest as its subject stays with it.
    #[arg(short = 'm', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    delete_untagged: bool,
    /// Keep what is younger, such as 24h. With 0, a push that is under way may have to send blobs again.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    grace: Duration,
    /// Remove also an unusual share of the volume: see `storage.gc.maxshare`.
    #[arg(long)]
    force: bool,
    /// Go on also on NFS, CIFS, FUSE and the like. No other machine may use the volume.
    #[arg(long)]
    any_file_system: bool,
    /// Do not name what is removed.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    quiet: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Some(loaded) = configured::load(arguments.config.clone(), false) else {
        return Ok(ExitCode::FAILURE);
    };
    configured::begin_log(&loaded);
    configured::existing(&loaded.config.storage.driver)?;
    let options = arguments.options(&loaded.config);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let printer = Arc::new(Printer::new(arguments.quiet));
    let (builder, _) = runtime.block_on(storage::open(
        &loaded.config.storage,
        &ThreadPool::default(),
    ))?;
    let registry = builder.build();
    let outcome = runtime.block_on(registry.collect(&options, Arc::clone(&printer) as _));
    printer.clear();
    let file_system = matches!(loaded.config.storage.driver, StorageDriver::Filesystem(_));
    let allow = file_system && !arguments.any_file_system;
    let collected = outcome.map_err(|error| explained(error, allow))?;
    summary(&mut Out, &collected, &options).context("cannot write the summary")?;
    Ok(conclusion(collected.end))
}

impl Arguments {
    fn options(&self, config: &Config) -> CollectOptions {
        let mut options = CollectOptions::default();
        options.grace = self.grace;
        options.untagged = self.delete_untagged;
        options.dry_run = self.dry_run;
        options.brake = assemble::brake(config.storage.gc.maxshare).filter(|_| !self.force);
        options.any_file_system = self.any_file_system || config.storage.gc.anyfilesystem;
        options
    }
}

/// The error with what to do about it, which may be to `allow` any file system.
fn explained(error: StoreError, allow: bool) -> anyhow::Error {
    let refused = matches!(error, StoreError::Unsupported(_));
    let error = anyhow::Error::new(error);
    error.context(match (refused, allow) {
        (true, true) => "nothing was removed; --any-file-system goes on all the same",
        (true, false) => "nothing was removed",
        (false, _) => "nothing more was removed",
    })
}

fn summary(
    out: &mut impl Write,
    collected: &Collected,
    options: &CollectOptions,
) -> std::io::Result<()> {
    if collected.end == CollectEnd::Busy {
        return writeln!(out, "another collection is at work on this storage");
    }
    let (all, garbage) = (collected.content, collected.garbage);
    let marked = all
        .count
        .saturating_sub(garbage.count + collected.young.count);
    // The words of Distribution, which scripts look for.
    writeln!(
        out,
        "\n{marked} blobs marked, {} blobs and {} manifests eligible for deletion",
        garbage.count, collected.garbage_manifests
    )?;
    writeln!(
        out,
        "eligible: {} of {}, {} links; younger than the grace period: {} blobs",
        size(garbage.bytes),
        size(all.bytes),
        collected.garbage_links,
        collected.young.count
    )?;
    if collected.orphans.count > 0 {
        writeln!(
            out,
            "leftovers of failed uploads: {} ({}), of which {} were removed",
            collected.orphans.count,
            size(collected.orphans.bytes),
            collected.removed_orphans.count
        )?;
    }
    if collected.kept_whole > 0 {
        writeln!(
            out,
            "{} of {} repositories keep all they have, for the reasons above",
            collected.kept_whole, collected.repositories
        )?;
    }
    let seconds = collected.duration.as_secs_f64();
    if options.dry_run {
        let stops = options.brake.as_ref();
        if stops.is_some_and(|brake| collected.is_unusual(brake)) {
            writeln!(out, "so unusual a share is only removed with --force")?;
        }
        return writeln!(
            out,
            "nothing was removed, as --dry-run asks; took {seconds:.1} s"
        );
    }
    match collected.end {
        CollectEnd::Braked => writeln!(
            out,
            "so unusual a share is only removed with --force; nothing was removed"
        )?,
        CollectEnd::GaveUp => writeln!(
            out,
            "another process kept its lock for too long; the rest is left for the next time"
        )?,
        CollectEnd::Stopped => writeln!(out, "stopped; the rest is left for the next time")?,
        _ => {}
    }
    writeln!(
        out,
        "removed {} blobs ({}), {} links and {} manifests in {seconds:.1} s; {} were used again meanwhile",
        collected.removed.count,
        size(collected.removed.bytes),
        collected.removed_links,
        collected.removed_manifests,
        collected.revived
    )
}

fn conclusion(end: CollectEnd) -> ExitCode {
    match end {
        CollectEnd::Complete => ExitCode::SUCCESS,
        CollectEnd::Braked => ExitCode::from(3),
        CollectEnd::Busy | CollectEnd::GaveUp => ExitCode::from(4),
        _ => ExitCode::FAILURE,
    }
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    #[expect(
        clippy::cast_precision_loss,
        reason = "one digit behind the point is shown"
    )]
    let mut number = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if number < 1024.0 {
            let digits = usize::from(unit != "B");
            return format!("{number:.digits$} {unit}");
        }
        number /= 1024.0;
    }
    format!("{number:.1} TiB")
}

/// Says on the terminal what goes on.
struct Printer {
    quiet: bool,
    /// When progress was shown last; `None` where nobody sees it.
    shown: Option<Mutex<Instant>>,
}

impl Printer {
    fn new(quiet: bool) -> Self {
        let shown = std::io::stderr().is_terminal();
        Self {
            quiet,
            shown: shown.then(|| Mutex::new(Instant::now())),
        }
    }

    fn clear(&self) {
        if self.shown.is_some() {
            out::eprint("\r\x1b[K");
        }
    }
}

impl CollectObserver for Printer {
    fn candidate(&self, candidate: &Candidate<'_>) {
        if self.quiet {
            return;
        }
        let what = match candidate.kind {
            CandidateKind::Manifest => "manifest",
            CandidateKind::Link => "link",
            _ => "blob",
        };
        let (digest, why) = (candidate.digest, candidate.kind.reason());
        if let Some(at) = candidate.repository {
            say!("{what} eligible for deletion: {at} {digest} ({why})");
        } else {
            let size = size(candidate.size);
            say!("{what} eligible for deletion: {digest} ({size}, {why})");
        }
    }

    fn orphan(&self, name: &str, size_of_it: u64) {
        if self.quiet {
            return;
        }
        let size = size(size_of_it);
        say!("leftover eligible for deletion: {name} ({size}, no blob or upload has it)");
    }

    fn kept_whole(&self, what: &str, why: &str) {
        self.clear();
        note!("warning: {what} keeps all it has: {why}");
    }

    fn progress(&self, phase: Phase, collected: &Collected) {
        let Some(shown) = &self.shown else {
            return;
        };
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.elapsed() < EVERY {
            return;
        }
        *shown = Instant::now();
        match phase {
            Phase::Removing => out::eprint(format_args!(
                "\r\x1b[Kremoving: {} of {} blobs, {} of {} links",
                collected.removed.count,
                collected.garbage.count,
                collected.removed_links,
                collected.garbage_links
            )),
            _ => out::eprint(format_args!(
                "\r\x1b[Kmarking: {} repositories, {} manifests",
                collected.repositories, collected.manifests_read
            )),
        }
    }
}

/// How often progress is shown.
const EVERY: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_read_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (3 << 30, "3.0 GiB"),
            (5 << 40, "5.0 TiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
