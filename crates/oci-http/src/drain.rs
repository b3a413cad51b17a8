//! What becomes of a request body that nobody read.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::EXPECT;
use http::request::Parts;
use http::{HeaderMap, Version};

use crate::request::RequestBody;

/// Reads what is left of a short body before the answer is sent.
///
/// A request is often answered before its body was read: refused, or in no need of it. Over HTTP/1.1 a
/// server then closes the connection with unread bytes in it, which the client's machine takes for a
/// broken connection: a client that sends first and reads later never sees the answer. So a short rest
/// is read and forgotten. A long one is not worth it; the client is told that the connection closes.
#[derive(Clone)]
pub(crate) struct Drain {
    /// The longest rest, in bytes.
    pub(crate) limit: u64,
    /// Ends the reading if the client is slow.
    pub(crate) timer: Option<Timer>,
}

impl Drain {
    /// Brings `body` to its end if that is cheap. `false` if the connection is no longer usable.
    pub(crate) async fn settle(&self, head: &Parts, body: &mut RequestBody) -> bool {
        // From HTTP/2 on, one stream is reset and the others live on.
        if body.is_ended() || head.version > Version::HTTP_11 {
            return true;
        }
        // This client waits for the answer, and reading from it would tell it to send.
        let waits = !body.is_touched() && expects_continue(&head.headers);
        if waits || body.at_least() > self.limit {
            return false;
        }
        let mut discard = pin!(body.discard(self.limit));
        let Some(timer) = &self.timer else {
            return discard.await;
        };
        let mut time = timer.sleep(PATIENCE);
        poll_fn(|cx| match discard.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => time.as_mut().poll(cx).map(|()| false),
        })
        .await
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            limit: DEFAULT_LIMIT,
            timer: None,
        }
    }
}

/// A way to wait, which the host hands in: it belongs to its runtime.
#[derive(Clone)]
pub(crate) struct Timer {
    sleep: Arc<dyn Fn(Duration) -> Sleep + Send + Sync>,
}

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Timer {
    pub(crate) fn new<F>(sleep: impl Fn(Duration) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            sleep: Arc::new(move |time| Box::pin(sleep(time))),
        }
    }

    fn sleep(&self, time: Duration) -> Sleep {
        (self.sleep)(time)
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timer")
    }
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// A chunk of usual size, or a manifest twice as large as any may be: its pusher should see the 413.
pub(crate) const DEFAULT_LIMIT: u64 = 8 * 1024 * 1024;
/// Time for a rest that is already on its way.
const PATIENCE: Duration = Duration::from_secs(1);
