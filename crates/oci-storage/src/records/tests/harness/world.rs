//! Stores that can be told to misbehave, and the clocks of the processes on them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use oci_core::runtime::Clock;

use super::schedule::{Dice, Task, block_on, give_way};
use super::store::Meddled;
use crate::records::{
    ExtentStore, MemoryExtents, MemoryRecords, PartLimits, Records, RecordsOptions, Spawn,
    UploadLocks,
};

/// Both stores, and what is done to calls on their way.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) records: MemoryRecords,
    pub(crate) extents: MemoryExtents,
    pub(crate) control: Arc<Control>,
}

#[derive(Debug, Default)]
pub(crate) struct Control {
    /// Whether every call gives way to others before and after it takes effect.
    pub(crate) interleave: bool,
    pub(crate) calls: AtomicU64,
    /// Whether listings begin anew instead of going on.
    pub(crate) circles: AtomicBool,
    plan: Mutex<Option<(u64, Fault)>>,
    /// Which record's next write is overtaken, by its key's beginning, and by what.
    overtaking: Mutex<Option<(String, Overtaking)>>,
    /// Bytes of extents that were read.
    pub(crate) read: AtomicU64,
    /// Deletes of extents that have not happened yet; nothing if they happen at once.
    pub(crate) late: Option<Mutex<VecDeque<String>>>,
    /// With these dice, calls fail in every way now and then.
    odds: Mutex<Option<Dice>>,
    pub(crate) now: AtomicU64,
}

/// What others do between a write whose answer gets lost and the reading back.
struct Overtaking(Task);

impl std::fmt::Debug for Overtaking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Overtaking")
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    Unavailable,
    NoSpace,
    /// It happens, but the answer gets lost.
    Applied,
    /// It does not happen, and nobody can tell.
    Dropped,
    /// It happens, the answer gets lost, and somebody else writes the same once more.
    Overtaken,
}

impl Fault {
    pub(crate) const ALL: [Self; 5] = [
        Self::Unavailable,
        Self::NoSpace,
        Self::Applied,
        Self::Dropped,
        Self::Overtaken,
    ];
}

impl World {
    pub(crate) fn new(part_size: u64) -> Self {
        Self::with(part_size, Control::default())
    }

    /// Calls interleave and deletes happen late.
    pub(crate) fn interleaved(part_size: u64) -> Self {
        let control = Control {
            interleave: true,
            late: Some(Mutex::default()),
            ..Control::default()
        };
        Self::with(part_size, control)
    }

    fn with(part_size: u64, control: Control) -> Self {
        control.now.store(1_000_000, Ordering::SeqCst);
        let control = Arc::new(control);
        let clock = Arc::new(TestClock(Arc::clone(&control), 0));
        let limits = PartLimits::new(part_size, u64::MAX, 4);
        Self {
            records: MemoryRecords::new(),
            extents: MemoryExtents::with_limits(limits).with_clock(clock),
            control,
        }
    }

    /// An engine, as in a process of its own.
    pub(crate) fn process(&self, spawn: Arc<dyn Spawn>) -> Records {
        self.engine(spawn, UploadLocks::default())
    }

    /// The same with a clock that is off by so many seconds.
    pub(crate) fn skewed(&self, spawn: Arc<dyn Spawn>, seconds: i64) -> Records {
        self.with_clock(spawn, UploadLocks::default(), seconds)
    }

    pub(crate) fn engine(&self, spawn: Arc<dyn Spawn>, locks: UploadLocks) -> Records {
        self.with_clock(spawn, locks, 0)
    }

    fn with_clock(&self, spawn: Arc<dyn Spawn>, locks: UploadLocks, seconds: i64) -> Records {
        Records::with_options(
            Meddled(self.records.clone(), Arc::clone(&self.control)),
            Meddled(self.extents.clone(), Arc::clone(&self.control)),
            self.options(spawn, locks, seconds),
        )
    }

    /// Those of an engine whose clock is off by so many seconds.
    pub(crate) fn options(
        &self,
        spawn: Arc<dyn Spawn>,
        locks: UploadLocks,
        seconds: i64,
    ) -> RecordsOptions {
        RecordsOptions {
            clock: Arc::new(TestClock(Arc::clone(&self.control), seconds)),
            spawn,
            locks,
            part_size: 1,
            checkpoint_bytes: u64::MAX,
            ..RecordsOptions::default()
        }
    }

    /// Lets the deletes happen that were late.
    pub(crate) fn settle_deletes(&self) {
        while let Some(key) = self.control.overdue() {
            block_on(self.extents.delete(&key)).unwrap();
        }
    }
}

impl Control {
    /// The call after `calls` more fails with `fault`, once.
    pub(crate) fn fail(&self, calls: u64, fault: Fault) {
        *self.plan.lock().unwrap() = Some((self.calls.load(Ordering::SeqCst) + calls, fault));
    }

    /// Whether the fault that was planned has happened.
    pub(crate) fn failed(&self) -> bool {
        self.plan.lock().unwrap().is_none()
    }

    /// The next write of a record whose key begins with `prefix` happens, but its answer gets lost, and
    /// `meanwhile` happens before anybody can look.
    pub(crate) fn overtake(
        &self,
        prefix: &str,
        meanwhile: impl Future<Output = ()> + Send + 'static,
    ) {
        let overtaking = Overtaking(Box::pin(meanwhile));
        *self.overtaking.lock().unwrap() = Some((prefix.to_owned(), overtaking));
    }

    /// Whether that has happened.
    pub(crate) fn overtaken(&self) -> bool {
        self.overtaking.lock().unwrap().is_none()
    }

    pub(crate) fn overtaking(&self, key: &str) -> Option<Task> {
        let mut overtaking = self.overtaking.lock().unwrap();
        let due = overtaking.take_if(|(prefix, _)| key.starts_with(prefix.as_str()));
        due.map(|(_, Overtaking(meanwhile))| meanwhile)
    }

    /// From now on calls fail at random.
    pub(crate) fn trouble(&self, seed: u64) {
        *self.odds.lock().unwrap() = Some(Dice::new(seed));
    }

    pub(crate) fn heal(&self) {
        *self.plan.lock().unwrap() = None;
        *self.odds.lock().unwrap() = None;
    }

    pub(crate) fn going_on<'a>(&self, after: Option<&'a str>) -> Option<&'a str> {
        after.filter(|_| !self.circles.load(Ordering::SeqCst))
    }

    pub(crate) fn overdue(&self) -> Option<String> {
        self.late.as_ref()?.lock().unwrap().pop_front()
    }

    pub(crate) async fn step(&self) -> Option<Fault> {
        self.give_way().await;
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(dice) = &mut *self.odds.lock().unwrap()
            && dice.below(40) == 0
        {
            return Some(Fault::ALL[dice.below(Fault::ALL.len())]);
        }
        let mut plan = self.plan.lock().unwrap();
        let due = plan.filter(|(at, _)| *at == call);
        if due.is_some() {
            *plan = None;
        }
        due.map(|(_, fault)| fault)
    }

    pub(crate) async fn give_way(&self) {
        if self.interleave {
            give_way().await;
        }
    }
}

#[derive(Debug)]
struct TestClock(Arc<Control>, i64);

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        let seconds = self.0.now.load(Ordering::SeqCst);
        let seconds = seconds.saturating_add_signed(self.1);
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }
}
