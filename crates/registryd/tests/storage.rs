//! `registryd storage`: what it copies, what it finds, what it repairs, and how it ends.
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a failed expectation is how a test reports"
)]

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Output};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use oci_core::registry::PushManifest;
use oci_core::store::{PageRequest, ReadRange};
use oci_core::{Digest, Identity, Reference, Registry, RepositoryName};
use oci_storage::filesystem::{Filesystem, Options};

fn storage(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registryd"));
    let environment = std::env::vars().filter(|(name, _)| name.starts_with("REGISTRY"));
    for (name, _) in environment {
        command.env_remove(name);
    }
    command.arg("storage").args(arguments).output().unwrap()
}

/// Runs a command that must end with `status`; what it wrote to both streams.
fn ends(status: i32, arguments: &[&str]) -> String {
    let output = storage(arguments);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
    text
}

fn repository(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

fn filesystem(root: &Path) -> Registry {
    Registry::new(Filesystem::open(root, Options::default()).unwrap())
}

/// Bytes that come in one piece.
struct Once(Option<Bytes>);

impl futures_util::Stream for Once {
    type Item = Result<Bytes, oci_core::error::BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}

async fn push_blob(registry: &Registry, name: &RepositoryName, bytes: &[u8]) -> Digest {
    let digest = Digest::sha256(bytes);
    let mut content = Once(Some(Bytes::copy_from_slice(bytes)));
    let content = Pin::new(&mut content);
    let nobody = Identity::anonymous();
    let pushed = registry.push_blob(&nobody, name, &digest, content);
    pushed.await.unwrap();
    digest
}

async fn put(registry: &Registry, name: &RepositoryName, to: Reference, json: String) -> Digest {
    let push = PushManifest::new(to, json);
    let nobody = Identity::anonymous();
    let put = registry.put_manifest(&nobody, name, push);
    put.await.unwrap().digest
}

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

fn image(config: &Digest, layer: &Digest, size: usize, more: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{size}}}]{more}}}"#
    )
}

/// What a volume of these tests holds.
struct Filled {
    layer: Digest,
    image: Digest,
    index: Digest,
    signature: Digest,
    untagged: Digest,
}

/// Two repositories that share a layer of a megabyte, an index, a signature and an untagged image.
async fn fill(registry: &Registry) -> Filled {
    let name = repository("team/app");
    let layer_bytes = vec![7; 1_000_000];
    let config = push_blob(registry, &name, b"{}").await;
    let layer = push_blob(registry, &name, &layer_bytes).await;
    let json = image(&config, &layer, 1_000_000, "");
    let length = json.len();
    let image_digest = Digest::sha256(json.as_bytes());
    put(registry, &name, image_digest.into(), json).await;
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"mediaType":"{IMAGE}","digest":"{image_digest}","size":{length}}}]}}"#
    );
    let index = put(registry, &name, "latest".parse().unwrap(), index).await;
    let subject = format!(
        r#","subject":{{"mediaType":"{IMAGE}","digest":"{image_digest}","size":{length}}}"#
    );
    let json = image(&config, &layer, 1_000_000, &subject);
    let signature = Digest::sha256(json.as_bytes());
    put(registry, &name, signature.into(), json).await;
    let json = image(&config, &layer, 1_000_000, r#","annotations":{"a":"b"}"#);
    let untagged = Digest::sha256(json.as_bytes());
    put(registry, &name, untagged.into(), json).await;

    let other = repository("team/other");
    push_blob(registry, &other, b"{}").await;
    push_blob(registry, &other, &layer_bytes).await;
    let json = image(&config, &layer, 1_000_000, "");
    put(registry, &other, "v1".parse().unwrap(), json).await;
    Filled {
        layer,
        image: image_digest,
        index,
        signature,
        untagged,
    }
}

