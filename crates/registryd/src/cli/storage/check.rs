//! `registryd storage check` and `registryd storage scrub`

use std::process::ExitCode;

use oci_core::registry::{CheckOptions, CheckReport, Finding};
use serde_json::json;

use super::place::{Missing, Place};
use super::progress::{Progress, bytes};
use super::{Check, INTERRUPTED, or_interrupted};
use crate::cli::out::{note, say};

pub(super) async fn run(arguments: &Check, content: bool) -> anyhow::Result<ExitCode> {
    let place = match &arguments.store {
        Some(text) => Place::served(text)?,
        None => Place::of_process()?,
    };
    let store = place.open(Missing::Refuse).await?;
    note!("checking {place}");
    let mut options = CheckOptions::new();
    options.content = content;
    options.repair = arguments.repair;
    let mut progress = Progress::new(None);
    let watch = |report: &CheckReport| {
        progress.tell(report.bytes, report.bytes, || {
            format!(
                "{} repositories, {} manifests, {} problems",
                report.repositories,
                report.manifests,
                report.findings.len()
            )
        });
    };
    let work = store.registry.check(options, watch);
    let Some(report) = or_interrupted(work, &[&store]).await? else {
        progress.end("interrupted: stopped");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let report = report?;
    if arguments.json {
        say!("{:#}", as_json(&report));
    } else {
        for finding in &report.findings {
            say!("{}", as_text(finding));
        }
    }
    let read = if content {
        format!(", {} blobs ({})", report.blobs, bytes(report.bytes))
    } else {
        String::new()
    };
    progress.end(&format!(
        "checked {} repositories, {} manifests, {} tags{read}; {} problems, {} repaired",
        report.repositories,
        report.manifests,
        report.tags,
        report.findings.len(),
        report.findings.len() - report.unrepaired(),
    ));
    Ok(ExitCode::from(u8::from(report.unrepaired() > 0)))
}

fn as_text(finding: &Finding) -> String {
    if finding.repaired {
        format!("{finding}\n  repaired")
    } else {
        format!("{finding}\n  fix: {}", finding.fix())
    }
}

fn as_json(report: &CheckReport) -> serde_json::Value {
    let findings = report.findings.iter().map(|finding| {
        json!({
            "kind": finding.kind.code(),
            "repository": finding.repository.as_ref().map(ToString::to_string),
            "digest": finding.digest.to_string(),
            "by": finding.by,
            "what": finding.kind.as_str(),
            "fix": (!finding.repaired).then(|| finding.fix()),
            "repaired": finding.repaired,
        })
    });
    json!({
        "repositories": report.repositories,
        "manifests": report.manifests,
        "tags": report.tags,
        "blobs": report.blobs,
        "bytes": report.bytes,
        "findings": findings.collect::<Vec<_>>(),
    })
}
