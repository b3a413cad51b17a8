//! umoci: makes and changes OCI image layouts; it speaks to no registry itself.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;

use crate::{command::Invocation, image::layout_digest, machine::Machine};

/// umoci working on one layout.
#[derive(Debug)]
pub struct Umoci<'a> {
    machine: &'a Machine,
    layout: PathBuf,
}

impl<'a> Umoci<'a> {
    /// A new, empty layout on this machine.
    pub fn init(machine: &'a Machine, name: &str) -> Result<Self> {
        let umoci = Self {
            machine,
            layout: machine.path().join(name),
        };
        umoci
            .command("init")
            .arg("--layout")
            .arg(&umoci.layout)
            .succeed()?;
        Ok(umoci)
    }

    /// A layout that is there already.
    pub fn open(machine: &'a Machine, layout: PathBuf) -> Self {
        Self { machine, layout }
    }

    /// Makes an image of one layer that holds one small file, and returns its digest.
    ///
    /// umoci writes manifests without a `mediaType`.
    pub fn small_image(&self, tag: &str, architecture: &str, content: &str) -> Result<String> {
        let files = tempfile::Builder::new()
            .prefix("files-")
            .tempdir_in(self.machine.path())?;
        fs::write(files.path().join("content"), content)?;
        self.image(tag, files.path())?;
        self.command("config")
            .args([
                "--architecture",
                architecture,
                "--config.cmd",
                content,
                "--image",
            ])
            .arg(self.image_name(tag))
            .succeed()?;
        self.digest(tag)
    }

    /// Makes an image of one layer that holds a directory's files below `/data`.
    pub fn image(&self, tag: &str, files: &Path) -> Result<()> {
        self.command("new")
            .arg("--image")
            .arg(self.image_name(tag))
            .succeed()?;
        self.command("insert")
            .arg("--image")
            .arg(self.image_name(tag))
            .arg(files)
            .arg("/data")
            .limit(Duration::from_secs(240))
            .succeed()?;
        Ok(())
    }

    /// Unpacks an image into a bundle and returns its root file system.
    pub fn unpack(&self, tag: &str, bundle: &str) -> Result<PathBuf> {
        let bundle = self.machine.path().join(bundle);
        self.command("unpack")
            .arg("--image")
            .arg(self.image_name(tag))
            .arg(&bundle)
            .succeed()?;
        Ok(bundle.join("rootfs"))
    }

    /// Writes what changed in an unpacked bundle as a new layer, under a new tag.
    pub fn repack(&self, tag: &str, bundle: &str) -> Result<()> {
        let bundle = self.machine.path().join(bundle);
        self.command("repack")
            .arg("--image")
            .arg(self.image_name(tag))
            .arg(&bundle)
            .succeed()?;
        Ok(())
    }

    /// The digest under a tag.
    pub fn digest(&self, tag: &str) -> Result<String> {
        layout_digest(&self.layout, tag)
    }

    /// How skopeo names an image of this layout.
    pub fn oci(&self, tag: &str) -> String {
        format!("oci:{}:{tag}", self.layout.display())
    }

    fn image_name(&self, tag: &str) -> String {
        format!("{}:{tag}", self.layout.display())
    }

    fn command(&self, verb: &str) -> Invocation {
        self.machine.command("umoci").arg(verb)
    }
}
