//! What lies on the disk: byte for byte as CNCF Distribution has it, and what it left is understood.
#![cfg(feature = "filesystem")]

use std::os::unix::fs::PermissionsExt;

use filesystem_common::*;
use oci_core::store::{BlobPayload, PageRequest, ReadRange};
use oci_core::{Algorithm, BlobStore, Digest, ManifestStore, StoreError};
use oci_storage::filesystem::{Filesystem, OpenError, Options};

mod filesystem_common;

#[tokio::test]
async fn a_push_leaves_exactly_the_files_of_distribution() {
    let volume = Volume::new();
    let store = volume.open();
    let repository = name("library/debian");
    let digest = push_image(&store, &repository, 1, &["latest"])
        .await
        .unwrap();
    let hex = digest.hex();
    let (config, layer) = (
        Digest::sha256(&content(1, 100)),
        Digest::sha256(&content(1_000_001, 5000)),
    );
    let mut blobs: Vec<String> = [digest, config, layer]
        .iter()
        .map(|blob| format!("sha256/{}/{}/data", &blob.hex()[..2], blob.hex()))
        .collect();
    blobs.sort();
    assert_eq!(volume.files("blobs"), blobs);
    let mut links = vec![
        format!("_layers/sha256/{}/link", config.hex()),
        format!("_layers/sha256/{}/link", layer.hex()),
        format!("_manifests/revisions/sha256/{hex}/link"),
        "_manifests/tags/latest/current/link".to_owned(),
        format!("_manifests/tags/latest/index/sha256/{hex}/link"),
    ];
    links.sort();
    assert_eq!(volume.files("repositories/library/debian"), links);
    for link in &links[2..] {
        // Without a newline: Distribution parses the whole file.
        assert_eq!(
            volume.text(&format!("repositories/library/debian/{link}")),
            format!("sha256:{hex}")
        );
    }
    volume.assert_no_temporary_files().await;
    assert_eq!(
        volume.files("_registryd"),
        ["delta.spare", "gate", "gc.lock", "lock"]
    );
    // Deleting takes the tag's directory with it, and leaves content to the collector.
    store.delete(&repository, &digest).await.unwrap();
    assert!(
        !volume
            .at("repositories/library/debian/_manifests/tags/latest")
            .exists()
    );
    assert!(volume.data(&digest).exists());
}

#[tokio::test]
async fn files_can_be_read_by_whom_the_umask_lets() {
    let volume = Volume::new();
    let store = volume.open();
    let digest = push(&store, &name("a"), b"content").await.unwrap();
    let probe = volume.root().join("probe");
    std::fs::write(&probe, "").unwrap();
    let expected = std::fs::metadata(&probe).unwrap().permissions().mode();
    let data = std::fs::metadata(volume.data(&digest)).unwrap();
    assert_eq!(data.permissions().mode(), expected);
}

/// A volume as `registry:2` writes it, with what it leaves lying about.
fn plant_image(volume: &Volume, repository: &str, seed: u64, tag: &str) -> Digest {
    let (config, layer) = (content(seed, 100), content(seed + 1_000_000, 5000));
    let manifest = image(&config, &layer, None);
    let digest = Digest::sha256(manifest.bytes());
    for blob in [&config[..], &layer, manifest.bytes()] {
        let hex = Digest::sha256(blob).hex();
        volume.plant(&format!("blobs/sha256/{}/{hex}/data", &hex[..2]), blob);
    }
    for blob in [&config, &layer] {
        let digest = Digest::sha256(blob);
        let link = format!(
            "repositories/{repository}/_layers/sha256/{}/link",
            digest.hex()
        );
        volume.plant(&link, digest.to_string());
    }
    let manifests = format!("repositories/{repository}/_manifests");
    for link in [
        format!("revisions/sha256/{}/link", digest.hex()),
        format!("tags/{tag}/current/link"),
        format!("tags/{tag}/index/sha256/{}/link", digest.hex()),
    ] {
        volume.plant(&format!("{manifests}/{link}"), digest.to_string());
    }
    digest
}

