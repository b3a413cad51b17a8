//! The loads that the rows put on a server.

pub(crate) mod collect;
pub(crate) mod connections;
pub(crate) mod limits;
pub(crate) mod listings;
pub(crate) mod pulls;
pub(crate) mod pushes;
pub(crate) mod requests;
pub(crate) mod start;

use std::fs;
use std::sync::Barrier;

use anyhow::{Context as _, Result, bail};
use registry_load_driver::registry::{Client, Push};
use registry_load_driver::{Content, Error};

use crate::arena::Arena;
use crate::measure::Sample;
use crate::server::{Server, Setup};

/// One way to use a server.
pub(crate) trait Load: Sync {
    /// How the server is started.
    fn setup(&self, _arena: &Arena) -> Result<Setup> {
        Ok(Setup::default())
    }

    /// Whether each round begins with an empty store; otherwise one server serves all rounds.
    fn fresh(&self) -> bool {
        false
    }

    /// Whether the stores of a row's rounds stay until its end: ext4 searches past each inode that was lately
    /// removed, so many small files that go make the next round slow. Only where they are not large.
    fn stores_stay(&self) -> bool {
        false
    }

    /// Puts content there and warms up. Not measured.
    fn prepare(&self, arena: &Arena, server: &Server) -> Result<()>;

    /// One round.
    fn measure(&self, arena: &Arena, server: &Server) -> Result<Sample>;
}

/// Stores content that a server shall serve, as a push or, with nginx, as a file.
pub(crate) fn provide(server: &Server, repository: &str, content: &Content) -> Result<()> {
    if server.nginx {
        let directory = server.root.join(format!("v2/{repository}/blobs"));
        fs::create_dir_all(&directory)?;
        let path = directory.join(content.digest());
        content
            .write_to(&path)
            .with_context(|| format!("write {}", path.display()))?;
        return Ok(());
    }
    Client::new(server.connect()?).push(repository, content, Push::Put)?;
    Ok(())
}

/// Pulls content and hashes it.
pub(crate) fn verify(server: &Server, repository: &str, content: &Content) -> Result<()> {
    let mut client = Client::new(server.connect()?);
    if server.nginx {
        client.verify_file(repository, content)?;
    } else {
        client.verify(repository, content)?;
    }
    Ok(())
}

/// Runs one thread for each state. All of them begin at once; the first failure is the result.
pub(crate) fn together<S: Send, T: Send>(
    states: Vec<S>,
    work: impl Fn(usize, S) -> registry_load_driver::Result<T> + Sync,
) -> Result<Vec<T>> {
    let barrier = Barrier::new(states.len());
    let results: Vec<Option<registry_load_driver::Result<T>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = states
            .into_iter()
            .enumerate()
            .map(|(index, state)| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(index, state)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().ok())
            .collect()
    });
    let mut done = Vec::new();
    for result in results {
        match result {
            Some(result) => done.push(result.map_err(|error: Error| error)?),
            None => bail!("a thread of the client crashed"),
        }
    }
    Ok(done)
}
