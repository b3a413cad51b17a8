//! A layer of 2 GiB.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans protect a server's runtime and memory; nothing here serves requests"
)]
#![allow(clippy::indexing_slicing, reason = "what is missing fails the test")]

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use registry_e2e::{
    Bench, Lane, Security,
    clients::{Skopeo, Umoci},
    digest,
};
use sha2::{Digest as _, Sha256};

const GIB: u64 = 1 << 30;

#[test]
fn skopeo_copies_a_layer_of_two_gibibytes() -> Result<()> {
    let bench = Bench::new(Lane::Heavy)?;
    let server = bench.serve(Security::Plain)?;
    let access = server.access();
    let machine = bench.machine(access)?;
    let umoci = Umoci::init(&machine, "image")?;
    let files = bench.directory("files")?;
    incompressible(&files.join("data"), 2 * GIB)?;
    umoci.image("large", &files)?;
    fs::remove_dir_all(&files)?;

    let skopeo = Skopeo::new(&machine);
    let name = access.docker("large/skopeo:1");
    skopeo
        .copying(&umoci.oci("large"), &name, &[])
        .limit(Duration::from_secs(400))
        .succeed()?;
    let pushed = umoci.digest("large")?;
    let manifest = bench.api(access).manifest("large/skopeo", "1")?;
    assert_eq!(manifest.digest, pushed);
    let size = manifest.json()?["layers"][0]["size"]
        .as_u64()
        .context("a size")?;
    assert!(size >= 2 * GIB, "the layer has only {size} bytes");
    fs::remove_dir_all(machine.path().join("image"))?;

    let pulled = Umoci::open(&machine, machine.path().join("pulled"));
    skopeo
        .copying(&name, &pulled.oci("back"), &[])
        .limit(Duration::from_secs(400))
        .succeed()?;
    assert_eq!(pulled.digest("back")?, pushed);
    Ok(())
}

/// POST, two PATCH requests of 1 GiB with the status asked for between them, and a closing PUT.
#[test]
fn curl_pushes_two_gibibytes_in_two_chunks() -> Result<()> {
    let bench = Bench::new(Lane::Heavy)?;
    let server = bench.serve(Security::Guarded)?;
    let api = bench.api(server.access());
    let (first, second) = (bench.path().join("first"), bench.path().join("second"));
    let whole = incompressible_pair(&first, &second)?;

    let start = api.request("POST", "/v2/large/curl/blobs/uploads/", [""; 0])?;
    assert_eq!(start.status(), 202, "{}", start.text());
    let mut location = start.header("location").context("no Location")?.to_owned();
    for (chunk, from) in [(&first, 0), (&second, GIB)] {
        let range = format!("Content-Range: {from}-{}", from + GIB - 1);
        let file = chunk.to_string_lossy();
        let options = [
            "-H",
            &range,
            "-H",
            "Content-Type: application/octet-stream",
            "-T",
            &file,
        ];
        let answer = api.request("PATCH", &location, options)?;
        assert_eq!(answer.status(), 202, "{}", answer.text());
        let received = format!("0-{}", from + GIB - 1);
        assert_eq!(answer.header("range"), Some(received.as_str()));
        location = answer.header("location").context("no Location")?.to_owned();
        fs::remove_file(chunk)?;

        let status = api.get(&location)?;
        assert_eq!(status.status(), 204, "{}", status.text());
        assert_eq!(status.header("range"), Some(received.as_str()));
    }
    let separator = if location.contains('?') { '&' } else { '?' };
    let close = format!("{location}{separator}digest={whole}");
    let answer = api.request("PUT", &close, ["-H", "Content-Length: 0"])?;
    assert_eq!(answer.status(), 201, "{}", answer.text());
    assert_eq!(answer.header("docker-content-digest"), Some(whole.as_str()));

    assert_eq!(api.blob("large/curl", &whole)?, (whole.clone(), 2 * GIB));
    let path = format!("/v2/large/curl/blobs/{whole}");
    let part = api.request("GET", &path, ["--range", "2147483640-"])?;
    let range = "bytes 2147483640-2147483647/2147483648";
    assert_eq!(
        (part.status(), part.header("content-range")),
        (206, Some(range))
    );
    assert_eq!(part.body().len(), 8);
    Ok(())
}

/// A file of blocks that do not compress, of which no two are equal.
fn incompressible(path: &Path, length: u64) -> Result<()> {
    let mut file = File::create(path)?;
    for number in 0..length >> 20 {
        file.write_all(&block(number))?;
    }
    Ok(())
}

/// Two files of 1 GiB, and the digest of one after the other.
fn incompressible_pair(first: &Path, second: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    for (path, numbers) in [(first, 0..1024), (second, 1024..2048)] {
        let mut file = File::create(path)?;
        for number in numbers {
            let block = block(number);
            hasher.update(&block);
            file.write_all(&block)?;
        }
    }
    Ok(format!("sha256:{}", digest::hex(&hasher.finalize())))
}

/// One MiB: a noise of 64 KiB, made once, behind the number of each of its 16 copies.
fn block(number: u64) -> Vec<u8> {
    use std::sync::LazyLock;

    static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        (0u32..2048)
            .flat_map(|seed| Sha256::digest(seed.to_le_bytes()).to_vec())
            .collect()
    });
    let mut block = Vec::with_capacity(1 << 20);
    for copy in 0..16u64 {
        block.extend((number << 4 | copy).to_le_bytes());
        block.extend_from_slice(&NOISE[8..]);
    }
    block
}