#[tokio::test]
async fn a_volume_of_distribution_is_served_in_place() {
    let volume = Volume::new();
    let digest = plant_image(&volume, "team/app", 5, "v1");
    let app = "repositories/team/app";
    volume.plant(
        &format!("{app}/_manifests/tags/v1/current/link.0f.tmp"),
        "sha",
    );
    volume.plant(
        &format!("{app}/_uploads/f3c1/startedat"),
        "2026-01-02T03:04:05Z",
    );
    // After a crash or its collector: a tag without a current link.
    std::fs::create_dir_all(volume.at(&format!("{app}/_manifests/tags/empty/index"))).unwrap();
    std::fs::create_dir_all(volume.at("repositories/never/_uploads")).unwrap();
    let store = volume.open();
    let repository = name("team/app");
    assert_image(&store, &repository, 5).await;
    assert_eq!(
        store.resolve(&repository, &tag("v1")).await.unwrap(),
        digest
    );
    let tags = store
        .tags(&repository, &PageRequest::first(10))
        .await
        .unwrap();
    assert_eq!(tags.items, [tag("v1")]);
    let all = store.repositories(&PageRequest::first(10)).await.unwrap();
    assert_eq!(all.items, std::slice::from_ref(&repository));
    // It goes on from there: a second image shares the volume.
    push_image(&store, &repository, 6, &["v1"]).await.unwrap();
    assert_image(&store, &repository, 5).await;
    assert_image(&store, &repository, 6).await;
}

#[tokio::test]
async fn torn_links_are_absent_or_repaired_from_the_path() {
    let volume = Volume::new();
    let digest = plant_image(&volume, "a", 7, "good");
    let layer = Digest::sha256(&content(1_000_007, 5000));
    let revision = format!(
        "repositories/a/_manifests/revisions/sha256/{}/link",
        digest.hex()
    );
    let membership = format!("repositories/a/_layers/sha256/{}/link", layer.hex());
    let text = layer.to_string();
    for torn in ["", &text[..20], &format!("{text}\n"), "\0\0\0\0"] {
        volume.plant(&membership, torn);
        volume.plant(&revision, torn);
        let store = volume.open();
        assert_image(&store, &name("a"), 7).await;
        assert_eq!(volume.text(&membership), layer.to_string());
        assert_eq!(volume.text(&revision), digest.to_string());
    }

    // Which manifest a tag meant cannot be known.
    volume.plant("repositories/a/_manifests/tags/torn/current/link", "");
    volume.plant(
        "repositories/a/_manifests/tags/line/current/link",
        format!("{digest}\n"),
    );
    // A link to content that is not there is not one.
    let ghost = Digest::sha256(b"ghost");
    let ghost_link = format!("repositories/a/_layers/sha256/{}/link", ghost.hex());
    volume.plant(&ghost_link, "");
    let store = volume.open();
    let tags = store
        .tags(&name("a"), &PageRequest::first(10))
        .await
        .unwrap();
    assert_eq!(tags.items, [tag("good")]);
    for torn in ["torn", "line"] {
        let resolved = store.resolve(&name("a"), &tag(torn)).await;
        assert!(
            matches!(resolved, Err(StoreError::NotFound)),
            "{resolved:?}"
        );
    }
    assert!(!store.has_blob(&name("a"), &ghost).await.unwrap());
    assert_eq!(volume.text(&ghost_link), "");
    // Pushing the tag heals it.
    let manifest = image(&content(7, 100), &content(1_000_007, 5000), None);
    put(&store, &name("a"), &manifest, &["torn"]).await.unwrap();
    assert_eq!(
        store.resolve(&name("a"), &tag("torn")).await.unwrap(),
        digest
    );
}

#[tokio::test]
async fn content_that_lost_its_bytes_is_absent_and_heals() {
    let volume = Volume::new();
    let store = volume.open();
    let repository = name("a");
    let digest = push_image(&store, &repository, 8, &["t"]).await.unwrap();
    let layer = Digest::sha256(&content(1_000_008, 5000));
    std::fs::write(volume.data(&layer), "").unwrap();
    assert!(matches!(
        store.stat(&layer).await,
        Err(StoreError::NotFound)
    ));
    assert!(matches!(
        BlobStore::read(&store, &layer, ReadRange::Whole).await,
        Err(StoreError::NotFound)
    ));
    let mut damaged = read(&store, &digest).await.unwrap();
    damaged[10] ^= 1;
    std::fs::write(volume.data(&digest), damaged).unwrap();
    assert!(matches!(
        ManifestStore::read(&store, &repository, &digest).await,
        Err(StoreError::NotFound)
    ));
    push_image(&store, &repository, 8, &["t"]).await.unwrap();
    assert_image(&store, &repository, 8).await;
    // The one blob that has no bytes is there.
    let empty = push(&store, &repository, b"").await.unwrap();
    assert_eq!(store.stat(&empty).await.unwrap().size, 0);
}

