//! oras-py: artifacts, and referrers found through the API.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans protect a server's runtime and memory; nothing here serves requests"
)]
#![allow(clippy::indexing_slicing, reason = "what is missing fails the test")]

use std::fs;

use anyhow::Result;
use registry_e2e::{
    Api, Bench, DebianImage, Kind, Lane, Security,
    clients::{Oras, Skopeo, Umoci},
    digest,
};
use serde_json::{Value, json};

#[test]
fn pushes_and_pulls_debian_as_an_artifact() -> Result<()> {
    let bench = Bench::new(Lane::Tools)?;
    let debian = DebianImage::cached()?;
    let expected = digest::of_file(&debian.root_tar)?;
    for security in Security::BOTH {
        let server = bench.serve(security)?;
        let access = server.access();
        let api = bench.api(access);
        let machine = bench.machine(access)?;
        let oras = Oras::new(&machine, access)?;
        if access.is_guarded() {
            oras.login(&access.with_wrong_password())?;
            oras.pushing("oras/debian:1", &debian.root_tar, json!({}))?
                .refused()?;
            assert!(!api.has_manifest("oras/debian", "1")?);
            oras.login(access)?;
        }
        // Whole in one PUT, and in chunks with Content-Range.
        for (tag, chunked) in [("whole", false), ("chunks", true)] {
            let repository = format!("oras/{tag}");
            let name = format!("{repository}:1");
            let pushed = oras.push(&name, &debian.root_tar, json!({"chunked": chunked}))?;
            let manifest = api.manifest(&repository, "1")?;
            assert_eq!(manifest.digest, pushed.digest);
            assert_eq!(manifest.digests("layers")?, std::slice::from_ref(&expected));
            let files = oras.pull(&name, &bench.directory(&format!("{tag}-{security:?}"))?)?;
            let [file] = files.as_slice() else {
                panic!("one file, not {files:?}")
            };
            assert_eq!(digest::of_file(file)?, expected);
            fs::remove_file(file)?;
            assert_eq!(oras.tags(&repository)?, ["1"]);
        }
    }
    Ok(())
}

/// Two artifacts name an image as their subject: one of them before the image is there.
#[test]
fn referrers_of_an_image() -> Result<()> {
    let bench = Bench::new(Lane::Tools)?;
    let server = bench.serve(Security::Guarded)?;
    let access = server.access();
    let api = bench.api(access);
    let machine = bench.machine(access)?;
    let skopeo = Skopeo::new(&machine);
    skopeo.login(access)?;
    let oras = Oras::new(&machine, access)?;
    oras.login(access)?;

    let umoci = Umoci::init(&machine, "images")?;
    let image = umoci.small_image("app", "amd64", "app")?;
    let size = fs::metadata(
        machine
            .path()
            .join("images/blobs")
            .join(image.replace(':', "/")),
    )?;
    let subject = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": image,
        "size": size.len(),
    });
    let attach = |tag: &str, artifact_type: &str| {
        let file = machine.path().join(tag);
        fs::write(&file, format!("{tag} of the image\n"))?;
        let config = machine.path().join("config.json");
        fs::write(&config, "{}")?;
        let options = json!({
            "subject": subject,
            "manifest_config": format!("{}:{artifact_type}", config.display()),
        });
        oras.push(&format!("team/app:{tag}"), &file, options)
    };

    let bill = attach("bill", "application/vnd.example.bill")?;
    skopeo.copy(&umoci.oci("app"), &access.docker("team/app:1"), &[])?;
    let signature = attach("signature", "application/vnd.example.signature")?;
    for (tag, pushed) in [("bill", &bill), ("signature", &signature)] {
        let manifest = api.manifest("team/app", tag)?;
        assert_eq!(manifest.digest, pushed.digest);
        assert_eq!(manifest.json()?["subject"]["digest"], image.as_str());
        let files = oras.pull(&format!("team/app:{tag}"), &bench.directory(tag)?)?;
        assert_eq!(
            fs::read_to_string(&files[0])?,
            format!("{tag} of the image\n")
        );
    }

    if server.kind() == Kind::DockerRegistry {
        // This peer came before referrers: it keeps the manifests and knows no relation.
        let answer = api.get(&format!("/v2/team/app/referrers/{image}"))?;
        assert_eq!((answer.status(), bill.subject), (404, None));
        return Ok(());
    }

    assert_eq!(bill.subject.as_deref(), Some(image.as_str()));
    assert_eq!(signature.subject.as_deref(), Some(image.as_str()));
    let found = referrers(&api, &image, "")?;
    let mut digests: Vec<&str> = found
        .iter()
        .filter_map(|one| one["digest"].as_str())
        .collect();
    digests.sort_unstable();
    let mut expected = [bill.digest.as_str(), signature.digest.as_str()];
    expected.sort_unstable();
    assert_eq!(digests, expected);

    let filter = "?artifactType=application/vnd.example.signature";
    let filtered = referrers(&api, &image, filter)?;
    assert_eq!(filtered.len(), 1, "{filtered:?}");
    let manifest = api.manifest("team/app", "signature")?;
    assert_eq!(filtered[0]["digest"], signature.digest.as_str());
    assert_eq!(filtered[0]["size"], manifest.bytes.len());
    assert_eq!(
        filtered[0]["mediaType"],
        "application/vnd.oci.image.manifest.v1+json"
    );
    assert_eq!(
        filtered[0]["artifactType"],
        "application/vnd.example.signature"
    );

    skopeo
        .command()
        .arg("delete")
        .arg(access.docker("team/app:bill"))
        .succeed()?;
    let left = referrers(&api, &image, "")?;
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0]["digest"], signature.digest.as_str());
    Ok(())
}

fn referrers(api: &Api, image: &str, query: &str) -> Result<Vec<Value>> {
    let answer = api.get(&format!("/v2/team/app/referrers/{image}{query}"))?;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        Some("application/vnd.oci.image.index.v1+json")
    );
    let json = answer.json()?;
    assert_eq!(json["mediaType"], "application/vnd.oci.image.index.v1+json");
    Ok(json["manifests"].as_array().cloned().unwrap_or_default())
}
