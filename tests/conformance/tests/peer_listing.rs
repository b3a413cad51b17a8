//! Tags that Debian's `docker-registry` adds to a volume are listed by the filesystem engine, which keeps
//! an index that the other knows nothing of.
#![cfg(feature = "peer")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what goes wrong while setting up fails the test"
)]

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use oci_core::store::{PageRequest, PutManifest, TagWrite};
use oci_core::{Digest, Manifest, ManifestStore, RepositoryName};
use oci_storage::filesystem::{Filesystem, Options};

/// Killed when dropped.
struct Peer(Child, SocketAddr);

impl Peer {
    fn start(root: &Path) -> Self {
        // Free a moment ago: the registry can not bind port 0 and say which it got.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n\
             http: {{addr: \"{address}\"}}\n",
            root.display()
        );
        let path = root.join("config.yml");
        fs::write(&path, config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let peer = Self(child, address);
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(20), "it listens");
            std::thread::park_timeout(Duration::from_millis(50));
        }
        peer
    }

    fn put(&self, tag: &str, manifest: &Manifest, media_type: &str) {
        let mut connection = TcpStream::connect(self.1).unwrap();
        let body = manifest.bytes();
        write!(
            connection,
            "PUT /v2/big/manifests/{tag} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            self.1,
            body.len()
        )
        .unwrap();
        connection.write_all(body).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn put(store: &Filesystem, repository: &RepositoryName, manifest: &Manifest, tag: &str) {
    let digest = Digest::sha256(manifest.bytes());
    let tags = [TagWrite::any(tag.parse().unwrap())];
    let mut put = PutManifest::new(repository, &digest, manifest);
    put.tags = &tags;
    store.put(put).await.unwrap();
}

async fn first(store: &Filesystem, repository: &RepositoryName, after: &str) -> Option<String> {
    let page = store.tags(repository, &PageRequest::after(after, 1)).await;
    page.unwrap().items.first().map(ToString::to_string)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_registries_add_tags_in_turn() {
    const TYPE: &str = "application/vnd.oci.image.index.v1+json";
    let root = tempfile::tempdir().unwrap();
    let json = format!(r#"{{"schemaVersion":2,"mediaType":"{TYPE}","manifests":[]}}"#);
    let manifest = Manifest::parse(Bytes::from(json), None).unwrap();
    let repository: RepositoryName = "big".parse().unwrap();
    let store = Filesystem::open(root.path(), Options::default()).unwrap();
    let peer = Peer::start(root.path());
    for number in 0..600 {
        peer.put(&format!("t{number:03}"), &manifest, TYPE);
    }
    assert_eq!(first(&store, &repository, "t").await.unwrap(), "t000");
    assert_eq!(store.statistics().listings_indexed, 1);
    for number in 0..60 {
        let (ours, theirs) = (format!("o{number:03}"), format!("p{number:03}"));
        put(&store, &repository, &manifest, &ours).await;
        peer.put(&theirs, &manifest, TYPE);
        // What was done here is listed at once, what was done there when the directory may be read.
        let page = store.tags(&repository, &PageRequest::first(1000)).await;
        let tags: Vec<String> = page
            .unwrap()
            .items
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(tags.contains(&ours), "{ours}");
        let begin = Instant::now();
        let mut listed = tags.contains(&theirs);
        while !listed {
            assert!(begin.elapsed() < Duration::from_secs(30), "{theirs}");
            tokio::time::sleep(Duration::from_millis(10)).await;
            let page = store.tags(&repository, &PageRequest::first(1000)).await;
            listed = page.unwrap().items.iter().any(|tag| tag.as_str() == theirs);
        }
    }
    // A process that starts now finds the same.
    let again = Filesystem::open(root.path(), Options::default()).unwrap();
    let page = PageRequest::first(1000);
    let listed = again.tags(&repository, &page).await.unwrap();
    assert_eq!(listed.items.len(), 720);
}
