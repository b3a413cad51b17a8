//! The index of one large directory: a sorted run, and over it what changed since.
//!
//! It is complete as long as the directory is as the last change of ours left it. Anything else means
//! that somebody else was there, and the directory is read again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use super::super::durable::{Dirty, Disk};
use super::super::lock;
use super::super::section::{ListingLock, Mode, is_at, lock_listing};
use super::log::{self, Record};
use super::names::Names;
use super::run::{Head, Run};
use super::stamp::Stamp;
use super::state::{Merged, State};
use super::{Batch, Start};

/// The index of one directory.
#[derive(Debug)]
pub(super) struct Indexed {
    /// From the directory of all repositories.
    relative: Box<str>,
    directory: PathBuf,
    file: PathBuf,
    /// Held while the directory is read, so that only one does. Taken before `state`.
    scanning: Mutex<()>,
    state: Mutex<State>,
    memory: AtomicUsize,
}

/// What came of reading a directory.
enum Scanned {
    Indexed,
    /// It is small, or the index could not be kept.
    Names(Names),
}

impl Indexed {
    pub(super) fn new(relative: &str, directory: PathBuf, file: PathBuf) -> Self {
        Self {
            relative: relative.into(),
            directory,
            file,
            scanning: Mutex::default(),
            state: Mutex::default(),
            memory: AtomicUsize::new(0),
        }
    }

    /// Bytes of memory that this holds, about; nothing if there is no index.
    pub(super) fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// At least `want` names from `from` on, or all there are. `directory` is the open directory.
    pub(super) fn names(
        self: &Arc<Self>,
        disk: &Arc<Disk>,
        directory: &File,
        from: Start<'_>,
        want: usize,
    ) -> io::Result<Batch> {
        // A directory is read at most twice for one answer, the second time if its index broke.
        let (mut scans, mut patient, mut broken) = (0, true, false);
        loop {
            let mut state = lock(&self.state);
            let current = self.refresh(&mut state, directory)?;
            if state.run.is_some() && (current || !patient || !state.pace.allows()) {
                if let Ok(batch) = state.batch(from, want) {
                    self.rewalk_if_due(disk, &mut state);
                    return Ok(batch);
                }
                broken = true;
                state.forget();
                let _ = disk.remove_file(&self.file);
            }
            let indexed = state.run.is_some();
            drop(state);
            let Some(_scanning) = self.begin_scan(indexed) else {
                // Somebody else is reading it. Until then, what was known is the answer.
                patient = false;
                continue;
            };
            // While this waited, somebody else may have read it.
            if !broken && self.refresh(&mut lock(&self.state), directory)? {
                continue;
            }
            scans += 1;
            match self.scan(disk, directory)? {
                Scanned::Indexed if scans < 2 => patient = false,
                Scanned::Indexed => return self.walked(disk, directory, from, want),
                Scanned::Names(names) => return Ok(Batch::of(&names, from, want)),
            }
        }
    }

    /// Runs `act`, which makes or removes the child `name`, and writes down that it did.
    pub(super) fn change<T>(
        &self,
        disk: &Disk,
        name: &str,
        present: bool,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = lock(&self.state);
        let held = self.lock_current(&mut state, Mode::Exclusive);
        if state.run.is_none() && state.journal.is_none() {
            drop(state);
            return act();
        }
        let before = self.stamp();
        if held.is_some() {
            // What other processes of ours did is in the log, and this record belongs behind it.
            state.catch_up();
        }
        let result = act();
        let after = self.stamp();
        // Also if the directory looks the same: two changes within one tick of the clock do that.
        if result.is_ok() {
            let sure = before
                .zip(after)
                .filter(|(before, after)| before.one_step_to(after, present));
            // What is not sure breaks the chain.
            let (before, after) = sure.unwrap_or((Stamp::NONE, Stamp::NONE));
            let record = Record {
                name: name.into(),
                present,
                before,
                after,
            };
            state.apply(&record);
            if let Some(journal) = &mut state.journal {
                journal.push(record.clone());
            }
            if let Some(lock) = &held {
                let mut end = state.log_end;
                // Not written, the next process finds a gap and reads the directory.
                let _ = log::append(disk, lock.file(), &self.file, &[record], &mut end);
                state.log_end = end;
            }
            if state.is_long() && self.fold(disk, &mut state).is_err() {
                state.forget();
                let _ = disk.remove_file(&self.file);
            }
        }
        drop(held);
        self.weigh(&state);
        result
    }

