//! The collector: removes what nobody refers to, beside pushes and pulls of any process on the volume.
//!
//! What it does, and why that is safe, was model-checked before it was written: `tests/models`, "the
//! filesystem engine". In short: from the moment a run begins, pushes log what they rely on ([`delta`]).
//! The run marks all that manifests refer to without any lock ([`mark`]); then, batch by batch and alone in
//! an exclusive section, it closes over the log, looks at each candidate again, and renames what is left into
//! the trash ([`remove`]). Clocks, and the grace period, take no part in that argument.
//!
//! What cannot be read ends a run. What can be read and not be understood keeps everything that its
//! repository has. Removing is the one thing here that may never be done by mistake.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use oci_core::store::{
    CandidateKind, CollectEnd, CollectObserver, CollectOptions, Collected, Phase,
};

use super::{Failure, Inner};

mod delta;
mod document;
mod found;
mod log;
mod mark;
mod names;
mod remove;
mod tree;
mod volume;

pub(super) use volume::share;

use delta::Delta;
use log::Log;
use mark::Marked;

impl Inner {
    /// One run. Blocks for as long as it takes, or little longer than until `stop` is set.
    pub(super) fn collect(
        &self,
        options: &CollectOptions,
        observer: &dyn CollectObserver,
        stop: &AtomicBool,
    ) -> Result<Collected, Failure> {
        let began = Instant::now();
        let mut run = Run {
            inner: self,
            options,
            observer,
            stop,
            now: self.clock.now(),
            collected: Collected::default(),
        };
        run.collected.end = run.whole()?;
        run.collected.duration = began.elapsed();
        Ok(run.collected)
    }

    /// Puts in order what a run left behind that was cut off. Does nothing while one is at work.
    pub(super) fn recover_collection(&self) {
        // All of it is done again by the next run, so failing is fine.
        if let Ok(Some(lock)) = self.sections.lock_collector() {
            let _ = self.disk.remove_file(self.sections.delta());
            let _ = self.empty_trash();
            self.reserve_log();
            drop(lock);
        }
    }
}

/// A run, and what it has found and done so far.
struct Run<'a> {
    inner: &'a Inner,
    options: &'a CollectOptions,
    observer: &'a dyn CollectObserver,
    stop: &'a AtomicBool,
    /// When it began: what is younger then is younger later.
    now: SystemTime,
    collected: Collected,
}

impl Run<'_> {
    fn whole(&mut self) -> Result<CollectEnd, Failure> {
        volume::check(&self.inner.layout.ours(), self.options.any_file_system)?;
        if self.options.dry_run {
            // It removes nothing, so it needs no protection from anybody.
            self.mark()?;
            return Ok(self.ended(CollectEnd::Complete));
        }
        let Some(lock) = self.inner.sections.lock_collector()? else {
            return Ok(CollectEnd::Busy);
        };
        // What an earlier run left, which ended in the middle.
        self.inner.empty_trash()?;
        let mut log = None;
        let begin = || {
            log = Some(self.inner.begin_log()?);
            Ok(())
        };
        let begun = self.exclusive(begin)?;
        let Some(log) = log.filter(|_| begun) else {
            return Ok(self.ended(CollectEnd::GaveUp));
        };
        let marked = self.mark()?;
        let end = self.remove(marked, &log)?;
        // While it is there, pushes log.
        drop(log);
        drop(lock);
        Ok(end)
    }

    fn remove(&mut self, marked: Marked, log: &Log<'_>) -> Result<CollectEnd, Failure> {
        if let Some(brake) = &self.options.brake
            && self.collected.is_unusual(brake)
        {
            return Ok(CollectEnd::Braked);
        }
        self.inner.make_trash()?;
        let Marked {
            repositories,
            whole,
            manifests,
            links,
            content,
            about,
        } = marked;
        let mut delta = Delta::new(self.inner, log, whole, about);
        // In this order. What a manifest needs goes only when the manifest itself is gone for good: each
        // batch begins by bringing all that was done before it to the disk.
        for candidates in [manifests, links, content] {
            for batch in candidates.chunks(BATCH) {
                if self.is_stopped() {
                    return Ok(CollectEnd::Stopped);
                }
                if !self.batch(batch, &repositories, &mut delta)? {
                    return Ok(self.ended(CollectEnd::GaveUp));
                }
                self.observer.progress(Phase::Removing, &self.collected);
            }
        }
        Ok(CollectEnd::Complete)
    }

    /// Stopped, it ends as that, whatever it would have been.
    fn ended(&self, end: CollectEnd) -> CollectEnd {
        if self.is_stopped() {
            CollectEnd::Stopped
        } else {
            end
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Runs `work` alone; `false` if that could not be had, although it was tried several times.
    ///
    /// While it waits, pushes wait behind it. So it does not wait for long, and leaves them time between.
    fn exclusive(&self, mut work: impl FnMut() -> std::io::Result<()>) -> std::io::Result<bool> {
        for _ in 0..ATTEMPTS {
            let done = self.inner.sections.exclusive(PATIENCE, |_| work())?;
            if done.is_some() {
                return Ok(true);
            }
            if self.is_stopped() {
                break;
            }
            std::thread::park_timeout(PAUSE);
        }
        Ok(false)
    }

    /// How old something is that was changed last at `modified`. What is from the future is new.
    fn is_old(&self, modified: SystemTime) -> bool {
        let age = self.now.duration_since(modified).unwrap_or_default();
        age >= self.options.grace
    }
}

/// A count for each kind of candidate.
fn count_of(collected: &mut Collected, kind: CandidateKind) -> Option<&mut u64> {
    match kind {
        CandidateKind::Link => Some(&mut collected.removed_links),
        CandidateKind::Manifest => Some(&mut collected.removed_manifests),
        _ => None,
    }
}

/// How many go in one exclusive section: some ten milliseconds for which pushes wait.
const BATCH: usize = 256;
/// How long pushes are kept waiting, at most, by one attempt to be alone.
const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
