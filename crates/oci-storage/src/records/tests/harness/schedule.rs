//! A scheduler that interleaves at random, as a seed repeats it.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::world::World;
use crate::records::{ExtentStore, Spawn};

/// Random numbers that a seed repeats.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Polls whichever task the dice name, until all are done.
pub(crate) struct Schedule {
    tasks: Vec<Task>,
    spawned: Arc<Queue>,
    dice: Dice,
    /// The most steps that one task makes before another has its turn.
    burst: usize,
    world: World,
}

/// Work that outlived its caller.
#[derive(Default)]
pub(crate) struct Queue(Mutex<Vec<Task>>);

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

impl Spawn for Queue {
    fn spawn(&self, work: Task) {
        self.0.lock().unwrap().push(work);
    }
}

/// What a process that has crashed does with work that outlived its caller.
#[derive(Debug)]
pub(crate) struct Crashed;

impl Spawn for Crashed {
    fn spawn(&self, work: Task) {
        // Its own work that is left behind must not be handed over again and again.
        std::mem::forget(work);
    }
}

impl Schedule {
    pub(crate) fn new(world: &World, seed: u64) -> Self {
        Self {
            tasks: Vec::new(),
            spawned: Arc::default(),
            dice: Dice::new(seed),
            // Steps in turn, and tasks that are held up while others get far.
            burst: [1, 10, 60][usize::try_from(seed % 3).unwrap()],
            world: world.clone(),
        }
    }

    pub(crate) fn spawner(&self) -> Arc<dyn Spawn> {
        Arc::clone(&self.spawned) as Arc<dyn Spawn>
    }

    pub(crate) fn add(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(Box::pin(task));
    }

    /// Runs everything. With `crashes`, a task is dropped now and then.
    pub(crate) fn run(mut self, crashes: bool) {
        let mut context = Context::from_waker(Waker::noop());
        let mut steps = 0_u64;
        loop {
            self.tasks.append(&mut self.spawned.0.lock().unwrap());
            if self.tasks.is_empty() {
                return;
            }
            steps += 1;
            assert!(steps < 1_000_000, "no end in sight");
            if self.dice.below(8) == 0
                && let Some(key) = self.world.control.overdue()
            {
                block_on(self.world.extents.delete(&key)).unwrap();
            }
            let at = self.dice.below(self.tasks.len());
            if crashes && self.dice.below(300) < self.burst {
                drop(self.tasks.swap_remove(at));
                continue;
            }
            for _ in 0..=self.dice.below(self.burst) {
                if self.tasks[at].as_mut().poll(&mut context).is_ready() {
                    drop(self.tasks.swap_remove(at));
                    break;
                }
            }
        }
    }
}

/// Polls until ready; nothing here ever waits for another thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10_000_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
    panic!("no end in sight");
}

/// Lets others have their turn.
pub(crate) async fn give_way() {
    let mut given = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
