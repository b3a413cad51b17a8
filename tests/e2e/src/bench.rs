//! The scratch directory of one test, and its place in the queue.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{
    curl::Api,
    machine::Machine,
    security::{Access, Security},
    server::{Kind, Server, Store},
};

/// Which queue a test waits in; one test of each runs at a time.
///
/// Two cores serve two tests. Under nextest the same two queues are test groups (see
/// `.config/nextest.toml`), so that waiting is not counted as running; the file locks behind this
/// type keep the bound under plain `cargo test` and between two runs in one checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lane {
    /// Short-lived clients: skopeo, umoci, buildah, oras, curl.
    Tools,
    /// A daemon of its own, much compression, or gigabytes on disk.
    Heavy,
}

impl Lane {
    fn lock_file(self) -> &'static str {
        match self {
            Self::Tools => "tools.lock",
            Self::Heavy => "heavy.lock",
        }
    }
}

/// What one test owns: a directory that goes away with it, and its turn in a [`Lane`].
///
/// Make it first, so that it is dropped last.
#[derive(Debug)]
pub struct Bench {
    scratch: Option<TempDir>,
    _turn: File,
}

impl Bench {
    /// Waits for the lane, then makes an empty scratch directory.
    pub fn new(lane: Lane) -> Result<Self> {
        let state = target_directory().join("e2e");
        let run = state.join("run");
        fs::create_dir_all(&run).with_context(|| format!("create {}", run.display()))?;
        let turn = lock(&state.join(lane.lock_file()))?;
        sweep(&run);
        sweep(&std::env::temp_dir());
        let scratch = scratch_in(&run)?;
        Ok(Self {
            scratch: Some(scratch),
            _turn: turn,
        })
    }

    /// The scratch directory.
    pub fn path(&self) -> &Path {
        self.scratch.as_ref().map_or(Path::new("."), TempDir::path)
    }

    /// A new directory inside the scratch directory.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(path)
    }

    /// Starts the registry under test on an empty store.
    pub fn serve(&self, security: Security) -> Result<Server> {
        let store = Store::under_test(self.path())?;
        Server::start(Kind::under_test()?, &store, self.path(), security)
    }

    /// Starts a registry on a directory that may hold content already.
    pub fn serve_volume(&self, kind: Kind, storage: &Path, security: Security) -> Result<Server> {
        let store = Store::Filesystem(storage.to_owned());
        Server::start(kind, &store, self.path(), security)
    }

    /// A machine that knows no registry.
    pub fn bare_machine(&self) -> Result<Machine> {
        Machine::new(self.path())
    }

    /// A client machine that knows nothing but how to reach the registry.
    pub fn machine(&self, access: &Access) -> Result<Machine> {
        let machine = Machine::new(self.path())?;
        machine.trust(access)?;
        Ok(machine)
    }

    /// The HTTP interface of the registry.
    pub fn api(&self, access: &Access) -> Api {
        Api::new(access.clone(), self.path())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let Some(scratch) = self.scratch.take() else {
            return;
        };
        let path = scratch.keep();
        if let Err(error) = remove(&path) {
            eprintln!("left behind: {}: {error}", path.display());
        }
    }
}

/// The checkout's own root directory.
pub fn workspace_directory() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_owned()
}

/// Where cargo puts its output, and these tests put theirs.
pub fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace_directory().join("target"), PathBuf::from)
}

/// Takes an exclusive lock, waiting for whoever holds it; closing the file gives it back.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    file.lock()
        .with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

const PREFIX: &str = "registry-e2e-";

/// A scratch directory whose name tells which process made it.
pub(crate) fn scratch_in(parent: &Path) -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir_in(parent)
        .with_context(|| format!("make a scratch directory in {}", parent.display()))
}

/// Removes the scratch directories of test processes that were killed.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse::<u32>().ok());
        if let Some(pid) = owner
            && !Path::new("/proc").join(pid.to_string()).exists()
            && let Err(error) = remove(&entry.path())
        {
            eprintln!("cannot sweep {}: {error}", entry.path().display());
        }
    }
}

/// Removes a tree that a dying process may still write to.
fn remove(path: &Path) -> std::io::Result<()> {
    let mut attempt = 0;
    loop {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if attempt == 10 => return Err(error),
            Err(_) => {
                attempt += 1;
                thread::sleep(Duration::from_millis(200));
            }
        }
    }
}
