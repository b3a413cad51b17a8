//! Collecting garbage in the background, as `storage.gc` says.

use std::sync::Arc;
use std::time::Duration;

use oci_core::store::{Brake, CollectEnd, CollectObserver, CollectOptions, Collected};
use oci_core::{Registry, StoreError};

use super::Background;
use crate::config::{Config, Gc, StorageDriver};

/// Collects again and again.
pub(super) fn background(registry: &Registry, config: &Config) -> Background {
    let gc = config.storage.gc.clone();
    if !gc.enabled {
        return Box::pin(std::future::ready(()));
    }
    if config.storage.maintenance.readonly.enabled {
        tracing::info!("`storage.gc`: nothing is collected while the registry is read-only");
        return Box::pin(std::future::ready(()));
    }
    let registry = registry.clone();
    // A registry of another kind that served the volume until now may have clients that rely on what it
    // told them, and it logged none of it. Other stores had none.
    let settle = match config.storage.driver {
        StorageDriver::Filesystem(_) => gc.grace,
        _ => gc.grace.min(SETTLE),
    };
    Box::pin(async move {
        tokio::time::sleep(settle).await;
        let mut ticks = tokio::time::interval(gc.interval.max(SHORTEST));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let options = options(&gc);
        loop {
            ticks.tick().await;
            let outcome = registry.collect(&options, Arc::new(Log)).await;
            let goes_on = !matches!(outcome, Err(StoreError::Unsupported(_)));
            report(outcome, options.dry_run);
            if !goes_on {
                return;
            }
        }
    })
}

/// What the configuration asks for.
fn options(gc: &Gc) -> CollectOptions {
    let mut options = CollectOptions::default();
    options.grace = gc.grace;
    options.untagged = gc.untagged;
    options.dry_run = gc.dryrun;
    options.brake = brake(gc.maxshare);
    options.any_file_system = gc.anyfilesystem;
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
            tracing::debug!("another process collects garbage on this storage");
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
