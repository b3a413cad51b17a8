//! Group commit: one fsync for each directory, however many requests wait for it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::identity::Identity;
use super::{Disk, lock};

/// What has changed and must reach the disk before somebody is told so.
#[derive(Debug, Default)]
#[must_use = "a change that is not committed does not survive loss of power"]
pub(in super::super) struct Dirty {
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
    learned: Vec<Identity>,
}

impl Dirty {
    pub(in super::super) fn new() -> Self {
        Self::default()
    }

    /// A file that somebody else wrote, perhaps without syncing it.
    pub(super) fn file(&mut self, path: &Path) {
        self.files.push(path.to_owned());
    }

    /// A directory in which a name came, changed or went.
    pub(in super::super) fn directory(&mut self, path: &Path) {
        if !self.directories.iter().any(|known| known == path) {
            self.directories.push(path.to_owned());
        }
    }

    /// What will be known to be on the disk when this is.
    pub(super) fn learn(&mut self, identity: Option<Identity>) {
        self.learned.extend(identity);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.directories.is_empty()
    }
}

/// The outcome of a [`Disk::commit`], which happens whether or not it is waited for.
#[derive(Debug)]
#[must_use = "nothing may be acknowledged before it is committed"]
pub(in super::super) struct Ticket(Option<oneshot::Receiver<io::Result<()>>>);

impl Ticket {
    pub(in super::super) async fn wait(self) -> io::Result<()> {
        match self.0 {
            None => Ok(()),
            Some(outcome) => outcome
                .await
                .unwrap_or_else(|_| Err(io::Error::other("the blocking pool was closed"))),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Group {
    waiting: Vec<Waiting>,
    running: bool,
}

type Waiting = (Dirty, oneshot::Sender<io::Result<()>>);

impl Disk {
    /// Brings `dirty` to the disk, together with what others want there at the same time.
    pub(in super::super) fn commit(self: &Arc<Self>, dirty: Dirty) -> Ticket {
        if dirty.is_empty() || !self.is_durable() {
            lock(&self.known).learn(dirty.learned);
            return Ticket(None);
        }
        let (sender, receiver) = oneshot::channel();
        let mut group = lock(&self.group);
        group.waiting.push((dirty, sender));
        if !group.running {
            group.running = true;
            drop(group);
            let leader = Leader {
                disk: Arc::clone(self),
                finished: false,
            };
            self.pool.execute(Box::new(move || leader.run()));
        }
        Ticket(Some(receiver))
    }

    /// The same at once, on this thread, which may block.
    pub(in super::super) fn commit_now(&self, dirty: Dirty) -> io::Result<()> {
        if self.is_durable() {
            for file in &dirty.files {
                self.sync_path(file)?;
            }
            for directory in &dirty.directories {
                self.sync_directory(directory)?;
            }
        }
        lock(&self.known).learn(dirty.learned);
        Ok(())
    }

    fn commit_group(self: &Arc<Self>, waiting: Vec<Waiting>) {
        let mut files: HashMap<&Path, io::Result<()>> = HashMap::new();
        let mut directories: Vec<&Path> = Vec::new();
        for (dirty, _) in &waiting {
            for file in &dirty.files {
                files.entry(file).or_insert_with(|| self.sync_path(file));
            }
            directories.extend(dirty.directories.iter().map(PathBuf::as_path));
        }
        directories.sort_unstable();
        directories.dedup();
        let mut outcomes = self.sync_directories(directories);
        outcomes.extend(
            files
                .into_iter()
                .map(|(path, synced)| (path.to_owned(), synced)),
        );
        let results: Vec<io::Result<()>> = waiting
            .iter()
            .map(|(dirty, _)| {
                let mut all = dirty.files.iter().chain(&dirty.directories);
                all.try_for_each(|path| match outcomes.get(path.as_path()) {
                    Some(Ok(())) => Ok(()),
                    Some(Err(error)) => Err(again(error)),
                    None => Err(io::Error::other("a sync did not come to its end")),
                })
            })
            .collect();
        for ((dirty, sender), result) in waiting.into_iter().zip(results) {
            if result.is_ok() {
                lock(&self.known).learn(dirty.learned);
            }
            // Nobody may be waiting any more.
            let _ = sender.send(result);
        }
    }
}

/// The one that syncs for all. Should the pool drop it unrun, the waiting are told.
struct Leader {
    disk: Arc<Disk>,
    finished: bool,
}

impl Leader {
    fn run(mut self) {
        loop {
            let mut group = lock(&self.disk.group);
            let waiting = std::mem::take(&mut group.waiting);
            if waiting.is_empty() {
                group.running = false;
                drop(group);
                self.finished = true;
                return;
            }
            drop(group);
            self.disk.commit_group(waiting);
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.finished {
            let mut group = lock(&self.disk.group);
            group.waiting.clear();
            group.running = false;
        }
    }
}

/// One failure is everybody's.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
