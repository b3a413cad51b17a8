//! Large registries, written to the disk as Distribution lays them out; pushing them would take hours.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use registry_load_driver::Content;

use crate::arena::Arena;
use crate::load::pushes::manifest;

/// The repository with many tags.
pub(crate) const TAGGED: &str = "bench/tagged";

/// The name of tag or repository number `n`. Names sort as their numbers do.
pub(crate) fn tag(n: u32) -> String {
    format!("v{n:08}")
}

pub(crate) fn repository(n: u32) -> String {
    format!("team{:04}/app{n:08}", n / 100)
}

/// A registry with one repository of many tags.
pub(crate) fn tags(arena: &Arena, count: u32) -> Result<PathBuf> {
    let place = Place::new(arena, &format!("tags-{count}"))?;
    if place.is_new {
        eprintln!("  writing {count} tags");
        place.repository(TAGGED, (0..count).map(tag))?;
    }
    Ok(place.root)
}

/// A registry of many repositories with one tag each.
pub(crate) fn repositories(arena: &Arena, count: u32) -> Result<PathBuf> {
    let place = Place::new(arena, &format!("repositories-{count}"))?;
    if place.is_new {
        eprintln!("  writing {count} repositories");
        for n in 0..count {
            place.repository(&repository(n), std::iter::once("latest".to_owned()))?;
        }
    }
    Ok(place.root)
}

/// A registry of which a part is garbage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Garbage {
    /// Images, each of three blobs of its own: config, layer and manifest.
    pub(crate) images: u32,
    /// Blobs that nothing needs, less than half of all bytes.
    pub(crate) garbage: u32,
}

/// Images of a repository.
const IMAGES: u32 = 100;

/// A new registry with garbage, in a directory of this name.
pub(crate) fn garbage(arena: &Arena, name: &str, sizes: Garbage) -> Result<PathBuf> {
    let root = arena.scratch.path().join(name);
    let tree = root.join("docker/registry/v2");
    for n in 0..sizes.images {
        let (config, layer, document, digest) = image(arena, n)?;
        let repository = tree.join("repositories").join(self::repository(n / IMAGES));
        for blob in [&config, &layer] {
            write(&tree, blob)?;
            link(&repository.join("_layers"), blob.digest())?;
        }
        fs::write(data(&tree, &digest)?, document).context("write a manifest")?;
        let manifests = repository.join("_manifests");
        link(&manifests.join("revisions"), &digest)?;
        let tag = manifests.join("tags").join(tag(n));
        link(&tag.join("index"), &digest)?;
        let current = tag.join("current");
        fs::create_dir(&current)?;
        fs::write(current.join("link"), &digest)?;
    }
    for n in 0..sizes.garbage {
        write(&tree, &numbered(arena, 4_000, 2 << 32 | u64::from(n))?)?;
    }
    Ok(root)
}

/// The blobs of such a registry that are no garbage, as their digests without the algorithm.
pub(crate) fn kept(arena: &Arena, sizes: Garbage) -> Result<Vec<String>> {
    let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    let mut kept = Vec::new();
    for n in 0..sizes.images {
        let (config, layer, _, digest) = image(arena, n)?;
        kept.extend([config.digest(), layer.digest(), &digest].map(hex));
    }
    Ok(kept)
}

fn image(arena: &Arena, n: u32) -> Result<(Content, Content, Vec<u8>, String)> {
    let n = u64::from(n);
    let config = numbered(arena, 1_000, n)?;
    let layer = numbered(arena, 8_192, 1 << 32 | n)?;
    let (document, digest) = manifest(
        (config.digest(), config.length()),
        (layer.digest(), layer.length()),
    );
    Ok((config, layer, document, digest))
}

fn numbered(arena: &Arena, length: u64, number: u64) -> Result<Content> {
    Ok(arena.source.content(length, 1 << 40 | number)?)
}

fn write(tree: &Path, blob: &Content) -> Result<()> {
    let data = data(tree, blob.digest())?;
    blob.write_to(&data).context("write a blob")
}

struct Place {
    root: PathBuf,
    tree: PathBuf,
    is_new: bool,
    blobs: Vec<String>,
    manifest: String,
}

impl Place {
    fn new(arena: &Arena, name: &str) -> Result<Self> {
        let root = arena.scratch.path().join(name);
        let tree = root.join("docker/registry/v2");
        let is_new = !root.exists();
        let (config, layer) = (arena.fixed(1_000)?, arena.fixed(10_000)?);
        let (document, digest) = manifest(
            (config.digest(), config.length()),
            (layer.digest(), layer.length()),
        );
        if is_new {
            for blob in [&config, &layer] {
                let data = data(&tree, blob.digest())?;
                blob.write_to(&data).context("write a blob")?;
            }
            fs::write(data(&tree, &digest)?, document).context("write a manifest")?;
        }
        Ok(Self {
            root,
            tree,
            is_new,
            blobs: vec![config.digest().to_owned(), layer.digest().to_owned()],
            manifest: digest,
        })
    }

    fn repository(&self, name: &str, tags: impl Iterator<Item = String>) -> Result<()> {
        let repository = self.tree.join("repositories").join(name);
        for blob in &self.blobs {
            link(&repository.join("_layers"), blob)?;
        }
        let manifests = repository.join("_manifests");
        link(&manifests.join("revisions"), &self.manifest)?;
        for tag in tags {
            let tag = manifests.join("tags").join(tag);
            link(&tag.join("index"), &self.manifest)?;
            let current = tag.join("current");
            fs::create_dir(&current)?;
            fs::write(current.join("link"), &self.manifest)?;
        }
        Ok(())
    }
}

/// Where a blob's bytes lie; the directory is made.
fn data(tree: &Path, digest: &str) -> Result<PathBuf> {
    let hex = digest.trim_start_matches("sha256:");
    let start = hex.get(..2).unwrap_or_default();
    let directory = tree.join("blobs/sha256").join(start).join(hex);
    fs::create_dir_all(&directory).context("create a directory")?;
    Ok(directory.join("data"))
}

fn link(below: &Path, digest: &str) -> Result<()> {
    let directory = below.join(digest.replace(':', "/"));
    fs::create_dir_all(&directory).context("create a directory")?;
    fs::write(directory.join("link"), digest).context("write a link")
}
