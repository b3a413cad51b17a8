//! The image around its layers: configuration, manifest, index, and the archive of it all.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::layer::{Blob, Layer};
use super::rootfs::NONROOT;
use super::{Architecture, Variant};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An archive, and the digest of the manifest in it.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: String,
}

/// Writes the archive that is an OCI layout and what `docker load` reads, with each blob once.
pub(super) fn image(
    architecture: Architecture,
    variant: Variant,
    layers: &[Layer],
    epoch: u64,
) -> Result<Image> {
    let config = Blob::new(serde_json::to_vec(&config(
        architecture,
        variant,
        layers,
        epoch,
    ))?);
    let descriptors: Vec<_> = layers
        .iter()
        .map(|layer| descriptor(LAYER, &layer.blob))
        .collect();
    let manifest = Blob::new(serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config),
        "layers": descriptors,
    }))?);
    let [tag, version] = variant.tags();
    let mut in_index = descriptor(MANIFEST, &manifest);
    if let Value::Object(fields) = &mut in_index {
        fields.insert(
            "platform".into(),
            json!({"architecture": architecture.name(), "os": "linux"}),
        );
        let annotations = json!({
            "io.containerd.image.name": format!("docker.io/library/registryd:{tag}"),
            "org.opencontainers.image.ref.name": tag,
        });
        fields.insert("annotations".into(), annotations);
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [in_index],
    });
    let docker = json!([{
        "Config": config.path(),
        "RepoTags": [format!("registryd:{tag}"), format!("registryd:{version}")],
        "Layers": layers.iter().map(|layer| layer.blob.path()).collect::<Vec<_>>(),
    }]);

    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    files.insert(
        "oci-layout".into(),
        br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
    );
    files.insert("index.json".into(), serde_json::to_vec(&index)?);
    files.insert("manifest.json".into(), serde_json::to_vec(&docker)?);
    let digest = manifest.digest.clone();
    for blob in [&config, &manifest]
        .into_iter()
        .chain(layers.iter().map(|layer| &layer.blob))
    {
        files.insert(blob.path(), blob.bytes.clone());
    }
    Ok(Image {
        bytes: pack(&files, epoch)?,
        digest,
    })
}

fn config(architecture: Architecture, variant: Variant, layers: &[Layer], epoch: u64) -> Value {
    let created = timestamp(epoch);
    let history: Vec<_> = ["cargo xtask image: base", "cargo xtask image: registryd"]
        .map(|by| json!({"created": created, "created_by": by}))
        .into();
    let user = match variant {
        Variant::Default => String::new(),
        Variant::Nonroot => format!("{NONROOT}:{NONROOT}"),
    };
    json!({
        "created": created,
        "architecture": architecture.name(),
        "os": "linux",
        "config": {
            "User": user,
            "ExposedPorts": {"5000/tcp": {}},
            "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                // Tells `healthcheck` and `doctor` that the configuration is the one of the image.
                "REGISTRYD_IMAGE=1",
            ],
            "Entrypoint": ["/bin/registryd", "entrypoint"],
            "Cmd": ["/etc/docker/registry/config.yml"],
            "Volumes": {"/var/lib/registry": {}},
            "Labels": {
                "org.opencontainers.image.title": "registryd",
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
            },
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": layers.iter().map(|layer| &layer.diff_id).collect::<Vec<_>>(),
        },
        "history": history,
    })
}

fn descriptor(media_type: &str, blob: &Blob) -> Value {
    json!({"mediaType": media_type, "digest": blob.digest, "size": blob.bytes.len()})
}

fn pack(files: &BTreeMap<String, Vec<u8>>, epoch: u64) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for folder in ["blobs/", "blobs/sha256/"] {
        let mut header = header(epoch, 0o755, 0);
        header.set_entry_type(EntryType::Directory);
        tar.append_data(&mut header, folder, std::io::empty())?;
    }
    for (path, bytes) in files {
        tar.append_data(
            &mut header(epoch, 0o644, bytes.len()),
            path,
            bytes.as_slice(),
        )?;
    }
    Ok(tar.into_inner()?)
}

fn header(epoch: u64, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(epoch);
    header.set_size(size as u64);
    header
}

/// Seconds since 1970 as RFC 3339 writes them.
fn timestamp(epoch: u64) -> String {
    let (days, second) = (epoch / 86_400, epoch % 86_400);
    // Civil date from a day number; the year begins in March, so that leap days are last.
    let day = days + 719_468;
    let era = day / 146_097;
    let of_era = day % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 {
        (month + 3, year + era * 400)
    } else {
        (month - 9, year + era * 400 + 1)
    };
    format!(
        "{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::super::layer::Tree;
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(timestamp(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(timestamp(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(timestamp(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn the_same_tree_gives_the_same_archive() {
        let build = |epoch| {
            let tree = Tree::default()
                .directory("etc", 0o755, 0)
                .file("etc/passwd", 0o644, "root:x:0:0::/:\n")
                .link("etc/link", "passwd");
            let layers = [tree.pack(epoch).unwrap()];
            image(Architecture::Amd64, Variant::Nonroot, &layers, epoch).unwrap()
        };
        let (first, second, later) = (build(0), build(0), build(86_400));
        assert!(first.bytes == second.bytes);
        assert_eq!(first.digest, second.digest);
        assert_ne!(first.digest, later.digest);
    }

    #[test]
    fn every_blob_that_is_named_is_there() {
        let layers = [Tree::default().directory("bin", 0o755, 0).pack(0).unwrap()];
        let image = image(Architecture::Arm64, Variant::Default, &layers, 0).unwrap();
        let mut archive = tar::Archive::new(image.bytes.as_slice());
        let mut names = Vec::new();
        let mut docker = Value::Null;
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            if name == "manifest.json" {
                docker = serde_json::from_reader(entry).unwrap();
            }
            names.push(name);
        }
        let docker = &docker[0];
        for blob in [&docker["Config"], &docker["Layers"][0]] {
            assert!(
                names
                    .iter()
                    .any(|name| Some(name.as_str()) == blob.as_str()),
                "{blob} in {names:?}"
            );
        }
        assert!(names.contains(&format!("blobs/{}", image.digest.replace(':', "/"))));
        assert!(names.iter().any(|name| name == "oci-layout"));
    }
}