    fn stamp(&self) -> Option<Stamp> {
        std::fs::metadata(&self.directory)
            .ok()
            .map(|metadata| Stamp::of(&metadata))
    }

    /// Whether the index is there and complete. Reads it from its file if that is newer.
    fn refresh(&self, state: &mut State, directory: &File) -> io::Result<bool> {
        let now = |state: &State| -> io::Result<bool> {
            Ok(state.run.is_some() && state.stamp == Some(Stamp::of(&directory.metadata()?)))
        };
        if !now(state)? {
            // With the lock, nobody of ours is between a change and its record.
            let held = self.lock_current(state, Mode::Shared);
            if held.is_some() {
                state.catch_up();
            }
            drop(held);
            self.weigh(state);
        }
        // A scan that began right behind a change may have missed another one.
        let proven = state
            .run
            .as_ref()
            .is_some_and(|run| run.head.scanned.is_settled(run.head.scanned_at));
        Ok(now(state)? && (proven || !state.is_settled()))
    }

    /// Locks the index's file, after loading it if it is another one by now.
    fn lock_current(&self, state: &mut State, mode: Mode) -> Option<ListingLock> {
        for _ in 0..3 {
            if state.run.is_none() {
                self.load(state);
            }
            let file = Arc::clone(state.run.as_ref()?.file()?);
            let held = lock_listing(&file, mode).ok()??;
            if is_at(&file, &self.file).unwrap_or(false) {
                return Some(held);
            }
            // Another process wrote a new one, or somebody removed it.
            state.forget();
        }
        None
    }

    fn load(&self, state: &mut State) {
        let Ok(Some(run)) = Run::open(&self.file, &self.relative) else {
            return;
        };
        state.log_end = run.end;
        state.stamp = Some(run.head.stamp);
        state.overlay.clear();
        state.overlay_text = 0;
        state.run = Some(run);
        state.catch_up();
    }

    /// Becomes the one who reads the directory. `None` if that is somebody else already and there is
    /// an index to answer from meanwhile.
    fn begin_scan(&self, indexed: bool) -> Option<MutexGuard<'_, ()>> {
        if !indexed {
            return Some(lock(&self.scanning));
        }
        match self.scanning.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(PoisonError::into_inner(poisoned)),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Reads the directory and makes a new index. `scanning` is held.
    fn scan(&self, disk: &Disk, directory: &File) -> io::Result<Scanned> {
        let began = Instant::now();
        lock(&self.state).journal = Some(Vec::new());
        let scanned_at = SystemTime::now();
        let result = (|| {
            let metadata = directory.metadata()?;
            let mut names = Names::read(directory)?;
            disk.listings().count(names.len());
            names.sort();
            let head = Head {
                count: 0,
                scanned: Stamp::of(&metadata),
                scanned_at,
                stamp: Stamp::of(&metadata),
            };
            if disk.listings().is_small(names.len(), metadata.len()) {
                let mut state = lock(&self.state);
                state.forget();
                let _ = disk.remove_file(&self.file);
                return Ok(Scanned::Names(names));
            }
            disk.listings().count_scan();
            let temporary = disk.temporary_path();
            let written = Run::write(
                disk,
                &temporary,
                &self.relative,
                names.iter(),
                names.len(),
                head,
            );
            let mut state = lock(&self.state);
            let journal = state.journal.take().unwrap_or_default();
            // Against a change by another process of ours that would go to the old file.
            let held = self.lock_current(&mut state, Mode::Exclusive);
            state.forget();
            let run = match written {
                Ok(run) => self.place(disk, &temporary, run, &journal, &mut state.log_end),
                Err(error) => Err(error),
            };
            let run = run.or_else(|_| {
                let _ = std::fs::remove_file(&temporary);
                // What lies there is older than what was just read.
                let _ = disk.remove_file(&self.file);
                disk.listings().within_memory(&names)?;
                Run::in_memory(names.iter(), names.len(), head)
            });
            let after = Stamp::of(&directory.metadata()?);
            drop(held);
            let Ok(run) = run else {
                return Ok(Scanned::Names(names));
            };
            state.run = Some(run);
            state.stamp = Some(head.stamp);
            for record in &journal {
                state.apply(record);
            }
            if state.stamp != Some(after) {
                state.stamp = None;
            }
            let burst = disk.listings().burst();
            state.pace.charge(began.elapsed(), burst);
            Ok(Scanned::Indexed)
        })();
        let mut state = lock(&self.state);
        state.journal = None;
        self.weigh(&state);
        result
    }