#[tokio::test]
async fn sha512_is_stored_by_its_own_name_and_distributions_alias_is_followed() {
    let volume = Volume::new();
    let store = volume.open();
    let own = push_as(&store, &name("a"), b"own", Algorithm::Sha512)
        .await
        .unwrap();
    assert!(volume.data(&own).exists());
    let link = volume.text(&format!("repositories/a/_layers/sha512/{}/link", own.hex()));
    assert_eq!(link, own.to_string());

    // Distribution keeps the bytes under their SHA-256 and writes that into the link.
    let bytes = b"theirs";
    let (short, long) = (Digest::sha256(bytes), Digest::of(Algorithm::Sha512, bytes));
    volume.plant(
        &format!("blobs/sha256/{}/{}/data", &short.hex()[..2], short.hex()),
        bytes,
    );
    volume.plant(
        &format!("repositories/b/_layers/sha512/{}/link", long.hex()),
        short.to_string(),
    );
    assert!(store.has_blob(&name("b"), &long).await.unwrap());
    assert_eq!(store.stat(&long).await.unwrap().size, 6);
    assert_eq!(read(&store, &long).await.unwrap(), bytes);
    assert!(!store.has_blob(&name("a"), &long).await.unwrap());
}

#[tokio::test]
async fn referrers_of_an_adopted_repository_are_found_once() {
    let volume = Volume::new();
    let subject = Digest::sha256(b"subject");
    let (config, layer) = (content(9, 100), content(1_000_009, 5000));
    plant_image(&volume, "a", 9, "t");
    let manifest = image(&config, &layer, Some(&subject));
    let digest = Digest::sha256(manifest.bytes());
    let hex = digest.hex();
    volume.plant(
        &format!("blobs/sha256/{}/{hex}/data", &hex[..2]),
        manifest.bytes(),
    );
    volume.plant(
        &format!("repositories/a/_manifests/revisions/sha256/{hex}/link"),
        digest.to_string(),
    );
    let store = volume.open();
    let page = PageRequest::first(10);
    let found = store.referrers(&name("a"), &subject, &page).await.unwrap();
    assert_eq!(found.items, [manifest.descriptor(digest)]);
    assert!(
        volume
            .at("repositories/a/_registryd/referrers/scanned")
            .exists()
    );

    // A torn entry is written again from the manifest.
    let entry = format!(
        "repositories/a/_registryd/referrers/sha256/{}/sha256-{hex}",
        subject.hex()
    );
    let whole = volume.text(&entry);
    for torn in ["", &whole[..whole.len() / 2]] {
        volume.plant(&entry, torn);
        let found = store.referrers(&name("a"), &subject, &page).await.unwrap();
        assert_eq!(found.items, [manifest.descriptor(digest)]);
        assert_eq!(volume.text(&entry), whole);
    }
    // An entry whose manifest went through another registry does not count.
    let gone = volume.at(&format!(
        "repositories/a/_manifests/revisions/sha256/{hex}/link"
    ));
    std::fs::remove_file(gone).unwrap();
    let found = store.referrers(&name("a"), &subject, &page).await.unwrap();
    assert_eq!(found.items, []);
}

#[tokio::test]
async fn small_content_comes_in_memory_and_large_as_a_file() {
    let volume = Volume::new();
    let store = volume.open();
    for (length, in_memory) in [(65_536, true), (65_537, false)] {
        let bytes = content(length as u64, length);
        let digest = push(&store, &name("a"), &bytes).await.unwrap();
        let opened = BlobStore::read(&store, &digest, ReadRange::Whole)
            .await
            .unwrap();
        assert_eq!(matches!(opened.payload, BlobPayload::Bytes(_)), in_memory);
        assert_eq!(read(&store, &digest).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn an_image_of_schema_1_is_not_served() {
    let volume = Volume::new();
    let document = br#"{"schemaVersion":1,"name":"a","fsLayers":[]}"#;
    let digest = Digest::sha256(document);
    let hex = digest.hex();
    volume.plant(&format!("blobs/sha256/{}/{hex}/data", &hex[..2]), document);
    volume.plant(
        &format!("repositories/a/_manifests/revisions/sha256/{hex}/link"),
        digest.to_string(),
    );
    let read = ManifestStore::read(&volume.open(), &name("a"), &digest).await;
    assert!(matches!(read, Err(StoreError::NotFound)), "{read:?}");
}

#[test]
fn a_root_that_cannot_be_one_is_refused_clearly() {
    let volume = Volume::new();
    let file = volume.root().join("file");
    std::fs::write(&file, "").unwrap();
    for root in [file.clone(), file.join("below")] {
        let error = Filesystem::open(&root, Options::default()).unwrap_err();
        assert!(matches!(error, OpenError::NotADirectory(_)), "{error:?}");
        assert!(error.to_string().contains("is not a directory"), "{error}");
    }
    let deep = volume.root().join("made/on/demand");
    Filesystem::open(&deep, Options::default()).unwrap();
    assert!(deep.join("docker/registry/v2/blobs").is_dir());
}
