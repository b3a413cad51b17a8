//! Ways for the machine to fail under a server.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{server::Server, volume::Volume};

/// A place for a store, and a way to fail.
pub trait Machine {
    /// Where the store lies.
    fn storage(&self) -> &Path;

    /// Fails: the server is gone afterwards, and the store is as a restart finds it.
    fn crash(&mut self, server: Server) -> Result<()>;

    /// An empty place.
    fn renew(&mut self) -> Result<()>;
}

/// `kill -9`.
#[derive(Debug)]
pub struct Kill {
    storage: PathBuf,
}

impl Kill {
    /// A store in a directory.
    pub fn new(storage: PathBuf) -> Self {
        Self { storage }
    }
}

impl Machine for Kill {
    fn storage(&self) -> &Path {
        &self.storage
    }

    fn crash(&mut self, server: Server) -> Result<()> {
        server.kill()
    }

    fn renew(&mut self) -> Result<()> {
        if self.storage.exists() {
            fs::remove_dir_all(&self.storage)
                .with_context(|| format!("remove {}", self.storage.display()))?;
        }
        fs::create_dir_all(&self.storage)
            .with_context(|| format!("create {}", self.storage.display()))
    }
}

/// Loss of power.
#[derive(Debug)]
pub struct PowerCut {
    volume: Volume,
    storage: PathBuf,
    live: Option<bool>,
}

impl PowerCut {
    /// A store on a volume of its own. Every second cut comes while the server still runs, so that
    /// syncs in flight fail under it; the others come after it was killed.
    pub fn new(volume: Volume) -> Self {
        let storage = volume.path().join("registry");
        Self {
            volume,
            storage,
            live: None,
        }
    }
}

impl Machine for PowerCut {
    fn storage(&self) -> &Path {
        &self.storage
    }

    fn crash(&mut self, server: Server) -> Result<()> {
        let live = !self.live.unwrap_or(false);
        self.live = Some(live);
        if live {
            self.volume.cut()?;
            server.kill()?;
        } else {
            server.kill()?;
            self.volume.cut()?;
        }
        self.volume.remount()
    }

    fn renew(&mut self) -> Result<()> {
        self.volume.renew()
    }
}