    /// Gives a new run its name, with what changed while it was being made.
    fn place(
        &self,
        disk: &Disk,
        temporary: &Path,
        run: Run,
        journal: &[Record],
        log_end: &mut u64,
    ) -> io::Result<Run> {
        let file = run.file().map(Arc::clone);
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        *log_end = run.end;
        log::append(disk, &file, temporary, journal, log_end)?;
        // A hint is not synced.
        disk.rename(temporary, &file, &self.file, &mut Dirty::new())?;
        Ok(run)
    }

    /// Writes a new run of the old one and what changed since. The file is locked.
    fn fold(&self, disk: &Disk, state: &mut State) -> io::Result<()> {
        let Some(run) = &state.run else {
            return Ok(());
        };
        let mut names = Names::default();
        let merged = Merged::new(run, &state.overlay, Start::first());
        for name in merged {
            names.push(&name?);
        }
        let head = Head {
            stamp: state.stamp.unwrap_or(Stamp::NONE),
            ..run.head
        };
        if run.file().is_none() {
            disk.listings().within_memory(&names)?;
            state.run = Some(Run::in_memory(names.iter(), names.len(), head)?);
        } else {
            let temporary = disk.temporary_path();
            let run = Run::write(
                disk,
                &temporary,
                &self.relative,
                names.iter(),
                names.len(),
                head,
            )
            .and_then(|run| self.place(disk, &temporary, run, &[], &mut state.log_end));
            if run.is_err() {
                let _ = std::fs::remove_file(&temporary);
            }
            state.run = Some(run?);
        }
        state.overlay.clear();
        state.overlay_text = 0;
        Ok(())
    }

    /// An answer without any index.
    fn walked(
        &self,
        disk: &Disk,
        directory: &File,
        from: Start<'_>,
        want: usize,
    ) -> io::Result<Batch> {
        lock(&self.state).forget();
        let mut names = Names::read(directory)?;
        disk.listings().count(names.len());
        names.sort();
        Ok(Batch::of(&names, from, want))
    }

    /// Two changes that fall together can look like one. So a directory that changes is read again now
    /// and then, behind the back of whoever asked.
    fn rewalk_if_due(self: &Arc<Self>, disk: &Arc<Disk>, state: &mut State) {
        let due = state.run.as_ref().is_some_and(|run| {
            let age = SystemTime::now().duration_since(run.head.scanned_at);
            state.stamp != Some(run.head.scanned)
                && age.unwrap_or(Duration::MAX) >= disk.listings().rewalk()
        });
        if !due || state.rewalking {
            return;
        }
        state.rewalking = true;
        let (index, on) = (Arc::clone(self), Arc::clone(disk));
        disk.pool().execute(Box::new(move || {
            if let Some(_scanning) = index.begin_scan(true)
                && let Ok(directory) = File::open(&index.directory)
            {
                // What fails here is found out by the next listing.
                let _ = index.scan(&on, &directory);
            }
            lock(&index.state).rewalking = false;
        }));
    }

