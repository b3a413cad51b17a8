//! What the tests of the filesystem engine share: a volume, and pushing to it.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test uses some of it, and reports by a failed expectation"
)]

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use oci_core::store::{
    AppendMode, BlobPayload, BlobRead, CollectObserver, CollectOptions, Collected, Phase,
    PutManifest, ReadRange, TagWrite, UploadOptions, UploadScope,
};
use oci_core::testkit::pieces;
use oci_core::{
    Algorithm, BlobStore, BlobUpload, Digest, Manifest, ManifestStore, RepositoryName, StoreError,
    Tag,
};
use oci_storage::filesystem::{Filesystem, Options};

pub struct Volume(tempfile::TempDir);

impl Volume {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// On a disk in memory where there is one: for tests that inject faults at every step, to which
    /// real syncs would add nothing but time.
    pub fn in_memory() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap()))
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }

    pub fn open(&self) -> Filesystem {
        self.open_with(Options::default())
    }

    pub fn open_with(&self, options: Options) -> Filesystem {
        Filesystem::open(self.root(), options).unwrap()
    }

    /// A path below `docker/registry/v2`.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root().join("docker/registry/v2").join(path)
    }

    /// Writes a file as another program would.
    pub fn plant(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn text(&self, path: &str) -> String {
        let path = self.at(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub fn data(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.at(&format!(
            "blobs/{}/{}/{hex}/data",
            digest.algorithm(),
            &hex[..2]
        ))
    }

    /// Every file below `directory`, relative to it, in byte order.
    pub fn files(&self, directory: &str) -> Vec<String> {
        let root = self.at(directory);
        let mut found = Vec::new();
        let mut open = vec![root.clone()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(&directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    found.push(
                        path.strip_prefix(&root)
                            .unwrap()
                            .to_str()
                            .unwrap()
                            .to_owned(),
                    );
                }
            }
        }
        found.sort();
        found
    }

    /// Waits until no temporary file is left; removing them happens in the background.
    pub async fn assert_no_temporary_files(&self) {
        for _ in 0..500 {
            if self.files("_registryd/tmp").is_empty() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("left over: {:?}", self.files("_registryd/tmp"));
    }
}

/// Does something when everything was marked and nothing has been removed yet.
pub struct Between(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Between {
    pub fn new(act: impl FnOnce() + Send + 'static) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(Box::new(act)))))
    }
}

impl CollectObserver for Between {
    fn progress(&self, phase: Phase, _: &Collected) {
        if phase == Phase::Marked
            && let Some(act) = self.0.lock().unwrap().take()
        {
            act();
        }
    }
}

/// Collects with a grace period.
pub fn after(grace: std::time::Duration) -> CollectOptions {
    let mut options = CollectOptions::default();
    options.grace = grace;
    options
}

pub fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

pub fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

pub fn scope(repository: &RepositoryName) -> UploadScope {
    UploadScope::new(repository.clone(), "somebody")
}

/// Bytes that differ by `seed` and do not compress into anything regular.
pub fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub async fn append(
    upload: &mut dyn BlobUpload,
    bytes: &[u8],
    mode: AppendMode,
) -> Result<u64, StoreError> {
    upload.append(pin!(pieces(bytes, 60_000)), mode).await
}

pub async fn push(
    store: &Filesystem,
    repository: &RepositoryName,
    bytes: &[u8],
) -> Result<Digest, StoreError> {
    push_as(store, repository, bytes, Algorithm::Sha256).await
}

pub async fn push_as(
    store: &Filesystem,
    repository: &RepositoryName,
    bytes: &[u8],
    algorithm: Algorithm,
) -> Result<Digest, StoreError> {
    let digest = Digest::of(algorithm, bytes);
    let options = UploadOptions::expecting(digest);
    let mut upload = store.begin_upload(&scope(repository), &options).await?;
    append(&mut *upload, bytes, AppendMode::Atomic).await?;
    upload.commit(&digest, repository).await?;
    Ok(digest)
}

/// An image of a config and one layer, perhaps with a subject.
pub fn image(config: &[u8], layer: &[u8], subject: Option<&Digest>) -> Manifest {
    let subject = subject.map_or_else(String::new, |subject| {
        format!(
            r#","subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{subject}","size":7}}"#
        )
    });
    let json = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]{subject}}}"#,
        Digest::sha256(config),
        config.len(),
        Digest::sha256(layer),
        layer.len(),
    );
    Manifest::parse(Bytes::from(json), None).unwrap()
}

pub async fn put(
    store: &Filesystem,
    repository: &RepositoryName,
    manifest: &Manifest,
    tags: &[&str],
) -> Result<Digest, StoreError> {
    let digest = Digest::sha256(manifest.bytes());
    let tags: Vec<TagWrite> = tags.iter().map(|text| TagWrite::any(tag(text))).collect();
    let mut put = PutManifest::new(repository, &digest, manifest);
    put.references = manifest.references();
    put.tags = &tags;
    store.put(put).await?;
    Ok(digest)
}

/// Pushes config, layer and manifest.
pub async fn push_image(
    store: &Filesystem,
    repository: &RepositoryName,
    seed: u64,
    tags: &[&str],
) -> Result<Digest, StoreError> {
    let (config, layer) = (content(seed, 100), content(seed + 1_000_000, 5000));
    push(store, repository, &config).await?;
    push(store, repository, &layer).await?;
    put(store, repository, &image(&config, &layer, None), tags).await
}

/// Checks that an image of [`push_image`] is all there, byte for byte.
pub async fn assert_image(store: &Filesystem, repository: &RepositoryName, seed: u64) {
    let (config, layer) = (content(seed, 100), content(seed + 1_000_000, 5000));
    let manifest = image(&config, &layer, None);
    let digest = Digest::sha256(manifest.bytes());
    let stored = ManifestStore::read(store, repository, &digest).await;
    let stored = stored.unwrap_or_else(|error| panic!("image {seed}: {error}"));
    assert_eq!(&stored.bytes, manifest.bytes());
    for blob in [config, layer] {
        let digest = Digest::sha256(&blob);
        assert!(
            store.has_blob(repository, &digest).await.unwrap(),
            "image {seed}: {digest} is linked"
        );
        assert_eq!(read(store, &digest).await.unwrap(), blob);
    }
}

pub async fn read(store: &Filesystem, digest: &Digest) -> Result<Vec<u8>, StoreError> {
    let BlobRead { payload, range, .. } = BlobStore::read(store, digest, ReadRange::Whole).await?;
    Ok(match payload {
        BlobPayload::Bytes(bytes) => bytes.to_vec(),
        BlobPayload::File(file) => {
            use std::os::unix::fs::FileExt;
            let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap()];
            file.file.read_exact_at(&mut bytes, range.start).unwrap();
            bytes
        }
        other => panic!("{other:?}"),
    })
}
