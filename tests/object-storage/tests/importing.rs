//! A bucket that Debian's docker-registry has written, taken over without copying bytes.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests say what they expect, as tests do"
)]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use oci_core::Digest;
use registry_object_storage_tests::{Answer, Moto, Registryd, ask};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_registryd_on_a_bucket");
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// docker-registry on a bucket of moto.
struct Peer {
    process: Child,
    address: String,
}

impl Peer {
    fn start(moto: &Moto, root: &str, scratch: &Path) -> Self {
        // Between choosing the port and binding it somebody else may take it.
        for _ in 0..3 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            drop(listener);
            let config = scratch.join("config.yml");
            let text = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage:\n  s3:\n    region: us-east-1\n    \
                 regionendpoint: {}\n    bucket: layers\n    rootdirectory: /{root}\n    \
                 accesskey: tests\n    secretkey: tests-secret\n    secure: false\n  \
                 delete: {{enabled: true}}\n  redirect: {{disable: true}}\n\
                 http: {{addr: '{address}', secret: x}}\n",
                moto.endpoint()
            );
            fs::write(&config, text).unwrap();
            let mut process = Command::new("docker-registry")
                .arg("serve")
                .arg(&config)
                // AWS_* variables of whoever runs the test would count.
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(scratch.join("log")).unwrap())
                .spawn()
                .expect("docker-registry; Debian has it in a package of this name");
            let deadline = Instant::now() + Duration::from_secs(60);
            while process.try_wait().unwrap().is_none() && Instant::now() < deadline {
                if ask(&address, "GET", "/v2/", &[], b"").is_ok_and(|answer| answer.status == 200) {
                    return Self { process, address };
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        let log = fs::read_to_string(scratch.join("log")).unwrap_or_default();
        panic!("docker-registry does not serve: {log}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn put(address: &str, target: &str, media_type: &str, body: &[u8]) -> Answer {
    let answer = ask(
        address,
        "PUT",
        target,
        &[("content-type", media_type)],
        body,
    )
    .unwrap();
    assert_eq!(
        answer.status,
        201,
        "{target}: {}",
        String::from_utf8_lossy(&answer.body)
    );
    answer
}

/// Pushes a blob in one PATCH, and returns its descriptor.
fn push_blob(address: &str, repository: &str, media_type: &str, content: &[u8]) -> Value {
    let target = format!("/v2/{repository}/blobs/uploads/");
    let begun = ask(address, "POST", &target, &[], b"").unwrap();
    let path = |location: &str| {
        let path = location.split_once("://").map(|(_, rest)| rest);
        path.map_or(location, |rest| &rest[rest.find('/').unwrap()..])
            .to_owned()
    };
    let location = path(begun.header("location").unwrap());
    let sent = ask(address, "PATCH", &location, &[], content).unwrap();
    assert_eq!(sent.status, 202, "{sent:?}");
    let digest = Digest::sha256(content);
    let location = path(sent.header("location").unwrap());
    let closed = ask(
        address,
        "PUT",
        &format!("{location}&digest={digest}"),
        &[],
        b"",
    )
    .unwrap();
    assert_eq!(closed.status, 201, "{closed:?}");
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": content.len()})
}

/// Pushes an image with one layer, and returns its manifest.
fn push_image(address: &str, repository: &str, tag: &str, layer: &[u8], more: Value) -> Vec<u8> {
    let config = format!("{{\"os\": \"linux\", \"of\": \"{repository}:{tag}\"}}");
    let mut document = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": push_blob(
            address,
            repository,
            "application/vnd.oci.image.config.v1+json",
            config.as_bytes()
        ),
        "layers": [push_blob(address, repository, "application/vnd.oci.image.layer.v1.tar", layer)],
    });
    if let (Value::Object(document), Value::Object(more)) = (&mut document, more) {
        document.extend(more);
    }
    let bytes = document.to_string().into_bytes();
    put(
        address,
        &format!("/v2/{repository}/manifests/{tag}"),
        IMAGE,
        &bytes,
    );
    bytes
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::sha256(bytes).to_string(), "size": bytes.len()})
}

