//! Listing the children of a directory in byte order, page by page, however many there are.
//!
//! A small directory is read and sorted. A large one has an index: see [`index`].

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oci_core::Digest;
use rustix::fs::{Dir, OFlags};

mod catalog;
mod confirm;
mod hints;
mod index;
mod log;
mod names;
mod pace;
mod run;
mod stamp;
mod state;

pub(super) use catalog::names_in;
pub(super) use stamp::Stamp;

use hints::Hints;
use index::Indexed;
use names::Names;
use run::Run;

use super::durable::Disk;
use super::layout::Layout;
use super::links::is_absent;
use super::lock;

/// The indexes of the large directories of one volume.
#[derive(Debug)]
pub(super) struct Listings {
    repositories: PathBuf,
    /// Where the indexes lie.
    files: PathBuf,
    budget: usize,
    trial: Trial,
    cache: Mutex<Cache>,
    hints: Hints,
    entries_read: AtomicU64,
    scans: AtomicU64,
}

/// What tests make smaller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    /// Directories of up to so many entries are read each time.
    pub(super) small: usize,
    /// How old the last complete reading of a directory may be that changes.
    pub(super) rewalk: Duration,
    /// How long one directory may be read without a rest.
    pub(super) burst: Duration,
}

impl Default for Trial {
    fn default() -> Self {
        Self {
            small: 512,
            rewalk: Duration::from_secs(600),
            burst: pace::BURST,
        }
    }
}

/// Indexes by the directory's path below the repositories, and when each was last used.
#[derive(Debug, Default)]
struct Cache {
    entries: HashMap<Box<str>, (Arc<Indexed>, u64)>,
    uses: u64,
}

impl Listings {
    pub(super) fn new(layout: &Layout, budget: usize, trial: Trial) -> Self {
        Self {
            repositories: layout.repositories(),
            files: layout.listing(),
            budget: budget / 2,
            trial,
            cache: Mutex::default(),
            hints: Hints::new(budget / 2),
            entries_read: AtomicU64::new(0),
            scans: AtomicU64::new(0),
        }
    }

