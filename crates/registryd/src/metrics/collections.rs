//! What garbage collections did since the process began.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use oci_core::registry::Collections;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{float, whole};

/// Looked up when somebody asks.
#[derive(Default)]
pub(super) struct Collecting {
    running: Gauge,
    runs: Family<OutcomeLabels, Counter>,
    removed: Family<KindLabels, Counter>,
    removed_bytes: Counter,
    last_complete: Gauge,
    last_duration: Gauge<f64, AtomicU64>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

impl Collecting {
    pub(super) fn expose(&self, to: &mut Registry) {
        to.register(
            "registryd_collections_running",
            "How many garbage collections this process is at",
            self.running.clone(),
        );
        to.register(
            "registryd_collections",
            "Garbage collections that ended, by how",
            self.runs.clone(),
        );
        to.register(
            "registryd_collected",
            "What they removed, by kind",
            self.removed.clone(),
        );
        to.register(
            "registryd_collected_bytes",
            "Bytes of content that they removed",
            self.removed_bytes.clone(),
        );
        to.register(
            "registryd_collection_last_complete_seconds",
            "When the last one ended that left nothing behind, in seconds since 1970",
            self.last_complete.clone(),
        );
        to.register(
            "registryd_collection_last_duration_seconds",
            "How long the last one took",
            self.last_duration.clone(),
        );
    }

    pub(super) fn sample(&self, collections: &Collections) {
        self.running.set(whole(collections.running));
        let complete = collections.runs.saturating_sub(collections.incomplete);
        for (outcome, count) in [
            ("complete", complete),
            ("incomplete", collections.incomplete),
            ("failed", collections.failures),
        ] {
            let runs = self.runs.get_or_create(&OutcomeLabels { outcome });
            runs.inner().store(count, Ordering::Relaxed);
        }
        for (kind, count) in [
            ("content", collections.removed.count),
            ("leftover", collections.removed_orphans.count),
            ("link", collections.removed_links),
            ("manifest", collections.removed_manifests),
        ] {
            let removed = self.removed.get_or_create(&KindLabels { kind });
            removed.inner().store(count, Ordering::Relaxed);
        }
        let bytes = collections.removed.bytes + collections.removed_orphans.bytes;
        self.removed_bytes.inner().store(bytes, Ordering::Relaxed);
        if let Some(last) = collections.last_complete {
            let since = last.duration_since(UNIX_EPOCH).unwrap_or_default();
            self.last_complete.set(whole(since.as_secs()));
        }
        if let Some(last) = &collections.last {
            let milliseconds = u64::try_from(last.duration.as_millis()).unwrap_or(u64::MAX);
            self.last_duration.set(float(milliseconds) / 1000.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use oci_core::store::CollectOptions;
    use oci_storage::filesystem::{Filesystem, Options};
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[tokio::test]
    async fn a_collection_is_counted_with_what_it_removed() {
        let volume = tempfile::tempdir().unwrap();
        let digest = oci_core::Digest::sha256(b"nobody's");
        let content = format!(
            "docker/registry/v2/blobs/sha256/{}/{}",
            &digest.hex()[..2],
            digest.hex()
        );
        let content = volume.path().join(content);
        std::fs::create_dir_all(&content).unwrap();
        std::fs::write(content.join("data"), b"nobody's").unwrap();
        let store = Filesystem::open(volume.path(), Options::default()).unwrap();
        let registry = oci_core::Registry::new(store);
        let mut options = CollectOptions::default();
        options.grace = Duration::ZERO;
        options.brake = None;
        options.any_file_system = true;
        registry.collect(&options, Arc::new(())).await.unwrap();

        let (collecting, mut exposed) = (Collecting::default(), Registry::default());
        collecting.expose(&mut exposed);
        collecting.sample(&registry.collections());
        let mut text = String::new();
        encode(&mut text, &exposed).unwrap();
        for line in [
            "registryd_collections_running 0",
            "registryd_collections_total{outcome=\"complete\"} 1",
            "registryd_collections_total{outcome=\"failed\"} 0",
            "registryd_collected_total{kind=\"content\"} 1",
            "registryd_collected_bytes_total 8",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let never = "registryd_collection_last_complete_seconds 0";
        assert!(!text.lines().any(|found| found == never), "{text}");
    }
}
