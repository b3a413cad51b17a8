//! Timeouts on bytes: a peer that stops reading or stops asking is let go.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};

use super::Limits;
use super::prefixed::Prefixed;

/// What a connection is doing, shared between its bytes and its requests.
#[derive(Debug)]
pub(super) struct Activity {
    in_flight: AtomicUsize,
    served: AtomicU64,
    born: Instant,
    /// When it last had something to do, in milliseconds since `born`.
    used: AtomicU64,
    close: Notify,
    /// It was asked to end.
    asked: AtomicBool,
    /// Bytes came since the last request ended.
    heard: AtomicBool,
    /// The body of the last request was not read to its end.
    unread: AtomicBool,
    /// Something was written and not flushed yet.
    unsent: AtomicBool,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            in_flight: AtomicUsize::new(0),
            served: AtomicU64::new(0),
            born: Instant::now(),
            used: AtomicU64::new(0),
            close: Notify::new(),
            asked: AtomicBool::new(false),
            heard: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            unsent: AtomicBool::new(false),
        }
    }
}

impl Activity {
    /// Since when nothing was to be done; `None` while a request is in flight or its response on the way.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let busy =
            self.in_flight.load(Ordering::Relaxed) > 0 || self.unsent.load(Ordering::Relaxed);
        let used = Duration::from_millis(self.used.load(Ordering::Relaxed));
        (!busy).then(|| self.born + used)
    }

    /// Whether it has served something, and for so long there was nothing to read, to do or to send.
    pub(super) fn is_asleep(&self, long: Duration) -> bool {
        self.served.load(Ordering::Relaxed) > 0
            && !self.heard.load(Ordering::Relaxed)
            && !self.unread.load(Ordering::Relaxed)
            && self
                .idle_since()
                .is_some_and(|since| since.elapsed() >= long)
    }

    /// How many requests were answered.
    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Asks the connection to end as soon as no request is in flight.
    pub(super) fn close(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.close.notify_one();
    }

    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Waits until it shall end.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }

    /// Counts a request as in flight until the guard is dropped.
    pub(super) fn request(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }
}

#[derive(Debug)]
pub(super) struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.served.fetch_add(1, Ordering::Relaxed);
        let used = u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.used.store(used, Ordering::Relaxed);
        self.0.heard.store(false, Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that ends itself when the peer keeps it waiting.
///
/// While no request is in flight, reading must make progress: within `headers` before the first request,
/// within `idle` after it. While one is, only writing must: the peer may be waiting for us.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    activity: Arc<Activity>,
    before_first: Duration,
    idle: Duration,
    stalled: Duration,
    reading: Timer,
    writing: Timer,
}

/// Runs while something is waited for.
type Timer = Option<Pin<Box<Sleep>>>;

impl<S> Guarded<S> {
    /// `before_first` is what is left of the time for a connection's first headers.
    pub(super) fn new(
        stream: S,
        activity: Arc<Activity>,
        before_first: Duration,
        limits: &Limits,
    ) -> Self {
        Self {
            stream,
            activity,
            before_first,
            idle: limits.idle,
            stalled: limits.stalled,
            reading: None,
            writing: None,
        }
    }
}

impl<S> Guarded<Prefixed<S>> {
    /// The stream, with bytes put back that were read from it.
    pub(super) fn into_inner(self, unread: Bytes) -> Prefixed<S> {
        if unread.is_empty() {
            self.stream
        } else {
            self.stream.put_back(unread)
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buf) {
            this.activity.heard.store(true, Ordering::Relaxed);
            // The deadline before the first request is for all of its headers, not for each byte.
            if this.activity.served.load(Ordering::Relaxed) > 0 {
                this.reading = None;
            }
            return Poll::Ready(read);
        }
        if this.activity.in_flight.load(Ordering::Relaxed) > 0 {
            this.reading = None;
            return Poll::Pending;
        }
        let patience = if this.activity.served.load(Ordering::Relaxed) == 0 {
            this.before_first
        } else {
            this.idle
        };
        overdue(&mut this.reading, patience, cx)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.activity.unsent.store(true, Ordering::Relaxed);
        match Pin::new(&mut this.stream).poll_write(cx, buf) {
            Poll::Ready(written) => {
                this.writing = None;
                Poll::Ready(written)
            }
            Poll::Pending => overdue(&mut this.writing, this.stalled, cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.activity.unsent.store(true, Ordering::Relaxed);
        match Pin::new(&mut this.stream).poll_write_vectored(cx, bufs) {
            Poll::Ready(written) => {
                this.writing = None;
                Poll::Ready(written)
            }
            Poll::Pending => overdue(&mut this.writing, this.stalled, cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_flush(cx) {
            Poll::Ready(flushed) => {
                // Whoever writes flushes only after all of it was written.
                this.activity.unsent.store(false, Ordering::Relaxed);
                Poll::Ready(flushed)
            }
            Poll::Pending => overdue(&mut this.writing, this.stalled, cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // This is the end: there is nothing to sleep for.
        this.activity.unsent.store(true, Ordering::Relaxed);
        match Pin::new(&mut this.stream).poll_shutdown(cx) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => overdue(&mut this.writing, this.stalled, cx),
        }
    }
}

/// Starts the timer if it does not run, and fails once it has run out.
fn overdue<T>(timer: &mut Timer, patience: Duration, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
    let timer = timer.get_or_insert_with(|| Box::pin(sleep(patience)));
    timer
        .as_mut()
        .poll(cx)
        .map(|()| Err(io::ErrorKind::TimedOut.into()))
}

pin_project! {
    /// A request body that fails when nothing arrives for a while. Also counts its request as in flight.
    #[derive(Debug)]
    pub(super) struct TimedBody<B> {
        #[pin]
        body: B,
        activity: Arc<Activity>,
        patience: Duration,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<B: Body> TimedBody<B> {
    pub(super) fn new(body: B, activity: &Arc<Activity>, patience: Duration) -> Self {
        activity
            .unread
            .store(!body.is_end_stream(), Ordering::Relaxed);
        Self {
            body,
            activity: Arc::clone(activity),
            patience,
            timer: None,
        }
    }
}

impl<B: Body<Data = Bytes>> Body for TimedBody<B>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut this = self.project();
        if let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) {
            if frame.is_none() || this.body.is_end_stream() {
                this.activity.unread.store(false, Ordering::Relaxed);
            }
            // Rewinding a running timer is cheaper than making one for every frame.
            if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                timer.reset(Instant::now() + *this.patience);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if this.timer.is_none() {
            this.timer.set(Some(sleep(*this.patience)));
        }
        match this.timer.as_pin_mut().map(|timer| timer.poll(cx)) {
            Some(Poll::Ready(())) => {
                let seconds = this.patience.as_secs();
                Poll::Ready(Some(Err(format!(
                    "no byte of the body for {seconds} seconds"
                )
                .into())))
            }
            _ => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
