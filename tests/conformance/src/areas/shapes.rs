//! The document shapes of the `data` area.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    ctx::Ctx,
    digest::{Alg, sha256},
    documents::{
        DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LIST, DOCKER_MANIFEST, Document, EMPTY_JSON,
        OCI_CONFIG, OCI_EMPTY, OCI_LAYER, OCI_MANIFEST, descriptor, descriptor_as,
        descriptor_of_nothing, image_index, image_manifest, with,
    },
};

/// What a shape pushes: blobs first, then manifests in order.
#[derive(Debug, Default)]
pub(crate) struct Data {
    pub(crate) blobs: Vec<(String, Bytes)>,
    pub(crate) manifests: Vec<Item>,
}

/// A manifest of a shape.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) tag: Option<&'static str>,
    pub(crate) digest: String,
    pub(crate) document: Document,
    pub(crate) subject: Option<String>,
    value: Value,
}

impl Item {
    /// The entry of this manifest in the referrers of its subject.
    pub(crate) fn entry(&self) -> Value {
        let mut entry = json!({
            "mediaType": self.document.media_type,
            "digest": self.digest,
            "size": self.document.bytes.len(),
        });
        for field in ["artifactType", "annotations"] {
            if let Some(content) = self.value.get(field) {
                entry = with(entry, field, content.clone());
            }
        }
        match self.value.get("config") {
            Some(config) if entry.get("artifactType").is_none() => {
                with(entry, "artifactType", config["mediaType"].clone())
            }
            _ => entry,
        }
    }
}

impl Data {
    fn blob(&mut self, alg: Alg, media_type: &str, bytes: Bytes) -> Value {
        let digest = alg.of(&bytes);
        let descriptor = descriptor_as(media_type, &bytes, alg);
        if !self.blobs.iter().any(|(known, _)| *known == digest) {
            self.blobs.push((digest, bytes));
        }
        descriptor
    }

    fn empty(&mut self) -> Value {
        self.blob(Alg::Sha256, OCI_EMPTY, Bytes::from_static(EMPTY_JSON))
    }

    fn layer(&mut self, cx: &Ctx) -> Value {
        self.blob(Alg::Sha256, OCI_LAYER, cx.bytes(2000))
    }

    fn config(&mut self, cx: &Ctx) -> Value {
        let text = json!({"architecture": "amd64", "os": "linux", "author": cx.word()});
        self.blob(Alg::Sha256, OCI_CONFIG, text.to_string().into())
    }

    /// A plain image, not pushed yet.
    fn image(&mut self, cx: &Ctx) -> Value {
        let (config, one, two) = (self.config(cx), self.layer(cx), self.layer(cx));
        image_manifest(config, vec![one, two])
    }

    /// Adds a manifest and returns its descriptor.
    fn push(&mut self, tag: Option<&'static str>, value: Value) -> Value {
        self.push_as(Alg::Sha256, tag, value)
    }

    fn push_as(&mut self, alg: Alg, tag: Option<&'static str>, value: Value) -> Value {
        let media_type = value["mediaType"]
            .as_str()
            .unwrap_or(OCI_MANIFEST)
            .to_owned();
        let document = Document::json(&media_type, &value);
        let descriptor = document.descriptor_as(alg);
        self.manifests.push(Item {
            tag,
            digest: document.digest_as(alg),
            subject: value["subject"]["digest"].as_str().map(str::to_owned),
            document,
            value,
        });
        descriptor
    }
}

pub(crate) fn image(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let image = data.image(cx);
    data.push(Some("image"), image);
    data
}

pub(crate) fn image_uncompressed(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let config = data.config(cx);
    let layer = data.blob(Alg::Sha256, OCI_LAYER, Bytes::from(cx.word().repeat(500)));
    data.push(Some("image"), image_manifest(config, vec![layer]));
    data
}

pub(crate) fn large_manifest(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let image = data.image(cx);
    let annotations: serde_json::Map<String, Value> = (0..3900)
        .map(|number| {
            (
                format!("org.example.filler.{number}"),
                json!("x".repeat(960)),
            )
        })
        .collect();
    data.push(
        Some("large"),
        with(image, "annotations", annotations.into()),
    );
    data
}

