//! What is counted.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Result, ensure};

use crate::{
    Bench,
    client::Client,
    content::{self, Content},
};

const REPOSITORY: &str = "team/app";
const OTHER: &str = "team/other";
const MANY: &str = "team/many";
const SMALL: usize = 4 << 10;
const MIB: usize = 1 << 20;

/// A repository with an image, a hundred tags and some referrers; and nineteen other repositories.
struct Seeded {
    config: Content,
    layer: Content,
    image: Content,
}

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let seeded = seed(&mut bench.client)?;
    reads(bench, &seeded)?;
    large_reads(bench)?;
    listings(bench, &seeded)?;
    small_pushes(bench, &seeded)?;
    large_pushes(bench)?;
    manifest_pushes(bench, &seeded)?;
    deletes(bench, &seeded)
}

fn seed(client: &mut Client) -> Result<Seeded> {
    let (config, layer) = (client.new_blob(SMALL), client.new_blob(SMALL));
    let image = content::manifest(client.next(), &config, &layer, None);
    for n in 0..20 {
        let repository = match n {
            0 => REPOSITORY.to_owned(),
            1 => OTHER.to_owned(),
            2 => MANY.to_owned(),
            _ => format!("team/more-{n}"),
        };
        client.push(&repository, &config)?;
        client.push(&repository, &layer)?;
        client.put_manifest(&repository, "latest", &image)?;
    }
    for n in 1..100 {
        client.put_manifest(REPOSITORY, &format!("v{n}"), &image)?;
    }
    for _ in 0..5 {
        let referrer = content::manifest(client.next(), &config, &layer, Some(&image));
        client.put_manifest(REPOSITORY, &referrer.digest, &referrer)?;
    }
    Ok(Seeded {
        config,
        layer,
        image,
    })
}

fn reads(bench: &mut Bench, seeded: &Seeded) -> Result<()> {
    request(bench, "GET /v2/", "GET", "/v2/", 200)?;
    let by_tag = format!("/v2/{REPOSITORY}/manifests/latest");
    let by_digest = format!("/v2/{REPOSITORY}/manifests/{}", seeded.image.digest);
    let blob = format!("/v2/{REPOSITORY}/blobs/{}", seeded.layer.digest);
    request(bench, "HEAD manifest by tag", "HEAD", &by_tag, 200)?;
    request(bench, "GET manifest by tag", "GET", &by_tag, 200)?;
    request(bench, "HEAD manifest by digest", "HEAD", &by_digest, 200)?;
    request(bench, "GET manifest by digest", "GET", &by_digest, 200)?;
    request(bench, "HEAD blob", "HEAD", &blob, 200)?;
    request(bench, "GET blob of 4 KiB", "GET", &blob, 200)?;
    let absent = format!("/v2/{REPOSITORY}/blobs/sha256:{}", "5a".repeat(32));
    request(bench, "HEAD blob that is absent", "HEAD", &absent, 404)
}

/// A gigabyte without content, which reads like any other once it is in memory.
fn large_reads(bench: &mut Bench) -> Result<()> {
    const LENGTH: u64 = 1 << 30;
    let hex = "5a".repeat(31) + "00";
    let digest = format!("sha256:{hex}");
    let root = bench.storage.join("docker/registry/v2");
    let links = root.join(format!("repositories/{REPOSITORY}/_layers/sha256/{hex}"));
    place(&links.join("link"), |path| fs::write(path, &digest))?;
    let data = root.join(format!("blobs/sha256/5a/{hex}/data"));
    place(&data, |path| File::create(path)?.set_len(LENGTH))?;

    let nothing = |_: &mut Client| Ok(());
    let few = bench.count("GET 1 MiB", nothing, |client, ()| {
        client.pull(REPOSITORY, &digest, MIB as u64)
    })?;
    bench.record("GET the first MiB of 1 GiB", few);
    let many = bench.count("GET 1 GiB", nothing, |client, ()| {
        client.pull(REPOSITORY, &digest, LENGTH)
    })?;
    let each = many.for_each_more(few, LENGTH / MIB as u64 - 1);
    bench.record("GET 1 GiB, each further MiB", each);
    Ok(())
}

