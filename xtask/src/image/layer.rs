//! A layer: a tree of files, packed the same way every time.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// The files of a layer by their path without a leading slash.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug)]
struct Node {
    content: Content,
    mode: u32,
    owner: u64,
}

#[derive(Debug)]
enum Content {
    Directory,
    File(Vec<u8>),
    Link(String),
}

impl Tree {
    /// A directory; those above it must be added too.
    pub(super) fn directory(mut self, path: &str, mode: u32, owner: u64) -> Self {
        self.add(path, Content::Directory, mode, owner);
        self
    }

    /// A file of root's.
    pub(super) fn file(mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.add(path, Content::File(bytes.into()), mode, 0);
        self
    }

    /// A symbolic link.
    pub(super) fn link(mut self, path: &str, target: &str) -> Self {
        self.add(path, Content::Link(target.to_owned()), 0o777, 0);
        self
    }

    fn add(&mut self, path: &str, content: Content, mode: u32, owner: u64) {
        let node = Node {
            content,
            mode,
            owner,
        };
        self.nodes.insert(path.to_owned(), node);
    }

    /// The layer's blob.
    pub(super) fn pack(&self, epoch: u64) -> Result<Layer> {
        let mut tar = Builder::new(Vec::new());
        for (path, node) in &self.nodes {
            let mut header = Header::new_gnu();
            header.set_mode(node.mode);
            header.set_uid(node.owner);
            header.set_gid(node.owner);
            header.set_mtime(epoch);
            match &node.content {
                Content::Directory => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_size(0);
                    tar.append_data(&mut header, format!("{path}/"), std::io::empty())?;
                }
                Content::File(bytes) => {
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, path, bytes.as_slice())?;
                }
                Content::Link(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_size(0);
                    tar.append_link(&mut header, path, target)?;
                }
            }
        }
        let tar = tar.into_inner()?;
        // No name and no time in the header of the compressed file.
        let mut gzip = GzBuilder::new()
            .mtime(0)
            .write(Vec::new(), Compression::default());
        gzip.write_all(&tar)?;
        Ok(Layer {
            diff_id: digest(&tar),
            blob: Blob::new(gzip.finish()?),
        })
    }
}

/// A packed layer.
#[derive(Debug)]
pub(super) struct Layer {
    /// The digest of the uncompressed archive.
    pub(super) diff_id: String,
    pub(super) blob: Blob,
}

/// Bytes and their digest.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) digest: String,
    pub(super) bytes: Vec<u8>,
}

impl Blob {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self {
            digest: digest(&bytes),
            bytes,
        }
    }

    /// Where an OCI layout keeps it.
    pub(super) fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
