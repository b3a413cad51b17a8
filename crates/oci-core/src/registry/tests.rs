#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::json;

use super::*;
use crate::digest::{Algorithm, Digest};
use crate::hooks::Operation;
use crate::memory::MemoryStore;
use crate::name::Reference;
use crate::runtime::ReadBuffers;
use crate::store::{ContentStream, PageRequest, UploadOptions};
use crate::testing::block_on;

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

fn anonymous() -> Identity {
    Identity::anonymous()
}

/// A stream of one piece.
struct Once(Option<bytes::Bytes>);

impl futures_core::Stream for Once {
    type Item = Result<bytes::Bytes, crate::BoxError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.take().map(Ok))
    }
}

fn once(content: &[u8]) -> Once {
    Once(Some(bytes::Bytes::copy_from_slice(content)))
}

fn content(stream: &mut Once) -> ContentStream<'_> {
    let stream: std::pin::Pin<&mut Once> = std::pin::Pin::new(stream);
    stream
}

async fn push(registry: &Registry, repository: &str, bytes: &[u8]) -> Digest {
    let digest = Digest::sha256(bytes);
    let mut stream = once(bytes);
    let pushed = registry
        .push_blob(
            &anonymous(),
            &name(repository),
            &digest,
            content(&mut stream),
        )
        .await;
    pushed.unwrap().digest
}

fn descriptor(bytes: &[u8], media_type: &str) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": Digest::sha256(bytes).to_string(), "size": bytes.len()})
}

fn image(config: &[u8], more: &serde_json::Value) -> Vec<u8> {
    let mut document = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(config, "application/vnd.example.config"),
        "layers": [],
    });
    for (key, value) in more.as_object().unwrap() {
        document[key] = value.clone();
    }
    document.to_string().into_bytes()
}

fn index(children: &[serde_json::Value]) -> Vec<u8> {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": children,
    })
    .to_string()
    .into_bytes()
}

const IMAGE_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

async fn put(
    registry: &Registry,
    repository: &str,
    reference: &str,
    bytes: &[u8],
) -> Result<PushedManifest, RegistryError> {
    let reference: Reference = reference.parse().unwrap();
    let push = PushManifest::new(reference, bytes.to_vec());
    registry
        .put_manifest(&anonymous(), &name(repository), push)
        .await
}

#[test]
fn an_index_needs_everything_below_its_children() {
    block_on(async {
        let registry = Registry::new(MemoryStore::new());
        push(&registry, "app", b"config").await;
        let child = image(b"config", &json!({}));
        put(&registry, "app", "child", &child).await.unwrap();
        let inner = index(&[descriptor(&child, IMAGE_TYPE)]);
        put(&registry, "app", "inner", &inner).await.unwrap();
        // Somebody deletes the blob that only the grandchild names.
        registry
            .delete_blob(&anonymous(), &name("app"), &Digest::sha256(b"config"))
            .await
            .unwrap();
        let outer = index(&[descriptor(
            &inner,
            "application/vnd.oci.image.index.v1+json",
        )]);
        let error = put(&registry, "app", "outer", &outer).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::ManifestBlobUnknown);
        assert_eq!(error.entries().len(), 1);
        let digest = Digest::sha256(b"config").to_string();
        assert_eq!(error.entries()[0].detail, Some(json!({"digest": digest})));
    });
}

/// `BuildKit` keeps a build cache as an index whose children are layers, not manifests.
#[test]
fn a_build_cache_is_an_index_of_blobs() {
    block_on(async {
        let registry = Registry::new(MemoryStore::new());
        push(&registry, "cache", b"layer").await;
        let cache = index(&[descriptor(
            b"layer",
            "application/vnd.oci.image.layer.v1.tar+gzip",
        )]);
        put(&registry, "cache", "latest", &cache).await.unwrap();
        let absent = index(&[descriptor(
            b"nothing",
            "application/vnd.oci.image.layer.v1.tar+gzip",
        )]);
        let error = put(&registry, "cache", "latest", &absent)
            .await
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::ManifestBlobUnknown);
    });
}