fn platforms(data: &mut Data, cx: &Ctx) -> Vec<Value> {
    ["amd64", "arm64"]
        .into_iter()
        .map(|architecture| {
            let image = data.image(cx);
            let descriptor = data.push(None, image);
            with(
                descriptor,
                "platform",
                json!({"os": "linux", "architecture": architecture}),
            )
        })
        .collect()
}

pub(crate) fn index(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let children = platforms(&mut data, cx);
    data.push(Some("index"), image_index(children));
    data
}

pub(crate) fn nested_index(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let (one, two) = (platforms(&mut data, cx), platforms(&mut data, cx));
    let one = data.push(None, image_index(one));
    let two = data.push(None, image_index(two));
    data.push(Some("nested"), image_index(vec![one, two]));
    data
}

pub(crate) fn empty_index(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let index = with(
        image_index(vec![]),
        "annotations",
        json!({"word": cx.word()}),
    );
    data.push(Some("empty"), index);
    data
}

fn artifact_value(data: &mut Data, cx: &Ctx, artifact_type: &str) -> Value {
    let empty = data.empty();
    let layer = data.blob(Alg::Sha256, "text/plain", cx.bytes(300));
    with(
        image_manifest(empty, vec![layer]),
        "artifactType",
        json!(artifact_type),
    )
}

pub(crate) fn artifact(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let artifact = artifact_value(&mut data, cx, "application/vnd.example.artifact");
    data.push(Some("artifact"), artifact);
    data
}

pub(crate) fn artifact_index(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let one = artifact_value(&mut data, cx, "application/vnd.example.one");
    let two = artifact_value(&mut data, cx, "application/vnd.example.two");
    let children = vec![data.push(None, one), data.push(None, two)];
    let index = with(
        image_index(children),
        "artifactType",
        json!("application/vnd.example.set"),
    );
    data.push(Some("artifacts"), index);
    data
}

pub(crate) fn artifact_without_layers(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let empty = data.empty();
    let artifact = image_manifest(empty.clone(), vec![empty]);
    let artifact = with(
        artifact,
        "artifactType",
        json!("application/vnd.example.bare"),
    );
    data.push(
        Some("bare"),
        with(artifact, "annotations", json!({"word": cx.word()})),
    );
    data
}

pub(crate) fn artifacts_with_subject(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let image = data.image(cx);
    let subject = data.push(Some("image"), image);
    let plain = artifact_value(&mut data, cx, "application/vnd.example.sig");
    data.push(Some("tagged-sig"), with(plain, "subject", subject.clone()));
    let annotated = artifact_value(&mut data, cx, "application/vnd.example.sbom");
    let annotated = with(
        annotated,
        "annotations",
        json!({"org.example": "x", "b": "\"y\""}),
    );
    data.push(None, with(annotated, "subject", subject.clone()));
    // Without artifactType: the config's type stands in.
    let layer = data.layer(cx);
    let config = data.blob(Alg::Sha256, "application/vnd.example.config", cx.bytes(20));
    let typeless = image_manifest(config, vec![layer]);
    data.push(None, with(typeless, "subject", subject));
    data
}

pub(crate) fn index_with_subject(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let children = platforms(&mut data, cx);
    let subject = data.push(Some("index"), image_index(children));
    let child = artifact_value(&mut data, cx, "application/vnd.example.one");
    let child = data.push(None, child);
    let index = with(
        image_index(vec![child]),
        "artifactType",
        json!("application/vnd.example.set"),
    );
    let index = with(index, "annotations", json!({"k": "v"}));
    data.push(Some("attached"), with(index, "subject", subject.clone()));
    let typeless = with(
        image_index(vec![]),
        "annotations",
        json!({"word": cx.word()}),
    );
    data.push(None, with(typeless, "subject", subject));
    data
}

pub(crate) fn missing_subject(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let subject = descriptor_of_nothing(OCI_MANIFEST, &sha256(&cx.bytes(10)));
    let artifact = artifact_value(&mut data, cx, "application/vnd.example.sig");
    data.push(Some("orphan"), with(artifact, "subject", subject));
    data
}

pub(crate) fn data_field(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let empty = with(data.empty(), "data", json!("e30="));
    let text = data.blob(
        Alg::Sha256,
        "text/plain",
        Bytes::from_static(b"hello world"),
    );
    let text = with(text, "data", json!("aGVsbG8gd29ybGQ="));
    let manifest = image_manifest(empty, vec![text]);
    data.push(
        Some("data"),
        with(manifest, "annotations", json!({"word": cx.word()})),
    );
    data
}