fn import(variables: &[(String, String)], arguments: &[&str]) -> (i32, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(BINARY)
        .arg("import")
        .args(arguments)
        .env_clear()
        .envs(variables.iter().cloned())
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    let said = [stdout, stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (status.code().unwrap_or(-1), said)
}

fn get(address: &str, target: &str) -> Vec<u8> {
    let accept = [("accept", "*/*")];
    let answer = ask(address, "GET", target, &accept, b"").unwrap();
    assert_eq!(answer.status, 200, "{target}: {answer:?}");
    answer.body
}

/// skopeo puts an image directory into the peer, and takes it out of registryd again.
fn skopeo(arguments: &[&str]) {
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet"])
        .args(arguments)
        .output()
        .expect("skopeo; Debian has it in a package of this name");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

#[test]
fn what_docker_registry_has_written_to_a_bucket_is_taken_over_where_it_lies() {
    let moto = Moto::shared(env!("CARGO_TARGET_TMPDIR"));
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let root = moto.fresh_root();
    let peer = Peer::start(moto, &root, scratch.path());
    let old = &peer.address;

    // Two images, one in a repository below the other's name; an index; a referrer; a shared layer, large
    // enough for several parts.
    let large: Vec<u8> = (0..12_000_000_u32)
        .map(|n| u8::try_from(n / 509 % 256).unwrap())
        .collect();
    let one = push_image(old, "team/app", "v1", &large, json!({}));
    let two = push_image(old, "team/app/debug", "v1", &large, json!({}));
    let arm = push_image(old, "team/app", "arm", b"another layer", json!({}));
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [descriptor(IMAGE, &one), descriptor(IMAGE, &arm)],
    })
    .to_string()
    .into_bytes();
    put(old, "/v2/team/app/manifests/latest", INDEX, &index);
    let subject = json!({"subject": descriptor(IMAGE, &one)});
    let signature = push_image(old, "team/app", "signature", b"a signature", subject);
    // As skopeo pushes it.
    let copied = scratch.path().join("copied");
    let from = format!("docker://{old}/team/app:v1");
    let directory = format!("dir:{}", copied.display());
    skopeo(&["--src-tls-verify=false", &from, &directory]);
    let to = format!("docker://{old}/by/skopeo:1");
    skopeo(&["--dest-tls-verify=false", &directory, &to]);
    drop(peer);

    let variables = moto.variables(&root);
    let before = listed(moto, &root);
    let (code, said) = import(&variables, &["--dry-run"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("6 manifests and 6 tags of 3 repositories (dry run: nothing is written)"),
        "{said}"
    );
    assert_eq!(listed(moto, &root), before, "a dry run has written");

    let (code, said) = import(&variables, &[]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("6 manifests and 6 tags of 3 repositories"),
        "{said}"
    );
    // Nothing of Distribution's was touched, and of its bytes none was copied.
    let after = listed(moto, &root);
    for (key, size) in &before {
        assert_eq!(
            after.iter().find(|(other, _)| other == key).unwrap().1,
            *size
        );
    }
    let added: u64 = after
        .iter()
        .filter(|entry| !before.contains(entry))
        .map(|(_, size)| size)
        .sum();
    assert!(added < 200_000, "{added} bytes were added");

    // Everything is as it was.
    let registryd = Registryd::start(BINARY, &variables).unwrap();
    let new = &registryd.address;
    for (target, expected) in [
        ("/v2/team/app/manifests/v1", &one),
        ("/v2/team/app/debug/manifests/v1", &two),
        ("/v2/team/app/manifests/arm", &arm),
        ("/v2/team/app/manifests/latest", &index),
        ("/v2/team/app/manifests/signature", &signature),
        ("/v2/by/skopeo/manifests/1", &one),
    ] {
        assert!(get(new, target) == *expected, "{target}");
    }
    for repository in ["team/app", "team/app/debug", "by/skopeo"] {
        let target = format!("/v2/{repository}/blobs/{}", Digest::sha256(&large));
        assert!(get(new, &target) == large, "{target}");
    }
    let target = format!("/v2/team/app/referrers/{}", Digest::sha256(&one));
    let referrers: Value = serde_json::from_slice(&get(new, &target)).unwrap();
    let digest = Digest::sha256(&signature).to_string();
    assert_eq!(referrers["manifests"][0]["digest"], json!(digest));
    let tags: Value = serde_json::from_slice(&get(new, "/v2/team/app/tags/list")).unwrap();
    assert_eq!(tags["tags"], json!(["arm", "latest", "signature", "v1"]));
    let pulled = scratch.path().join("pulled");
    let from = format!("docker://{new}/team/app:v1");
    let directory = format!("dir:{}", pulled.display());
    skopeo(&["--src-tls-verify=false", &from, &directory]);
    assert!(fs::read(pulled.join("manifest.json")).unwrap() == one);

    // Once more nothing is to be done; a tag that was moved since stays, and is named.
    let (code, said) = import(&variables, &[]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("imported 0 blobs (0 B), 0 manifests and 0 tags"),
        "{said}"
    );
    put(new, "/v2/team/app/manifests/arm", IMAGE, &one);
    let (code, said) = import(&variables, &[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("team/app: arm: it points to"), "{said}");
    let (code, said) = import(&variables, &["--move-tags"]);
    assert_eq!(code, 0, "{said}");
    assert!(get(new, "/v2/team/app/manifests/arm") == arm);

    // What is damaged is taken from the registry, never from Distribution.
    let target = format!("/v2/team/app/blobs/{}", Digest::sha256(&large));
    let deleted = ask(new, "DELETE", &target, &[], b"").unwrap();
    assert_eq!(deleted.status, 202, "{deleted:?}");
    let left = listed(moto, &root);
    for entry in &before {
        assert!(left.contains(entry), "{entry:?} is gone");
    }
}

#[test]
fn a_volume_needs_no_import() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = format!("filesystem:{}", directory.path().display());
    let (code, said) = import(&[], &[&place]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("served as it is"), "{said}");
    let (code, said) = import(&[], &["sled:/nowhere"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("cannot have written there"), "{said}");
}

/// Keys and sizes of all objects below `root`, asked of the server itself.
fn listed(moto: &Moto, root: &str) -> Vec<(String, u64)> {
    let endpoint = moto.endpoint();
    let address = endpoint.trim_start_matches("http://");
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let target = format!("/layers?list-type=2&prefix={root}/{token}");
        let answer = ask(address, "GET", &target, &[], b"").unwrap();
        let text = String::from_utf8(answer.body).unwrap();
        for entry in text.split("<Contents>").skip(1) {
            let size = tag(entry, "Size").unwrap().parse().unwrap();
            found.push((tag(entry, "Key").unwrap().to_owned(), size));
        }
        let Some(next) = tag(&text, "NextContinuationToken") else {
            return found;
        };
        token = format!("&continuation-token={next}");
    }
}

/// The text of the first element of this name.
fn tag<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}