#[test]
fn referrers_under_the_fallback_tag_are_merged_once_each() {
    block_on(async {
        let registry = Registry::new(MemoryStore::new());
        push(&registry, "app", b"config").await;
        let subject = Digest::sha256(b"the subject");
        let naming = |n: u32, subject: &Digest| {
            let subject =
                json!({"mediaType": IMAGE_TYPE, "digest": subject.to_string(), "size": 11});
            image(
                b"config",
                &json!({"subject": subject, "annotations": {"n": n.to_string()}}),
            )
        };
        let mut expected = Vec::new();
        let mut children = Vec::new();
        for n in 0..4 {
            let manifest = naming(n, &subject);
            let digest = put(&registry, "app", &format!("t{n}"), &manifest)
                .await
                .unwrap()
                .digest;
            expected.push(digest);
            children.push(descriptor(&manifest, IMAGE_TYPE));
        }
        // In the list, but it names another subject: not one of ours.
        let stranger = naming(9, &Digest::sha256(b"another"));
        put(&registry, "app", "stranger", &stranger).await.unwrap();
        children.push(descriptor(&stranger, IMAGE_TYPE));
        let tag = format!("sha256-{}", subject.hex());
        put(&registry, "app", &tag, &index(&children))
            .await
            .unwrap();

        expected.sort_unstable();
        let digests = |page: &ReferrersPage| {
            page.descriptors
                .iter()
                .map(|d| d.digest)
                .collect::<Vec<_>>()
        };
        let all = registry
            .referrers(&name("app"), &subject, &ReferrersRequest::default())
            .await
            .unwrap();
        assert_eq!((digests(&all), all.next.clone()), (expected.clone(), None));
        let request = ReferrersRequest {
            after: Some(expected[1].to_string()),
            ..Default::default()
        };
        let rest = registry
            .referrers(&name("app"), &subject, &request)
            .await
            .unwrap();
        assert_eq!(digests(&rest), expected[2..]);
        let request = ReferrersRequest {
            artifact_types: vec!["other".into()],
            ..Default::default()
        };
        let none = registry
            .referrers(&name("app"), &subject, &request)
            .await
            .unwrap();
        assert!(none.descriptors.is_empty() && none.next.is_none());
        let request = ReferrersRequest {
            artifact_types: vec!["x".into(), "application/vnd.example.config".into()],
            ..Default::default()
        };
        let by_config = registry
            .referrers(&name("app"), &subject, &request)
            .await
            .unwrap();
        assert_eq!(
            digests(&by_config),
            expected,
            "the config's type stands in for a missing artifactType"
        );
    });
}

/// Enough annotations that one response cannot hold all referrers.
#[test]
fn a_long_list_of_referrers_is_cut_into_pages_that_clients_accept() {
    block_on(async {
        let registry = Registry::new(MemoryStore::new());
        push(&registry, "app", b"config").await;
        let subject = Digest::sha256(b"the subject");
        for n in 0..7 {
            let manifest = image(
                b"config",
                &json!({
                    "subject": {"mediaType": IMAGE_TYPE, "digest": subject.to_string(), "size": 11},
                    "annotations": {"n": format!("{n}{}", "x".repeat(1_000_000))},
                }),
            );
            put(&registry, "app", &format!("t{n}"), &manifest)
                .await
                .unwrap();
        }
        let mut request = ReferrersRequest::default();
        let mut sizes = Vec::new();
        loop {
            let page = registry
                .referrers(&name("app"), &subject, &request)
                .await
                .unwrap();
            assert!(
                serde_json::to_vec(&page.descriptors).unwrap().len() < Manifest::DEFAULT_MAX_SIZE
            );
            sizes.push(page.descriptors.len());
            let Some(next) = page.next else { break };
            request.after = Some(next);
        }
        assert_eq!(sizes, [4, 3]);
    });
}

