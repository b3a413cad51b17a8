//! Letting tags go and collecting garbage in the background, as `storage.retention` and `storage.gc` say.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use oci_core::store::{Brake, CollectEnd, CollectObserver, CollectOptions, Collected};
use oci_core::{Registry, RepositoryName, StoreError, Tag};

use super::Background;
use crate::config::{self, Config, Gc, StorageDriver};
use crate::retention::{self, Outcome, Rules};

/// Collects again and again.
///
/// # Errors
/// If a pattern of `storage.retention` is none.
pub(super) fn background(registry: &Registry, config: &Config) -> anyhow::Result<Background> {
    let (gc, retention) = (config.storage.gc.clone(), config.storage.retention.clone());
    if !gc.enabled && !retention.enabled {
        return Ok(Box::pin(std::future::ready(())));
    }
    if config.storage.maintenance.readonly.enabled {
        tracing::info!(
            "`storage.gc`, `storage.retention`: nothing is removed while the registry is read-only"
        );
        return Ok(Box::pin(std::future::ready(())));
    }
    let rules = Rules::parse(&retention).context("`storage.retention`")?;
    let registry = registry.clone();
    // A registry of another kind that served the volume until now may have clients that rely on what it
    // told them, and it logged none of it. Other stores had none.
    let settle = match config.storage.driver {
        StorageDriver::Filesystem(_) => gc.grace,
        _ => gc.grace.min(SETTLE),
    };
    Ok(Box::pin(async move {
        if gc.enabled && !settle.is_zero() {
            // Nobody relies on a tag in the way in which pushes rely on content.
            if retention.enabled {
                retain(&registry, &rules, retention.dryrun).await;
            }
            let wait = config::format_duration(settle);
            tracing::info!("the first garbage collection begins in {wait}");
            tokio::time::sleep(settle).await;
        }
        let mut ticks = tokio::time::interval(gc.interval.max(SHORTEST));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let options = options(&gc);
        loop {
            ticks.tick().await;
            if retention.enabled {
                retain(&registry, &rules, retention.dryrun).await;
            }
            if !gc.enabled {
                continue;
            }
            let outcome = registry.collect(&options, Arc::new(Log)).await;
            let goes_on = !matches!(outcome, Err(StoreError::Unsupported(_)));
            report(outcome, options.dry_run);
            if !goes_on && !retention.enabled {
                return;
            }
        }
    }))
}

/// Lets tags go.
async fn retain(registry: &Registry, rules: &Rules, dry_run: bool) {
    let mut tell = |repository: &RepositoryName, tag: &Tag, outcome, verdict| {
        if outcome != Outcome::Kept {
            tracing::info!(%repository, %tag, ?outcome, dry_run, "tag: {verdict}");
        }
    };
    match retention::apply(registry, rules, dry_run, &mut tell).await {
        Ok(retained) => tracing::info!(
            dry_run,
            repositories = retained.repositories,
            kept = retained.kept,
            removed = retained.removed,
            overtaken = retained.overtaken,
            refused = retained.refused,
            "tags looked through"
        ),
        Err(error) => tracing::error!(%error, "tags: nothing more was removed"),
    }
}

/// What the configuration asks for.
fn options(gc: &Gc) -> CollectOptions {
    let mut options = CollectOptions::default();
    options.grace = gc.grace;
    options.untagged = gc.untagged;
    options.dry_run = gc.dryrun;
    options.brake = brake(gc.maxshare);
    options.any_file_system = gc.anyfilesystem;
    // Each replica of many comes to it once in an interval.
    options.unless_within = gc.interval / 2;
    options
}

/// The brake at a share in per cent; at all of it there is none.
pub(crate) fn brake(maxshare: u8) -> Option<Brake> {
    let mut brake = Brake::default();
    brake.share = f64::from(maxshare) / 100.0;
    (maxshare < 100).then_some(brake)
}

fn report(outcome: Result<Collected, StoreError>, dry_run: bool) {
    let collected = match outcome {
        Ok(collected) => collected,
        Err(StoreError::Unsupported(what)) => {
            tracing::warn!("`storage.gc` is without effect: this store does not support {what}");
            return;
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(
                %error,
                cause = cause.unwrap_or_default(),
                "garbage collection ended, and nothing more was removed"
            );
            return;
        }
    };
    match collected.end {
        CollectEnd::Busy => {
            tracing::debug!("another process collects garbage on this storage, or did so lately");
            return;
        }
        CollectEnd::Braked => tracing::warn!(
            garbage_bytes = collected.garbage.bytes,
            all_bytes = collected.content.bytes,
            "an unusual share of all content is garbage, and nothing was removed: look at \
             `registryd garbage-collect --dry-run CONFIG`, then run it with --force, or raise \
             `storage.gc.maxshare`"
        ),
        CollectEnd::GaveUp => tracing::warn!(
            "pushes held their lock for so long that garbage collection gave up; it goes on at the next \
             interval"
        ),
        _ => {}
    }
    tracing::info!(
        dry_run,
        blobs = collected.removed.count,
        bytes = collected.removed.bytes,
        links = collected.removed_links,
        orphans = collected.removed_orphans.count,
        orphan_bytes = collected.removed_orphans.bytes,
        manifests = collected.removed_manifests,
        garbage_blobs = collected.garbage.count,
        garbage_bytes = collected.garbage.bytes,
        young_blobs = collected.young.count,
        revived = collected.revived,
        kept_whole = collected.kept_whole,
        all_blobs = collected.content.count,
        seconds = collected.duration.as_secs_f64(),
        "garbage collected"
    );
}

/// Tells the log what needs somebody's attention.
#[derive(Debug)]
struct Log;

impl CollectObserver for Log {
    fn kept_whole(&self, what: &str, why: &str) {
        tracing::warn!(repository = what, "nothing in it is collected: {why}");
    }
}

/// So that a process that does not stay up does not look at everything each time.
const SETTLE: Duration = Duration::from_secs(300);
/// As often as this at most.
const SHORTEST: Duration = Duration::from_millis(10);