fn listings(bench: &mut Bench, seeded: &Seeded) -> Result<()> {
    let tags = format!("/v2/{REPOSITORY}/tags/list?n=10");
    bench.operation(
        "GET 10 of 100 tags",
        |_| Ok(()),
        |client, ()| client.page(&tags),
    )?;
    // As many as have an index, and named so that the page lies in the middle.
    let root = bench.storage.join("docker/registry/v2/repositories");
    for n in 1_000..3_000 {
        let link = root.join(format!("{MANY}/_manifests/tags/n{n}/current/link"));
        place(&link, |path| fs::write(path, &seeded.image.digest))?;
    }
    let tags = format!("/v2/{MANY}/tags/list?n=10&last=n2000");
    bench.operation(
        "GET 10 of 2,000 tags",
        |_| Ok(()),
        |client, ()| client.page(&tags),
    )?;
    bench.operation(
        "GET 10 of 20 repositories",
        |_| Ok(()),
        |client, ()| client.page("/v2/_catalog?n=10"),
    )?;
    let referrers = format!("/v2/{REPOSITORY}/referrers/{}", seeded.image.digest);
    request(bench, "GET 5 referrers", "GET", &referrers, 200)
}

fn small_pushes(bench: &mut Bench, seeded: &Seeded) -> Result<()> {
    bench.operation(
        "POST that begins an upload",
        |_| Ok(()),
        |client, ()| client.begin(REPOSITORY).map(drop),
    )?;
    bench.operation(
        "PUT of a whole blob of 4 KiB",
        |client| Ok((client.new_blob(SMALL), client.begin(REPOSITORY)?)),
        |client, (blob, session)| client.close(&session, &blob.digest, &blob.bytes),
    )?;
    bench.operation(
        "POST of a whole blob of 4 KiB",
        |client| Ok(client.new_blob(SMALL)),
        |client, blob| client.push(REPOSITORY, &blob),
    )?;
    bench.operation(
        "POST of a blob that is there",
        |_| Ok(()),
        |client, ()| client.push(REPOSITORY, &seeded.layer),
    )?;
    bench.operation(
        "POST that mounts",
        |client| {
            let blob = client.new_blob(SMALL);
            client.push(OTHER, &blob)?;
            Ok(blob)
        },
        |client, blob| client.mount(REPOSITORY, OTHER, &blob),
    )
}

fn large_pushes(bench: &mut Bench) -> Result<()> {
    const CHUNK: usize = 10 * MIB;
    bench.operation(
        "PATCH stream of 64 MiB",
        |client| Ok((client.new_blob(64 * MIB), client.begin(REPOSITORY)?)),
        |client, (blob, session)| client.stream(&session, &blob.bytes).map(drop),
    )?;
    bench.operation(
        "PUT that closes 64 MiB",
        |client| {
            let blob = client.new_blob(64 * MIB);
            let session = client.begin(REPOSITORY)?;
            Ok((client.stream(&session, &blob.bytes)?, blob))
        },
        |client, (session, blob)| client.close(&session, &blob.digest, &[]),
    )?;
    bench.operation(
        "PATCH chunk of 10 MiB, the first",
        |client| Ok((client.new_blob(CHUNK), client.begin(REPOSITORY)?)),
        |client, (blob, session)| client.chunk(&session, 0, &blob.bytes).map(drop),
    )?;
    bench.operation(
        "PATCH chunk of 10 MiB, the second",
        |client| {
            let blob = client.new_blob(2 * CHUNK);
            let session = client.begin(REPOSITORY)?;
            Ok((client.chunk(&session, 0, &blob.bytes[..CHUNK])?, blob))
        },
        |client, (session, blob)| {
            let rest = &blob.bytes[CHUNK..];
            client.chunk(&session, CHUNK, rest).map(drop)
        },
    )?;
    bench.operation(
        "GET of an upload's offset",
        |client| {
            let blob = client.new_blob(SMALL);
            let session = client.begin(REPOSITORY)?;
            client.chunk(&session, 0, &blob.bytes)
        },
        |client, session| client.ask("GET", &session, 204),
    )?;
    bench.operation(
        "DELETE of an upload",
        |client| {
            let blob = client.new_blob(SMALL);
            let session = client.begin(REPOSITORY)?;
            client.chunk(&session, 0, &blob.bytes)
        },
        |client, session| client.ask("DELETE", &session, 204),
    )
}

