//! The image around its layers: configuration, manifest, index, and the archive of it all.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::layer::{Blob, Layer};
use super::rootfs::NONROOT;
use super::{Architecture, Variant};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An archive, and the digest of the manifest or index that is the image in it.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: String,
}

/// What there is for one architecture.
#[derive(Debug)]
pub(super) struct Platform {
    pub(super) architecture: Architecture,
    pub(super) layers: Vec<Layer>,
}

/// Writes the archive that is an OCI layout and what `docker load` reads, with each blob once.
pub(super) fn image(platforms: &[Platform], variant: Variant, epoch: u64) -> Result<Image> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut add = |blob: &Blob| files.insert(blob.path(), blob.bytes.clone());
    let mut manifests = Vec::new();
    let mut loaded = Value::Null;
    let [tag, version] = variant.tags();
    for Platform {
        architecture,
        layers,
    } in platforms
    {
        let config = config(*architecture, variant, layers, epoch);
        let config = Blob::new(serde_json::to_vec(&config)?);
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
        // Who reads this file knows one architecture per name: the one of the machine that builds, if it is there.
        if loaded.is_null() || architecture.is_native() {
            loaded = json!([{
                "Config": config.path(),
                "RepoTags": [format!("registryd:{tag}"), format!("registryd:{version}")],
                "Layers": layers.iter().map(|layer| layer.blob.path()).collect::<Vec<_>>(),
            }]);
        }
        let mut platform = json!({"architecture": architecture.name(), "os": "linux"});
        set(&mut platform, "variant", architecture.variant());
        let mut in_index = descriptor(MANIFEST, &manifest);
        set(&mut in_index, "platform", Some(platform));
        manifests.push((in_index, manifest.digest.clone()));
        add(&config);
        add(&manifest);
        for layer in layers {
            add(&layer.blob);
        }
    }
    let (mut top, digest) = if let [one] = manifests.as_slice() {
        one.clone()
    } else {
        let descriptors: Vec<_> = manifests.iter().map(|(descriptor, _)| descriptor).collect();
        let index = Blob::new(serde_json::to_vec(&index(&descriptors))?);
        add(&index);
        (descriptor(INDEX, &index), index.digest)
    };
    let annotations = json!({
        "io.containerd.image.name": format!("docker.io/library/registryd:{tag}"),
        "org.opencontainers.image.ref.name": tag,
    });
    set(&mut top, "annotations", Some(annotations));
    files.insert(
        "oci-layout".into(),
        br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
    );
    files.insert("index.json".into(), serde_json::to_vec(&index(&[&top]))?);
    files.insert("manifest.json".into(), serde_json::to_vec(&loaded)?);
    Ok(Image {
        bytes: pack(&files, epoch)?,
        digest,
    })
}

fn index(manifests: &[&Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
}

/// Adds a field to an object, if there is a value for it.
fn set(object: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let (Value::Object(fields), Some(value)) = (object, value) {
        fields.insert(name.to_owned(), value.into());
    }
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
    let mut config = json!({
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
    });
    set(&mut config, "variant", architecture.variant());
    config
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
    use std::io::Read;

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
            let platform = Platform {
                architecture: Architecture::Amd64,
                layers: vec![tree.pack(epoch).unwrap()],
            };
            image(&[platform], Variant::Nonroot, epoch).unwrap()
        };
        let (first, second, later) = (build(0), build(0), build(86_400));
        assert!(first.bytes == second.bytes);
        assert_eq!(first.digest, second.digest);
        assert_ne!(first.digest, later.digest);
    }

    /// The files of an archive for these architectures, and the digest of the image.
    fn unpacked(architectures: &[Architecture]) -> (BTreeMap<String, Vec<u8>>, String) {
        let platforms: Vec<_> = architectures
            .iter()
            .map(|&architecture| {
                let tree = Tree::default().file("bin/machine", 0o755, architecture.name());
                let layers = vec![tree.pack(0).unwrap()];
                Platform {
                    architecture,
                    layers,
                }
            })
            .collect();
        let image = image(&platforms, Variant::Default, 0).unwrap();
        let mut archive = tar::Archive::new(image.bytes.as_slice());
        let mut files = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(name, bytes);
        }
        (files, image.digest)
    }

    fn json(files: &BTreeMap<String, Vec<u8>>, path: &str) -> Value {
        serde_json::from_slice(files.get(path).unwrap_or_else(|| panic!("no {path}"))).unwrap()
    }

    fn blob(files: &BTreeMap<String, Vec<u8>>, descriptor: &Value) -> Value {
        let digest = descriptor["digest"].as_str().unwrap();
        let path = format!("blobs/{}", digest.replace(':', "/"));
        assert_eq!(descriptor["size"], files[&path].len());
        json(files, &path)
    }

    #[test]
    fn every_blob_that_is_named_is_there() {
        let (files, digest) = unpacked(&[Architecture::Arm64]);
        assert!(files.contains_key("oci-layout"));
        let docker = &json(&files, "manifest.json")[0];
        for name in [&docker["Config"], &docker["Layers"][0]] {
            assert!(files.contains_key(name.as_str().unwrap()), "{name}");
        }
        let top = &json(&files, "index.json")["manifests"][0];
        assert_eq!(top["digest"], digest);
        let arm = json!({"architecture": "arm64", "os": "linux", "variant": "v8"});
        assert_eq!(top["platform"], arm);
        let manifest = blob(&files, top);
        let layer = manifest["layers"][0]["digest"].as_str().unwrap();
        assert!(files.contains_key(&format!("blobs/{}", layer.replace(':', "/"))));
        let config = blob(&files, &manifest["config"]);
        assert_eq!(config["architecture"], "arm64");
        assert_eq!(config["variant"], "v8");
    }

    #[test]
    fn two_architectures_are_one_image() {
        let (files, digest) = unpacked(&[Architecture::Amd64, Architecture::Arm64]);
        let layout = json(&files, "index.json");
        assert_eq!(layout["manifests"].as_array().unwrap().len(), 1);
        let top = &layout["manifests"][0];
        assert_eq!(top["mediaType"], INDEX);
        assert_eq!(top["digest"], digest);
        let image = blob(&files, top);
        let mut seen = Vec::new();
        for listed in image["manifests"].as_array().unwrap() {
            let config = blob(&files, &blob(&files, listed)["config"]);
            for field in ["architecture", "os", "variant"] {
                assert_eq!(listed["platform"][field], config[field]);
            }
            seen.push(config["architecture"].as_str().unwrap().to_owned());
        }
        assert_eq!(seen, ["amd64", "arm64"]);
        // docker's own format has one of them.
        let docker = json(&files, "manifest.json");
        assert_eq!(docker.as_array().unwrap().len(), 1);
        json(&files, docker[0]["Config"].as_str().unwrap());
    }
}
