//! Work that goes on after the caller has left.

use std::fmt;
use std::fmt::Debug;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use futures_util::future::BoxFuture;
use oci_core::runtime::{BlockingPool, ThreadPool};

/// Runs futures to their end.
///
/// A push or delete that is past its point of no return has to be completed even if the request that
/// asked for it is gone. Stores that need a runtime need a `Spawn` of that runtime; for tokio:
///
/// ```
/// use std::pin::Pin;
///
/// use oci_storage::records::Spawn;
///
/// #[derive(Debug)]
/// struct OnTokio(tokio::runtime::Handle);
///
/// impl Spawn for OnTokio {
///     fn spawn(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
///         self.0.spawn(work);
///     }
/// }
/// ```
pub trait Spawn: Debug + Send + Sync + 'static {
    /// Runs `work` soon. Never blocks the caller.
    fn spawn(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>);
}

/// Runs each future on a thread of a blocking pool. For stores that need no runtime.
#[derive(Clone, Debug)]
pub struct PoolSpawn {
    pool: Arc<dyn BlockingPool>,
}

impl PoolSpawn {
    /// Runs futures on `pool`.
    pub fn new(pool: Arc<dyn BlockingPool>) -> Self {
        Self { pool }
    }
}

impl Default for PoolSpawn {
    /// Up to 4 threads, started when first needed.
    fn default() -> Self {
        Self::new(Arc::new(ThreadPool::new(4)))
    }
}

impl Spawn for PoolSpawn {
    fn spawn(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.pool.execute(Box::new(move || block_on(work)));
    }
}

/// Drives `work` with its caller as long as that stays, and hands it to `spawn` if it leaves.
///
/// # Cancel safety
/// Dropped before the first poll, nothing happens; after it, `work` runs to its end.
pub(super) async fn to_the_end<T: Send + 'static>(
    spawn: Arc<dyn Spawn>,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let work: BoxFuture<'static, T> = Box::pin(work);
    Detaching {
        work: Some(work),
        spawn,
    }
    .await
}

struct Detaching<T: Send + 'static> {
    work: Option<BoxFuture<'static, T>>,
    spawn: Arc<dyn Spawn>,
}

impl<T: Send + 'static> Future for Detaching<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.work else {
            return Poll::Pending;
        };
        let ready = work.as_mut().poll(cx);
        if ready.is_ready() {
            self.work = None;
        }
        ready
    }
}

impl<T: Send + 'static> Drop for Detaching<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.spawn.spawn(Box::pin(async move {
                work.await;
            }));
        }
    }
}

fn block_on(work: BoxFuture<'static, ()>) {
    let mut work = pin!(work);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    while work.as_mut().poll(&mut context).is_pending() {
        std::thread::park();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl fmt::Debug for Unpark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unpark")
    }
}