fn manifest_pushes(bench: &mut Bench, seeded: &Seeded) -> Result<()> {
    let new = |client: &mut Client| {
        let (config, layer) = (&seeded.config, &seeded.layer);
        content::manifest(client.next(), config, layer, None)
    };
    bench.operation(
        "PUT manifest, new, with a new tag",
        |client| Ok((format!("new-{}", client.next()), new(client))),
        |client, (tag, manifest)| client.put_manifest(REPOSITORY, &tag, &manifest),
    )?;
    bench.operation(
        "PUT manifest, new, with a tag that moves",
        |client| Ok(new(client)),
        |client, manifest| client.put_manifest(REPOSITORY, "moves", &manifest),
    )?;
    bench.operation(
        "PUT manifest, new, by digest",
        |client| Ok(new(client)),
        |client, manifest| client.put_manifest(REPOSITORY, &manifest.digest, &manifest),
    )?;
    bench.operation(
        "PUT manifest with a new tag",
        |client| Ok(format!("more-{}", client.next())),
        |client, tag| client.put_manifest(REPOSITORY, &tag, &seeded.image),
    )?;
    bench.operation(
        "PUT manifest, the same again",
        |_| Ok(()),
        |client, ()| client.put_manifest(REPOSITORY, "latest", &seeded.image),
    )?;
    bench.operation(
        "PUT manifest with a subject, new, by digest",
        |client| {
            let (config, layer) = (&seeded.config, &seeded.layer);
            let subject = Some(&seeded.image);
            Ok(content::manifest(client.next(), config, layer, subject))
        },
        |client, manifest| client.put_manifest(REPOSITORY, &manifest.digest, &manifest),
    )
}

fn deletes(bench: &mut Bench, seeded: &Seeded) -> Result<()> {
    bench.operation(
        "DELETE tag",
        |client| {
            let tag = format!("gone-{}", client.next());
            client.put_manifest(OTHER, &tag, &seeded.image)?;
            Ok(tag)
        },
        |client, tag| client.ask("DELETE", &format!("/v2/{OTHER}/manifests/{tag}"), 202),
    )?;
    bench.operation(
        "DELETE manifest that has no tag, 1 tag beside it",
        |client| {
            let (config, layer) = (&seeded.config, &seeded.layer);
            let manifest = content::manifest(client.next(), config, layer, None);
            client.put_manifest(OTHER, &manifest.digest, &manifest)?;
            Ok(manifest.digest)
        },
        |client, digest| client.ask("DELETE", &format!("/v2/{OTHER}/manifests/{digest}"), 202),
    )?;
    bench.operation(
        "DELETE blob",
        |client| {
            let blob = client.new_blob(SMALL);
            client.push(OTHER, &blob)?;
            Ok(blob.digest)
        },
        |client, digest| client.ask("DELETE", &format!("/v2/{OTHER}/blobs/{digest}"), 202),
    )
}

fn request(bench: &mut Bench, name: &str, method: &str, target: &str, expected: u16) -> Result<()> {
    let run = |client: &mut Client, ()| client.ask(method, target, expected);
    bench.operation(name, |_| Ok(()), run)
}

/// Makes a file where Distribution would have put it.
fn place(path: &Path, make: impl Fn(&Path) -> std::io::Result<()>) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)?;
    ensure!(!path.exists(), "{} is there already", path.display());
    Ok(make(path)?)
}
