//! `registryd storage copy`

use std::process::ExitCode;

use anyhow::bail;
use oci_core::registry::CopyReport;
use oci_core::store::PageRequest;
use oci_core::{Registry, StoreError};

use super::place::{Missing, Place};
use super::progress::{Progress, bytes, left_out};
use super::{Copy, INTERRUPTED, or_interrupted};
use crate::cli::out::{note, say};

pub(super) async fn run(arguments: &Copy) -> anyhow::Result<ExitCode> {
    let (from, to) = (Place::parse(&arguments.from)?, Place::parse(&arguments.to)?);
    if from.is_same(&to) {
        bail!("FROM and TO are both {from}; name two stores");
    }
    let source = from.open(Missing::Refuse).await?;
    let target = to.open(Missing::Make).await?;
    note!("copying {from} to {to}");
    let mut progress = Progress::new(None);
    let work = async {
        progress = Progress::new(total(&source.registry).await?);
        let watch = |report: &CopyReport| {
            progress.tell(report.bytes, report.bytes + report.bytes_there, || {
                format!(
                    "{} repositories, {} blobs, {} manifests",
                    report.repositories,
                    report.blobs + report.blobs_there,
                    report.manifests
                )
            });
        };
        let copied = source.registry.copy_to(&target.registry, watch).await;
        copied.map_err(anyhow::Error::from)
    };
    let done = or_interrupted(work, &[&source, &target]).await?;
    let Some(report) = done else {
        progress.end("interrupted; run the same command again to go on: stopped");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let report = report?;
    for problem in &report.problems {
        say!("{}: {}: {}", problem.repository, problem.what, problem.why);
    }
    progress.end(&format!(
        "copied {} blobs ({}), {} manifests and {} tags of {} repositories; {} blobs ({}) were there already; {}{} problems",
        report.blobs,
        bytes(report.bytes),
        report.manifests,
        report.tags,
        report.repositories,
        report.blobs_there,
        bytes(report.bytes_there),
        left_out(report.dead_links),
        report.problems.len(),
    ));
    Ok(ExitCode::from(u8::from(!report.problems.is_empty())))
}

/// How many bytes the store holds, if it can tell.
async fn total(registry: &Registry) -> anyhow::Result<Option<u64>> {
    let mut page = PageRequest::first(1000);
    let mut total = 0;
    loop {
        let listed = match registry.blobs().blobs(&page).await {
            Err(StoreError::Unsupported(_)) => return Ok(None),
            other => other?,
        };
        total += listed.items.iter().map(|blob| blob.size).sum::<u64>();
        match listed.items.last().filter(|_| listed.more) {
            Some(last) => page = PageRequest::after(last.digest.to_string(), 1000),
            None => return Ok(Some(total)),
        }
    }
}