async fn assert_filled(registry: &Registry, filled: &Filled) {
    let name = repository("team/app");
    let nobody = Identity::anonymous();
    let latest = "latest".parse().unwrap();
    let latest = registry.manifest(&nobody, &name, &latest).await.unwrap();
    assert_eq!(latest.digest, filled.index);
    for digest in [filled.image, filled.signature, filled.untagged] {
        let manifest = registry.manifest(&nobody, &name, &digest.into()).await;
        assert_eq!(Digest::sha256(&manifest.unwrap().bytes), digest);
    }
    let page = PageRequest::first(10);
    let referrers = registry.manifests().referrers(&name, &filled.image, &page);
    let referrers = referrers.await.unwrap().items;
    assert_eq!(referrers.len(), 1);
    assert_eq!(referrers[0].digest, filled.signature);
    for name in [name, repository("team/other")] {
        let read = registry.read_blob(&name, &filled.layer, ReadRange::Whole);
        let mut stream = registry.stream(read.await.unwrap());
        let mut length = 0;
        while let Some(piece) = stream.next().await {
            let piece = piece.unwrap();
            assert!(piece.iter().all(|byte| *byte == 7));
            length += piece.len();
        }
        assert_eq!(length, 1_000_000);
    }
}

struct Places {
    directory: tempfile::TempDir,
}

impl Places {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn place(&self, kind: &str, name: &str) -> String {
        format!("{kind}:{}", self.path(name).display())
    }

    /// A file in the volume `a`.
    fn at(&self, path: &str) -> PathBuf {
        self.path("a/docker/registry/v2").join(path)
    }