#[test]
fn a_closing_request_repeated_after_success_succeeds() {
    block_on(async {
        let registry = Registry::new(MemoryStore::new());
        let repository = name("app");
        let options = UploadOptions::new(Algorithm::Sha256);
        let id = registry
            .begin_upload(&anonymous(), &repository, &options)
            .await
            .unwrap()
            .id;
        let digest = Digest::sha256(b"content");
        for _ in 0..2 {
            let mut stream = once(b"content");
            let finished = registry
                .finish_upload(
                    &anonymous(),
                    &repository,
                    &id,
                    None,
                    &digest,
                    content(&mut stream),
                )
                .await;
            assert_eq!(finished.unwrap().size, 7);
        }
        let mut stream = once(b"content");
        let other = Digest::sha256(b"other");
        let unknown = registry
            .finish_upload(
                &anonymous(),
                &repository,
                &id,
                None,
                &other,
                content(&mut stream),
            )
            .await;
        assert_eq!(unknown.unwrap_err().code(), ErrorCode::BlobUploadUnknown);
    });
}

#[test]
fn a_wrong_start_is_refused_before_the_body_is_read() {
    block_on(async {
        let registry = Registry::new(MemoryStore::new());
        let repository = name("app");
        let options = UploadOptions::new(Algorithm::Sha256);
        let id = registry
            .begin_upload(&anonymous(), &repository, &options)
            .await
            .unwrap()
            .id;
        let mut stream = once(b"content");
        let refused = registry
            .append_upload(
                &anonymous(),
                &repository,
                &id,
                Some(3),
                content(&mut stream),
            )
            .await
            .unwrap_err();
        assert_eq!(
            (refused.code(), refused.upload_offset()),
            (ErrorCode::RangeInvalid, Some(0))
        );
        assert!(stream.0.is_some(), "the body was not polled");
    });
}

#[test]
fn uploads_are_bounded_per_principal_and_in_all() {
    block_on(async {
        let limits = Limits {
            uploads: 4,
            uploads_per_principal: 2,
            ..Limits::default()
        };
        let registry = Registry::builder(MemoryStore::new()).limits(limits).build();
        let options = UploadOptions::new(Algorithm::Sha256);
        let begin = async |who: &Identity| registry.begin_upload(who, &name("app"), &options).await;
        let alice = Identity::named("alice");
        begin(&alice).await.unwrap();
        begin(&alice).await.unwrap();
        let refused = begin(&alice).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::TooManyRequests);
        assert!(refused.retry_after().is_some());
        begin(&anonymous()).await.unwrap();
        begin(&anonymous()).await.unwrap();
        assert_eq!(
            begin(&Identity::named("bob")).await.unwrap_err().code(),
            ErrorCode::TooManyRequests
        );
    });
}

#[test]
fn a_mount_links_what_the_source_has_and_nothing_else() {
    block_on(async {
        let registry = Registry::new(MemoryStore::new());
        let digest = push(&registry, "from", b"layer").await;
        let mount = async |source: &MountSource| {
            registry
                .mount_blob(&anonymous(), &name("to"), &digest, source)
                .await
                .unwrap()
        };
        assert_eq!(
            mount(&MountSource::Repository(name("elsewhere"))).await,
            None
        );
        assert!(
            registry
                .stat_blob(&name("to"), &digest, Intent::Pull)
                .await
                .is_err()
        );
        assert!(
            mount(&MountSource::Repository(name("from")))
                .await
                .is_some()
        );
        assert!(
            registry
                .stat_blob(&name("to"), &digest, Intent::Push)
                .await
                .is_ok()
        );
        assert!(mount(&MountSource::Anywhere).await.is_some());
    });
}

#[test]
fn switched_off_writes_and_deletes_say_how_to_allow_them() {
    block_on(async {
        let registry = Registry::builder(MemoryStore::new())
            .without_deletes("set storage.delete.enabled")
            .build();
        push(&registry, "app", b"config").await;
        let error = registry
            .delete_blob(&anonymous(), &name("app"), &Digest::sha256(b"config"))
            .await
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unsupported);
        assert!(
            error.to_string().contains("storage.delete.enabled"),
            "{error}"
        );
        assert!(!registry.deletes_enabled());

        let frozen = Registry::builder(MemoryStore::new())
            .read_only("maintenance until noon")
            .build();
        let options = UploadOptions::new(Algorithm::Sha256);
        let error = frozen
            .begin_upload(&anonymous(), &name("app"), &options)
            .await
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unsupported);
    });
}

#[derive(Debug, Default)]
struct Recorder {
    refuse: bool,
    events: std::sync::Arc<Mutex<Vec<Event>>>,
}

