//! Taking over what CNCF Distribution has written, in a bucket in memory: what is missing or damaged in it.

#![cfg(feature = "object-store")]
#![expect(
    clippy::unwrap_used,
    reason = "a failed expectation is how a test reports"
)]

use bytes::Bytes;
use oci_core::{BlobStore, Digest, ManifestStore};
use oci_storage::object::{Bucket, ImportOptions, ImportReport, ObjectExtents, Verdict};
use oci_storage::records::{ExtentStore, Records, RecordsOptions};

const LAYER: &[u8] = b"what a layer holds";

struct World {
    bucket: Bucket,
    objects: ObjectExtents,
    store: Records,
}

impl World {
    fn new() -> Self {
        let (bucket, verdict) = (Bucket::in_memory(), Verdict::default());
        Self {
            objects: ObjectExtents::new(bucket.clone(), &verdict),
            store: bucket.records(&verdict, RecordsOptions::default()),
            bucket,
        }
    }

    async fn write(&self, key: &str, content: &[u8]) {
        let key = format!("docker/registry/v2/{key}");
        let put = self
            .objects
            .put(&key, vec![Bytes::copy_from_slice(content)]);
        put.await.unwrap();
    }

    async fn link(&self, key: &str, digest: &Digest) {
        let key = format!("repositories/team/app/{key}/link");
        self.write(&key, digest.to_string().as_bytes()).await;
    }

    /// A blob as Distribution writes it.
    async fn blob(&self, content: &[u8]) -> Digest {
        let digest = Digest::sha256(content);
        self.write(&data(&digest), content).await;
        self.link(&format!("_layers/sha256/{}", digest.hex()), &digest)
            .await;
        digest
    }

    /// An image of one layer and its tag.
    async fn image(&self) -> Digest {
        let (config, layer) = (self.blob(b"{}").await, self.blob(LAYER).await);
        let json = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{}}}]}}"#,
            LAYER.len()
        );
        let digest = Digest::sha256(json.as_bytes());
        self.write(&data(&digest), json.as_bytes()).await;
        self.link(
            &format!("_manifests/revisions/sha256/{}", digest.hex()),
            &digest,
        )
        .await;
        self.link("_manifests/tags/v1/current", &digest).await;
        layer
    }

    async fn remove(&self, digest: &Digest) {
        let key = format!("docker/registry/v2/{}", data(digest));
        self.objects.delete(&key).await.unwrap();
    }

    async fn import(&self, dry_run: bool) -> ImportReport {
        let mut options = ImportOptions::default();
        options.dry_run = dry_run;
        let imported = self.bucket.import(&self.store, options, |_| {});
        imported.await.unwrap()
    }
}

fn data(digest: &Digest) -> String {
    let hex = digest.hex();
    let fan = hex.get(..2).unwrap();
    format!("blobs/sha256/{fan}/{hex}/data")
}

/// What is wrong with which digest, in so many words.
fn problems(report: &ImportReport) -> Vec<String> {
    let problems = report.problems.iter();
    problems
        .map(|problem| format!("{}: {}", problem.what, problem.why))
        .collect()
}

#[tokio::test]
async fn a_link_to_nothing_is_left_out_unless_a_manifest_needs_it() {
    let world = World::new();
    let layer = world.image().await;
    let stray = world.blob(b"collected by Distribution").await;
    world.remove(&stray).await;
    for dry_run in [true, false, false] {
        let report = world.import(dry_run).await;
        assert_eq!(problems(&report), [""; 0]);
        assert_eq!(
            (report.dead_links, report.manifests + report.manifests_there),
            (1, 1)
        );
    }

    let world = World::new();
    world.image().await;
    world.remove(&layer).await;
    let report = world.import(false).await;
    let missing = format!("{layer}: its content is missing in the bucket; push it again");
    assert_eq!(report.dead_links, 0);
    // Its manifest and tag are missed, too.
    assert!(problems(&report).contains(&missing), "{report:?}");
    let (name, tag) = ("team/app".parse().unwrap(), "v1".parse().unwrap());
    let found = world.store.resolve(&name, &tag);
    assert!(found.await.is_err());
}

/// Importing again used to bring back what `scrub --repair` had taken away.
#[tokio::test]
async fn what_was_taken_away_as_damaged_comes_back_only_when_it_is_sound() {
    let world = World::new();
    let layer = world.image().await;
    let damaged: Vec<u8> = LAYER.iter().map(|byte| byte ^ 1).collect();
    world.write(&data(&layer), &damaged).await;
    assert_eq!(problems(&world.import(false).await), [""; 0]);
    assert!(world.store.discard_damaged(&layer).await.unwrap());

    for dry_run in [true, false] {
        let report = world.import(dry_run).await;
        let says = format!("{layer}: its content in the bucket is damaged; push it again");
        assert_eq!(problems(&report), [says]);
        assert!(world.store.stat(&layer).await.is_err());
    }
    // Gone as well: the manifest that is here needs it still.
    world.remove(&layer).await;
    let report = world.import(false).await;
    let says = format!("{layer}: its content is missing in the bucket; push it again");
    assert_eq!((problems(&report), report.dead_links), (vec![says], 0));

    world.blob(LAYER).await;
    let report = world.import(false).await;
    assert_eq!((problems(&report), report.blobs), (Vec::new(), 1));
    assert_eq!(
        world.store.stat(&layer).await.unwrap().size,
        LAYER.len() as u64
    );
}