    fn weigh(&self, state: &State) {
        self.memory.store(state.memory(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use oci_core::runtime::{SystemIds, ThreadPool};

    use super::super::super::durable::Durability;
    use super::super::super::layout::Layout;
    use super::super::pace::Pace;
    use super::super::{Listings, Trial};
    use super::*;

    /// A disk with the directory `many` of 30 names, which it indexes.
    fn disk(rewalk: Duration) -> (tempfile::TempDir, Arc<Disk>, Arc<ThreadPool>) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        for number in 0..30 {
            let child = format!("many/n{number:02}");
            std::fs::create_dir_all(layout.repositories().join(child)).unwrap();
        }
        // Until no change can hide the next.
        std::thread::park_timeout(Duration::from_millis(50));
        let trial = Trial {
            small: 10,
            rewalk,
            ..Trial::default()
        };
        let pool = Arc::new(ThreadPool::default());
        let disk = Disk::new(
            root.path(),
            layout.temporary(),
            Listings::new(&layout, 1 << 20, trial),
            Arc::clone(&pool) as _,
            Arc::new(SystemIds::new()),
            Durability::None,
            None,
        );
        (root, Arc::new(disk), pool)
    }

    fn names(disk: &Arc<Disk>) -> Vec<String> {
        let all = disk.listings().children(disk, "many", Start::first(), 1000);
        all.unwrap().unwrap().names
    }

    fn make(disk: &Disk, root: &Path, name: &str) {
        let path = Layout::new(root).repositories().join("many").join(name);
        disk.ensure_directory(&path, &mut Dirty::new()).unwrap();
    }

    #[test]
    fn a_change_that_hid_is_found_by_the_next_walk() {
        for (rewalk, found) in [(Duration::from_secs(600), false), (Duration::ZERO, true)] {
            let (root, disk, pool) = disk(rewalk);
            assert_eq!(names(&disk).len(), 30);
            make(&disk, root.path(), "ours");
            let hidden = Layout::new(root.path()).repositories().join("many/hidden");
            std::fs::create_dir(hidden).unwrap();
            // As if both had been one change to the clock of the file system.
            let index = disk.listings().cached("many").unwrap();
            let stamp = index.stamp();
            lock(&index.state).stamp = stamp;
            assert!(!names(&disk).contains(&"hidden".to_owned()));
            assert!(pool.wait_idle(Duration::from_secs(10)));
            assert_eq!(names(&disk).contains(&"hidden".to_owned()), found);
            assert_eq!(disk.listings().scans(), 1 + u64::from(found));
        }
    }

    #[test]
    fn what_changes_while_the_directory_is_read_is_in_the_index() {
        let (root, disk, _pool) = disk(Duration::from_secs(600));
        assert_eq!(names(&disk).len(), 30);
        let index = disk.listings().cached("many").unwrap();
        // Between the reading and the writing of a new index, as the journal sees it.
        lock(&index.state).journal = Some(Vec::new());
        make(&disk, root.path(), "ours");
        let journal = lock(&index.state).journal.take().unwrap();
        assert_eq!(journal.len(), 1);
        let mut state = lock(&index.state);
        let run = state.run.take().unwrap();
        let temporary = disk.temporary_path();
        let names_before = (0..30)
            .map(|number| format!("n{number:02}"))
            .collect::<Vec<_>>();
        let written = Run::write(
            &disk,
            &temporary,
            "many",
            names_before.iter().map(String::as_str),
            30,
            run.head,
        );
        index
            .place(&disk, &temporary, written.unwrap(), &journal, &mut 0)
            .unwrap();
        state.forget();
        drop(state);
        assert_eq!(names(&disk).len(), 31);
        assert_eq!(disk.listings().scans(), 1);
    }

    #[test]
    fn two_registries_that_write_in_turn_do_not_have_the_directory_read_each_time() {
        let (root, disk, _pool) = disk(Duration::from_secs(600));
        names(&disk);
        let index = disk.listings().cached("many").unwrap();
        lock(&index.state)
            .pace
            .charge(Duration::from_secs(3600), Duration::ZERO);
        let many = Layout::new(root.path()).repositories().join("many");
        for number in 0..20 {
            std::fs::create_dir(many.join(format!("theirs{number}"))).unwrap();
            make(&disk, root.path(), &format!("ours{number}"));
            let names = names(&disk);
            // What this registry did is there all the same.
            assert!(names.contains(&format!("ours{number}")), "{number}");
        }
        assert_eq!(disk.listings().scans(), 1);
        lock(&index.state).pace = Pace::default();
        assert_eq!(names(&disk).len(), 70);
        assert_eq!(disk.listings().scans(), 2);
    }

    #[test]
    fn any_damage_to_a_run_is_seen() {
        let (_root, disk, _pool) = disk(Duration::from_secs(600));
        let expected = names(&disk);
        let index = disk.listings().cached("many").unwrap();
        let mut whole = Vec::new();
        let mut file = File::open(&index.file).unwrap();
        std::io::Read::read_to_end(&mut file, &mut whole).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x20;
            std::fs::write(&index.file, bytes).unwrap();
            lock(&index.state).forget();
            assert_eq!(names(&disk), expected, "{at}");
            assert_eq!(disk.listings().scans(), 2 + at as u64);
        }
    }
}
