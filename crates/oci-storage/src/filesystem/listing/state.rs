//! A run and what changed since, as one sorted sequence; and for which state of the directory.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use super::log::{self, Record};
use super::pace::Pace;
use super::run::Run;
use super::stamp::Stamp;
use super::{Batch, Start};

/// What is known of a directory.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) run: Option<Run>,
    /// What came (`true`) and went since the run was written.
    pub(super) overlay: BTreeMap<Box<str>, bool>,
    pub(super) overlay_text: usize,
    /// The directory for which both together are complete; `None` if somebody else changed it.
    pub(super) stamp: Option<Stamp>,
    /// Where the next record of the log belongs.
    pub(super) log_end: u64,
    /// What this process changes while the directory is being read.
    pub(super) journal: Option<Vec<Record>>,
    pub(super) pace: Pace,
    pub(super) rewalking: bool,
}

impl State {
    /// One change of ours. The chain goes on if nobody else was there in between.
    pub(super) fn apply(&mut self, record: &Record) {
        if self
            .overlay
            .insert(record.name.clone(), record.present)
            .is_none()
        {
            self.overlay_text += record.name.len();
        }
        let unbroken = self.stamp == Some(record.before) && record.before != Stamp::NONE;
        self.stamp = unbroken.then_some(record.after);
    }

    /// Reads what others have added to the log.
    pub(super) fn catch_up(&mut self) {
        let Some(file) = self.run.as_ref().and_then(Run::file).map(Arc::clone) else {
            return;
        };
        let mut end = self.log_end;
        for record in log::tail(&file, &mut end).unwrap_or_default() {
            self.apply(&record);
        }
        self.log_end = end;
    }

    /// Bytes of memory, about; nothing if there is no index.
    pub(super) fn memory(&self) -> usize {
        let overlay = self.overlay_text + self.overlay.len() * OVERLAY_ENTRY;
        let run = self.run.as_ref();
        run.map_or(0, |run| FIXED + run.memory() + overlay)
    }

    pub(super) fn forget(&mut self) {
        self.run = None;
        self.overlay.clear();
        self.overlay_text = 0;
        self.stamp = None;
    }

    pub(super) fn is_long(&self) -> bool {
        let log = self
            .run
            .as_ref()
            .map_or(0, |run| self.log_end.saturating_sub(run.end));
        self.overlay.len() > OVERLAY_MAX || log > log::LOG_MAX / 2
    }

    pub(super) fn is_settled(&self) -> bool {
        self.stamp
            .is_some_and(|stamp| stamp.is_settled(SystemTime::now()))
    }

    pub(super) fn batch(&self, from: Start<'_>, want: usize) -> io::Result<Batch> {
        let mut batch = Batch::default();
        let Some(run) = &self.run else {
            return Ok(batch);
        };
        for name in Merged::new(run, &self.overlay, from) {
            if batch.names.len() >= want {
                batch.more = true;
                break;
            }
            batch.names.push(name?);
        }
        Ok(batch)
    }
}

/// A run and what lies over it, as one sorted sequence.
pub(super) struct Merged<'a> {
    run: std::iter::Peekable<super::run::Reader<'a>>,
    overlay: std::iter::Peekable<std::collections::btree_map::Range<'a, Box<str>, bool>>,
    from: Start<'a>,
}

impl<'a> Merged<'a> {
    pub(super) fn new(
        run: &'a Run,
        overlay: &'a BTreeMap<Box<str>, bool>,
        from: Start<'a>,
    ) -> Self {
        use std::ops::Bound::{Included, Unbounded};
        Self {
            run: run.names_from(from.name).peekable(),
            overlay: overlay
                .range::<str, _>((Included(from.name), Unbounded))
                .peekable(),
            from,
        }
    }
}

impl Iterator for Merged<'_> {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let run = match self.run.peek() {
                Some(Err(_)) => return self.run.next(),
                Some(Ok(name)) => Some(name.as_str()),
                None => None,
            };
            let name = match (run, self.overlay.peek()) {
                (None, None) => return None,
                (Some(name), Some((over, _))) if name < &***over => self.run.next()?,
                (Some(_), None) => self.run.next()?,
                (run, Some((over, present))) => {
                    let (same, present) = (run == Some(&***over), **present);
                    let name = String::from(&***over);
                    self.overlay.next();
                    if same {
                        self.run.next();
                    }
                    if !present {
                        continue;
                    }
                    Ok(name)
                }
            };
            if name.as_ref().is_ok_and(|name| !self.from.admits(name)) {
                continue;
            }
            return Some(name);
        }
    }
}

/// So many changes are held in memory before a new run is written.
const OVERLAY_MAX: usize = 4096;
/// What an entry takes beside its text: two words, the flag, and its share of the tree and the heap.
const OVERLAY_ENTRY: usize = 48;
/// An index without anything in it.
const FIXED: usize = 1024;