#[async_trait]
impl Hooks for Recorder {
    async fn before(&self, _: &Identity, operation: &Operation<'_>) -> Result<(), RegistryError> {
        match operation {
            Operation::PutManifest { .. } if self.refuse => {
                Err(RegistryError::new(ErrorCode::Denied, "not today"))
            }
            _ => Ok(()),
        }
    }

    fn after(&self, _: &Identity, event: &Event) {
        self.events.lock().unwrap().push(event.clone());
    }
}

#[test]
fn hooks_veto_before_and_hear_after() {
    block_on(async {
        let events = std::sync::Arc::default();
        let hooks = Recorder {
            refuse: false,
            events: std::sync::Arc::clone(&events),
        };
        let registry = Registry::builder(MemoryStore::new()).hooks(hooks).build();
        push(&registry, "app", b"config").await;
        put(&registry, "app", "v1", &image(b"config", &json!({})))
            .await
            .unwrap();
        let heard = events.lock().unwrap().clone();
        assert!(
            matches!(
                heard.as_slice(),
                [Event::BlobPushed { .. }, Event::ManifestPushed { .. }]
            ),
            "{heard:?}"
        );

        let registry = Registry::builder(MemoryStore::new())
            .hooks(Recorder {
                refuse: true,
                ..Default::default()
            })
            .build();
        push(&registry, "app", b"config").await;
        let vetoed = put(&registry, "app", "v1", &image(b"config", &json!({})))
            .await
            .unwrap_err();
        assert_eq!(
            (vetoed.code(), vetoed.status().as_u16()),
            (ErrorCode::Denied, 403)
        );
        assert!(
            registry
                .tags(&name("app"), &PageRequest::first(1))
                .await
                .is_err()
        );
    });
}

#[test]
fn pages_are_capped_and_an_empty_page_ends_a_listing() {
    block_on(async {
        let registry = Registry::builder(MemoryStore::new())
            .limits(Limits {
                repositories_per_page: 3,
                tags_per_page: 2,
                ..Limits::default()
            })
            .build();
        push(&registry, "app", b"config").await;
        for tag in ["a", "b", "c"] {
            put(&registry, "app", tag, &image(b"config", &json!({})))
                .await
                .unwrap();
        }
        let page = registry
            .tags(&name("app"), &PageRequest::first(1_000_000))
            .await
            .unwrap();
        assert_eq!((page.items.len(), page.more), (2, true));
        let none = registry
            .tags(&name("app"), &PageRequest::first(0))
            .await
            .unwrap();
        assert!(none.items.is_empty() && !none.more);
    });
}

#[test]
fn a_blob_in_a_file_streams_in_pieces() {
    use std::io::Write;

    use crate::store::{BlobPayload, BlobRead, FileRange};

    let path = std::env::temp_dir().join(format!("oci-core-{}", std::process::id()));
    let bytes: Vec<u8> = (0..700_000_u32).map(|i| i as u8).collect();
    std::fs::File::create(&path)
        .unwrap()
        .write_all(&bytes)
        .unwrap();
    for range in [0..700_000_u64, 100..262_244, 5..5, 699_999..700_000] {
        let file = FileRange::new(std::fs::File::open(&path).unwrap(), range.clone());
        let read = BlobRead::new(700_000, range.clone(), BlobPayload::File(file));
        let mut stream = read.into_stream(Arc::new(ThreadPool::new(2)), &ReadBuffers::default());
        let mut seen = Vec::new();
        block_on(async {
            while let Some(piece) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                seen.extend_from_slice(&piece.unwrap());
            }
        });
        assert!(seen == bytes[range.start as usize..range.end as usize]);
    }
    // A file that is shorter than the blob is damaged: an error, not a short answer.
    let file = FileRange::new(std::fs::File::open(&path).unwrap(), 0..800_000);
    let mut stream = BlobRead::new(800_000, 0..800_000, BlobPayload::File(file))
        .into_stream(Arc::new(ThreadPool::new(1)), &ReadBuffers::default());
    let last = block_on(async {
        let mut last = None;
        while let Some(piece) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            last = Some(piece.is_err());
        }
        last
    });
    assert_eq!(last, Some(true));
    std::fs::remove_file(&path).unwrap();
}