pub(crate) fn nondistributable_layers(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let (config, layer) = (data.config(cx), data.layer(cx));
    let absent = descriptor(
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        &cx.bytes(500),
    );
    let absent = with(absent, "urls", json!(["https://store.example/blobs/x"]));
    data.push(Some("foreign"), image_manifest(config, vec![layer, absent]));
    data
}

pub(crate) fn custom_fields(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let custom = |value: Value| {
        with(
            value,
            "org.example.extension",
            json!({"z": [1.50, null, true], "a": "ü"}),
        )
    };
    let text = json!({"architecture": "amd64", "os": "linux", "org.example": {"x": cx.word()}});
    let config = data.blob(Alg::Sha256, OCI_CONFIG, text.to_string().into());
    let layer = custom(data.layer(cx));
    let image = data.push(Some("image"), custom(image_manifest(config, vec![layer])));
    data.push(Some("index"), custom(image_index(vec![custom(image)])));
    data
}

pub(crate) fn no_layers(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let config = data.config(cx);
    data.push(Some("bare"), image_manifest(config, vec![]));
    data
}

fn docker_value(data: &mut Data, cx: &Ctx) -> Value {
    let text = json!({"architecture": "amd64", "os": "linux", "author": cx.word()});
    let config = data.blob(Alg::Sha256, DOCKER_CONFIG, text.to_string().into());
    let layer = data.blob(Alg::Sha256, DOCKER_LAYER, cx.bytes(700));
    with(
        image_manifest(config, vec![layer]),
        "mediaType",
        json!(DOCKER_MANIFEST),
    )
}

pub(crate) fn docker_image(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let image = docker_value(&mut data, cx);
    data.push(Some("docker"), image);
    data
}

pub(crate) fn docker_list(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let (one, two) = (docker_value(&mut data, cx), docker_value(&mut data, cx));
    let children = [(one, "amd64"), (two, "s390x")]
        .into_iter()
        .map(|(image, architecture)| {
            let platform = json!({"os": "linux", "architecture": architecture});
            with(data.push(None, image), "platform", platform)
        })
        .collect();
    data.push(
        Some("list"),
        with(image_index(children), "mediaType", json!(DOCKER_LIST)),
    );
    data
}

/// An image all of whose digests are sha512.
fn sha512_image(data: &mut Data, cx: &Ctx) -> Value {
    let text = json!({"architecture": "amd64", "os": "linux", "author": cx.word()});
    let config = data.blob(Alg::Sha512, OCI_CONFIG, text.to_string().into());
    let layer = data.blob(Alg::Sha512, OCI_LAYER, cx.bytes(900));
    image_manifest(config, vec![layer])
}

pub(crate) fn sha512(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let image = sha512_image(&mut data, cx);
    let child = data.push_as(Alg::Sha512, None, image);
    data.push_as(Alg::Sha512, None, image_index(vec![child]));
    data
}

pub(crate) fn sha512_subject(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let image = sha512_image(&mut data, cx);
    let subject = data.push_as(Alg::Sha512, None, image);
    let artifact = artifact_value(&mut data, cx, "application/vnd.example.sig");
    data.push_as(Alg::Sha512, None, with(artifact, "subject", subject));
    data
}

pub(crate) fn mixed_algorithms(cx: &Ctx) -> Data {
    let mut data = Data::default();
    let (config, one) = (data.config(cx), data.layer(cx));
    let two = data.blob(Alg::Sha512, OCI_LAYER, cx.bytes(800));
    let mixed = data.push(None, image_manifest(config, vec![one, two]));
    let other = sha512_image(&mut data, cx);
    let other = data.push_as(Alg::Sha512, None, other);
    data.push(Some("mixed"), image_index(vec![mixed, other]));
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::OCI_INDEX;

    #[test]
    fn entry_takes_the_type_of_the_config() {
        let mut data = Data::default();
        data.push(
            None,
            image_manifest(descriptor(OCI_CONFIG, EMPTY_JSON), vec![]),
        );
        data.push(
            None,
            with(image_index(vec![]), "mediaType", json!(OCI_INDEX)),
        );
        assert_eq!(data.manifests[0].entry()["artifactType"], OCI_CONFIG);
        assert!(data.manifests[1].entry().get("artifactType").is_none());
    }
}