    /// The names in the directory at `relative` below the repositories, in byte order: at least `want`
    /// from `start` on, or all there are. `None` if there is no such directory.
    fn children(
        &self,
        disk: &Arc<Disk>,
        relative: &str,
        start: Start<'_>,
        want: usize,
    ) -> io::Result<Option<Batch>> {
        let path = self.repositories.join(relative);
        let directory = match open_directory(&path) {
            Ok(directory) => directory,
            Err(error) if is_absent(&error) => {
                if lock(&self.cache).entries.remove(relative).is_some() {
                    let _ = disk.remove_file(&self.file(relative));
                }
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut entries = Dir::read_from(&directory)?;
        if let Some(names) = self.small(relative, &mut entries)? {
            return Ok(Some(Batch::of(&names, start, usize::MAX)));
        }
        drop(entries);
        let index = self.insert(relative, &path);
        let batch = index.names(disk, &directory, start, want);
        drop(index);
        self.evict();
        batch.map(Some)
    }

    /// The sorted names in a directory that is small and has no index.
    fn small(&self, relative: &str, directory: &mut Dir) -> io::Result<Option<Names>> {
        if self.cached(relative).is_some() {
            return Ok(None);
        }
        let bytes = u64::try_from(directory.stat()?.st_size).unwrap_or_default();
        if bytes > SMALL_BYTES || (bytes > TINY_BYTES && self.file(relative).exists()) {
            return Ok(None);
        }
        let mut names = Names::first(directory, self.trial.small)?;
        self.count(names.len());
        names.sort();
        Ok((names.len() <= self.trial.small).then_some(names))
    }

    /// Runs `act`, which makes the directory at `path`.
    pub(super) fn made<T>(
        &self,
        disk: &Disk,
        path: &Path,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.change(disk, path, true, act)
    }

    /// Runs `act`, which removes the directory at `path`.
    pub(super) fn removed<T>(
        &self,
        disk: &Disk,
        path: &Path,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.change(disk, path, false, act)
    }

    fn change<T>(
        &self,
        disk: &Disk,
        path: &Path,
        present: bool,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let Some((relative, name)) = self.listed(path) else {
            return act();
        };
        let index = match self.cached(relative) {
            Some(index) => index,
            None if self.file(relative).exists() => {
                self.insert(relative, &self.repositories.join(relative))
            }
            None => return act(),
        };
        let result = index.change(disk, name, present, act);
        drop(index);
        self.evict();
        result
    }

    /// The directory in which `path` is, if it may have an index, and its name in there.
    fn listed<'a>(&self, path: &'a Path) -> Option<(&'a str, &'a str)> {
        let below = path.strip_prefix(&self.repositories).ok()?.to_str()?;
        let (relative, name) = below.rsplit_once('/').unwrap_or(("", below));
        let listed = match relative.split_once("/_") {
            None => !relative.starts_with('_'),
            Some((_, rest)) => rest == "manifests/tags",
        };
        (listed && !name.is_empty()).then_some((relative, name))
    }

    fn file(&self, relative: &str) -> PathBuf {
        let hex = Digest::sha256(relative.as_bytes()).hex();
        self.files.join(hex.get(..32).unwrap_or(&hex))
    }

    fn cached(&self, relative: &str) -> Option<Arc<Indexed>> {
        let mut cache = lock(&self.cache);
        cache.uses += 1;
        let uses = cache.uses;
        let (index, used) = cache.entries.get_mut(relative)?;
        *used = uses;
        Some(Arc::clone(index))
    }

    fn insert(&self, relative: &str, path: &Path) -> Arc<Indexed> {
        let mut cache = lock(&self.cache);
        cache.uses += 1;
        let uses = cache.uses;
        let entry = cache.entries.entry(relative.into());
        let (index, _) = entry.or_insert_with(|| {
            let file = self.file(relative);
            (
                Arc::new(Indexed::new(relative, path.to_owned(), file)),
                uses,
            )
        });
        Arc::clone(index)
    }

    /// Lets go of what was not used for longest until the rest is within the budget.
    fn evict(&self) {
        let mut cache = lock(&self.cache);
        // Of those that turned out to be small nothing is left.
        cache
            .entries
            .retain(|_, (index, _)| index.memory() > 0 || Arc::strong_count(index) > 1);
        let mut memory: usize = cache
            .entries
            .values()
            .map(|(index, _)| index.memory())
            .sum();
        while memory > self.budget || cache.entries.len() > OPEN_MAX {
            let oldest = cache
                .entries
                .iter()
                // What is in use would only be read a second time.
                .filter(|(_, (index, _))| Arc::strong_count(index) == 1)
                .min_by_key(|(_, (_, used))| *used)
                .map(|(relative, (index, _))| (relative.clone(), index.memory()));
            let Some((relative, freed)) = oldest else {
                return;
            };
            cache.entries.remove(&relative);
            memory = memory.saturating_sub(freed);
        }
    }

    /// Removes indexes of directories that are gone.
    pub(super) fn sweep(&self, disk: &Disk) {
        for name in names_in(&self.files).ok().flatten().unwrap_or_default() {
            let file = self.files.join(&name);
            let of = Run::relative(&file);
            if !of.is_some_and(|relative| self.repositories.join(relative).is_dir()) {
                let _ = disk.remove_file(&file);
            }
        }
    }

    /// Whether a directory can be read each time. One that was large stays slow to read on some file
    /// systems.
    fn is_small(&self, entries: usize, bytes: u64) -> bool {
        entries <= self.trial.small && bytes <= SMALL_BYTES
    }

    /// Whether names may be kept in memory because they cannot be kept on the disk.
    fn within_memory(&self, names: &Names) -> io::Result<()> {
        if names.text_len() + names.len() <= self.budget / 2 {
            Ok(())
        } else {
            Err(io::ErrorKind::OutOfMemory.into())
        }
    }

    fn rewalk(&self) -> Duration {
        self.trial.rewalk
    }

    fn burst(&self) -> Duration {
        self.trial.burst
    }

    fn count(&self, entries: usize) {
        self.entries_read
            .fetch_add(entries as u64, Ordering::Relaxed);
    }

    fn count_scan(&self) {
        self.scans.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn entries_read(&self) -> u64 {
        self.entries_read.load(Ordering::Relaxed)
    }

    pub(super) fn scans(&self) -> u64 {
        self.scans.load(Ordering::Relaxed)
    }

    pub(super) fn memory(&self) -> usize {
        let cache = lock(&self.cache);
        let indexes = cache.entries.values().map(|(index, _)| index.memory());
        indexes.sum::<usize>() + self.hints.memory()
    }
}

/// Where a listing begins.
#[derive(Clone, Copy, Debug)]
struct Start<'a> {
    name: &'a str,
    inclusive: bool,
}

impl<'a> Start<'a> {
    fn first() -> Self {
        Self::at("")
    }

    fn at(name: &'a str) -> Self {
        Self {
            name,
            inclusive: true,
        }
    }

    fn after(name: &'a str) -> Self {
        Self {
            name,
            inclusive: false,
        }
    }

    fn admits(&self, name: &str) -> bool {
        name > self.name || (self.inclusive && name == self.name)
    }
}

/// Names in byte order.
#[derive(Debug, Default)]
struct Batch {
    names: Vec<String>,
    /// Whether more follow.
    more: bool,
}

impl Batch {
    /// Of names that are sorted.
    fn of(names: &Names, start: Start<'_>, want: usize) -> Self {
        let mut names = names.iter().filter(|name| start.admits(name));
        Self {
            names: names.by_ref().take(want).map(str::to_owned).collect(),
            more: names.next().is_some(),
        }
    }
}

fn open_directory(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        OFlags::DIRECTORY.bits().cast_signed(),
    );
    options.open(path)
}

/// What a directory's own size may be for it to be read each time: 512 names of 128 bytes and more.
const SMALL_BYTES: u64 = 128 * 1024;
/// What is no larger is read without looking for an index.
const TINY_BYTES: u64 = 4096;
/// Each index keeps a file open.
const OPEN_MAX: usize = 64;