    fn data(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.at(&format!("blobs/sha256/{}/{hex}/data", &hex[..2]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_copied_there_and_back_and_nothing_twice() {
    let places = Places::new();
    let filled = fill(&filesystem(&places.path("a"))).await;
    let (a, b, c) = (
        places.place("filesystem", "a"),
        places.place("sled", "b"),
        places.place("filesystem", "c"),
    );
    let said = ends(0, &["copy", &a, &b]);
    // The image of the second repository is a manifest of its own there.
    assert!(said.contains("copied 2 blobs"), "{said}");
    assert!(
        said.contains("5 manifests and 2 tags of 2 repositories"),
        "{said}"
    );
    ends(0, &["scrub", &b]);
    let said = ends(0, &["copy", &a, &b]);
    assert!(
        said.contains("copied 0 blobs (0 B), 0 manifests and 0 tags") && said.contains("2 blobs"),
        "{said}"
    );
    // A configuration file is another way to say where.
    let file = places.path("sled.yml");
    let path = places.path("b");
    let yaml = format!(
        "version: 0.1\nstorage: {{sled: {{path: {}}}}}\nhttp: {{addr: ':5000'}}\n",
        path.display()
    );
    std::fs::write(&file, yaml).unwrap();
    ends(0, &["copy", file.to_str().unwrap(), &c]);
    assert_filled(&filesystem(&places.path("c")), &filled).await;
    ends(0, &["scrub", &c]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_broken_off_goes_on() {
    let places = Places::new();
    let filled = fill(&filesystem(&places.path("a"))).await;
    // As a copy that was killed leaves it: some blobs, one of them cut short, and no manifest.
    let half = filesystem(&places.path("c"));
    push_blob(&half, &repository("team/app"), b"{}").await;
    push_blob(&half, &repository("team/app"), &vec![7; 1_000_000]).await;
    let hex = filled.layer.hex();
    let data = format!("c/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    let data = std::fs::OpenOptions::new()
        .write(true)
        .open(places.path(&data));
    data.unwrap().set_len(999).unwrap();
    let (a, c) = (
        places.place("filesystem", "a"),
        places.place("filesystem", "c"),
    );
    let said = ends(0, &["copy", &a, &c]);
    assert!(said.contains("copied 1 blobs (976.5 KiB)"), "{said}");
    assert_filled(&filesystem(&places.path("c")), &filled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_not_copied_and_named() {
    let places = Places::new();
    let filled = fill(&filesystem(&places.path("a"))).await;
    let mut bytes = vec![7; 1_000_000];
    bytes[500] = 8;
    std::fs::write(places.data(&filled.layer), bytes).unwrap();
    let (a, b) = (places.place("filesystem", "a"), places.place("sled", "b"));
    let said = ends(1, &["copy", &a, &b]);
    let layer = filled.layer.to_string();
    assert!(
        said.contains(&format!("team/app: {layer}: its bytes do not have")),
        "{said}"
    );
    assert!(said.contains("latest: it points to"), "{said}");
    // What was copied of it is sound.
    ends(0, &["scrub", &b]);
}

/// Distribution's collector removes content and leaves the links to it.
#[tokio::test(flavor = "multi_thread")]
async fn links_to_nothing_are_no_problem_unless_a_manifest_needs_them() {
    let places = Places::new();
    let registry = filesystem(&places.path("a"));
    let filled = fill(&registry).await;
    let stray = push_blob(&registry, &repository("team/app"), b"stray").await;
    std::fs::remove_file(places.data(&stray)).unwrap();
    let (a, b) = (places.place("filesystem", "a"), places.place("sled", "b"));
    let said = ends(0, &["copy", &a, &b]);
    let left_out = "1 link to content that is not there was left out; 0 problems";
    assert!(said.contains(left_out), "{said}");
    ends(0, &["scrub", &b]);

    std::fs::remove_file(places.data(&filled.layer)).unwrap();
    let said = ends(1, &["copy", &a, &places.place("sled", "c")]);
    let layer = filled.layer.to_string();
    let problem = format!("team/app: {layer}: its content is missing in the source");
    assert_eq!(said.matches(&problem).count(), 1, "{said}");
    assert!(
        said.contains(left_out.strip_suffix("0 problems").unwrap()),
        "{said}"
    );
}

/// Once, a blob that was there was left as old as it was, and a collector beside the copy took it away
/// before its manifest came.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_kept_for_the_copy() {
    let places = Places::new();
    let name = repository("team/app");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(48 * 3600);
    let mut blob = None;
    for volume in ["a", "b"] {
        let registry = filesystem(&places.path(volume));
        fill(&registry).await;
        blob = Some(push_blob(&registry, &name, b"of no manifest").await);
    }
    let hex = blob.unwrap().hex();
    let volume = places.path("b/docker/registry/v2");
    let paths = [
        format!("blobs/sha256/{}/{hex}/data", &hex[..2]),
        format!("repositories/team/app/_layers/sha256/{hex}/link"),
    ];
    let files = paths.map(|path| std::fs::File::open(volume.join(path)).unwrap());
    for file in &files {
        let times = std::fs::FileTimes::new().set_modified(old);
        file.set_times(times).unwrap();
    }
    let (a, b) = (
        places.place("filesystem", "a"),
        places.place("filesystem", "b"),
    );
    let said = ends(0, &["copy", &a, &b]);
    assert!(said.contains("copied 0 blobs"), "{said}");
    for file in &files {
        let age = file.metadata().unwrap().modified().unwrap().elapsed();
        assert!(age.unwrap().as_secs() < 3600, "{file:?}");
    }
}

/// It used to leave them out, and to look at another place than the one that is served.
#[test]
fn the_variables_of_the_server_say_where_to_look_and_nothing_there_is_a_failure() {
    let places = Places::new();
    let file = places.path("config.yml").display().to_string();
    let yaml = "version: 0.1\nstorage: {filesystem: {rootdirectory: /of/the/file}}\nhttp: {addr: ':5000'}\n";
    std::fs::write(&file, yaml).unwrap();
    for (arguments, code, says) in [
        (
            &["import", &file][..],
            1,
            "/of/a/variable: there is nothing to import",
        ),
        (&["storage", "check", &file], 2, "/of/a/variable"),
        (&["storage", "scrub", &file], 2, "/of/a/variable"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_registryd"));
        let command = command.args(arguments).env_clear();
        let variable = "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY";
        let output = command.env(variable, "/of/a/variable").output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(said.contains(says), "{arguments:?}: {said}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    }
}

#[test]
fn what_cannot_be_done_ends_with_2() {
    let places = Places::new();
    let a = places.place("filesystem", "a");
    std::fs::create_dir(places.path("a")).unwrap();
    for (arguments, says) in [
        (&["copy", &a, &a][..], "name two stores"),
        (&["copy", "inmemory", &a], "memory"),
        (&["copy", &a, "inmemory"], "memory"),
        (
            &["copy", &places.place("filesystem", "none"), &a],
            "there is no directory",
        ),
        (
            &["check", &places.place("sled", "none")],
            "there is no directory",
        ),
        (
            &["scrub", &places.path("none.yml").display().to_string()],
            "none.yml",
        ),
        (&["copy", &a, &format!("{a}/.")], "name two stores"),
    ] {
        let said = ends(2, arguments);
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    assert!(!places.path("none").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_found_and_repaired_if_it_can_be() {
    let places = Places::new();
    let registry = filesystem(&places.path("a"));
    let filled = fill(&registry).await;
    let a = places.place("filesystem", "a");
    // Beside an open store, as beside a running server.
    ends(0, &["scrub", &a]);

    let (hex, image) = (filled.layer.hex(), filled.image.hex());
    let app = "repositories/team/app";
    let remove = |path: String| std::fs::remove_file(places.at(&path)).unwrap();
    remove(format!("{app}/_layers/sha256/{hex}/link"));
    let stray = push_blob(&registry, &repository("team/app"), b"stray").await;
    std::fs::remove_file(places.data(&stray)).unwrap();
    let said = ends(1, &["check", &a]);
    let missing = format!(
        "team/app: {}: a manifest needs this blob, which the repository does not show",
        filled.layer
    );
    assert!(said.contains(&missing), "{said}");
    assert!(
        said.contains(&format!(
            "team/app: {stray}: the repository shows this blob, whose content is not there"
        )),
        "{said}"
    );
    assert!(said.contains("fix: run with --repair"), "{said}");
    let said = ends(0, &["check", "--repair", &a]);
    assert!(said.contains("repaired"), "{said}");
    ends(0, &["scrub", &a]);

    // A tag to nothing, and with it an index that misses its image.
    remove(format!("{app}/_manifests/revisions/sha256/{image}/link"));
    let untag = format!(
        "{app}/_manifests/revisions/sha256/{}/link",
        filled.index.hex()
    );
    let kept = std::fs::read(places.at(&untag)).unwrap();
    let said = ends(1, &["check", &a]);
    assert!(
        said.contains(&format!("{}: an index needs this manifest", filled.image)),
        "{said}"
    );
    remove(untag.clone());
    let said = ends(1, &["check", "--repair", &a]);
    assert!(said.contains("(tag latest)"), "{said}");
    std::fs::write(places.at(&untag), kept).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_content_is_taken_away_and_heals_when_pushed_again() {
    let places = Places::new();
    let registry = filesystem(&places.path("a"));
    let filled = fill(&registry).await;
    let a = places.place("filesystem", "a");
    let mut bytes = vec![7; 1_000_000];
    bytes[999_999] = 0;
    std::fs::write(places.data(&filled.layer), bytes).unwrap();
    // The size is right: only reading it tells.
    ends(0, &["check", &a]);
    let output = storage(&["scrub", "--json", &a]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = json["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{json}");
    assert_eq!(findings[0]["kind"], "damaged-content");
    assert_eq!(findings[0]["digest"], filled.layer.to_string());
    assert_eq!(findings[0]["repaired"], false);
    assert!(findings[0]["fix"].as_str().unwrap().contains("--repair"));

    let said = ends(1, &["scrub", "--repair", &a]);
    assert!(said.contains("whose content is not there"), "{said}");
    assert!(!places.data(&filled.layer).exists());
    // What a client is told now makes it push the layer.
    push_blob(&registry, &repository("team/app"), &vec![7; 1_000_000]).await;
    ends(0, &["scrub", &a]);
}
