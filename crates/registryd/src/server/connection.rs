//! One connection, from its first byte to its last response.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::server::TlsStream;

use super::Limits;
use super::app::{App, Sending};
use super::guard::{Activity, Guarded, TimedBody};
use super::handshakes::Handshakes;
use super::listener::{Peer, Socket};
use super::places::Place;
use super::prefixed::{Prefixed, Version};
use crate::tls::LiveTls;

/// What every connection needs.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) app: App,
    pub(super) limits: Arc<Limits>,
    pub(super) tls: Option<Arc<LiveTls>>,
    /// What is said of those that fail.
    pub(super) handshakes: Arc<Handshakes>,
    /// Turns true when the process shall stop.
    pub(super) stopping: watch::Receiver<bool>,
}

impl Shared {
    /// Serves a connection to its end. Whatever the peer does wrong ends only this connection.
    pub(super) async fn serve(self, socket: Socket, peer: Peer, place: &Place) {
        let activity = place.activity();
        let first = tokio::select! {
            first = timeout(self.limits.first_byte, socket.first_byte()) => first,
            () = activity.closed() => {
                tracing::debug!(%peer, "connection closed to make room");
                return;
            }
        };
        let Ok(Ok(Some(first))) = first else {
            tracing::debug!(%peer, "connection closed before its first byte");
            return;
        };
        // Boxed: a connection that has sent nothing yet, or sleeps, must not take the memory for it.
        Box::pin(self.begun(socket, first, peer, activity)).await;
    }

    async fn begun(self, socket: Socket, first: u8, peer: Peer, activity: &Arc<Activity>) {
        let Some(live) = &self.tls else {
            return self.http(socket, peer, activity).await;
        };
        if first != TLS_HANDSHAKE {
            return answer_plain_http(socket).await;
        }
        let handshake = live.accept(socket);
        let limit = self.limits.tls_handshake;
        match self.unless_told(activity, limit, limit, handshake).await {
            Some(Ok(Some(stream))) => self.http(stream, peer, activity).await,
            Some(Ok(None)) => {}
            Some(Err(error)) => self.handshakes.failed(&peer, &error),
            None => tracing::debug!(%peer, "TLS handshake took too long"),
        }
    }

    async fn http<S: Transport>(self, stream: S, peer: Peer, activity: &Arc<Activity>) {
        let begun = Instant::now();
        let headers = self.limits.headers;
        let mut stream = if self.limits.http2 {
            let sniffed = Prefixed::sniff(stream);
            match self
                .unless_told(activity, headers, FIRST_CALL, sniffed)
                .await
            {
                Some(Ok((Version::Http1, stream))) => stream,
                Some(Ok((Version::Http2, stream))) => {
                    return Box::pin(self.http2(stream, peer, activity)).await;
                }
                _ => {
                    tracing::debug!(%peer, "connection ended before its first request");
                    return;
                }
            }
        } else {
            Prefixed::new(bytes::Bytes::new(), stream)
        };
        let left = headers.saturating_sub(begun.elapsed());
        while let Some(idle) = Box::pin(self.http1(stream, &peer, activity, left)).await {
            stream = idle;
            if stream.is_plain() && !self.wake(&stream, activity).await {
                // With TLS, that this is the end and nothing was cut off.
                let _ = timeout(GOODBYE, stream.stream_mut().shutdown()).await;
                return;
            }
        }
    }

    /// Waits for something that comes before a request. `None` if it takes too long, which is `last` once the
    /// process shall stop, or if the connection shall make room.
    async fn unless_told<T>(
        &self,
        activity: &Activity,
        limit: Duration,
        last: Duration,
        what: impl Future<Output = T>,
    ) -> Option<T> {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            done = timeout(limit, Box::pin(what)) => done.ok(),
            () = activity.closed() => None,
            // The guard it returns must not live across an await.
            () = async {
                let _ = stopping.wait_for(|stopping| *stopping).await;
                sleep(last).await;
            } => None,
        }
    }

    /// How long to wait for a request, now that the connection is to end. Who has just come expects one
    /// answer: where a socket was handed over, the next process would have given it.
    fn last_call(&self, activity: &Activity) -> Duration {
        if *self.stopping.borrow() && activity.served() == 0 {
            FIRST_CALL
        } else {
            LAST_CALL
        }
    }

    /// Waits for the next request on a connection that holds no memory for one. `false` if there is none.
    async fn wake<S: Transport>(&self, stream: &Prefixed<S>, activity: &Activity) -> bool {
        // Counted from the last request: single bytes that are no request do not buy time.
        let idle = activity.idle_since().map(|since| since.elapsed());
        let left = self.limits.idle.saturating_sub(idle.unwrap_or_default());
        let first = stream.stream().socket().first_byte();
        matches!(
            self.unless_told(activity, left, Duration::ZERO, first)
                .await,
            Some(Ok(Some(_)))
        )
    }

    /// Serves requests until the connection ends, or has nothing to do: then it is given back.
    async fn http1<S: Transport>(
        &self,
        stream: Prefixed<S>,
        peer: &Peer,
        activity: &Arc<Activity>,
        before_first: Duration,
    ) -> Option<Prefixed<S>> {
        let may_sleep = stream.stream().socket().may_sleep();
        let stream = Guarded::new(stream, Arc::clone(activity), before_first, &self.limits);
        let service = service_fn(|request| self.answer(request, peer, activity));
        let builder = http1_builder(&self.limits);
        let mut connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut stopping = self.stopping.clone();
        let (mut pause, mut served) = (SLEEPS_AFTER, activity.served());
        let told = loop {
            tokio::select! {
                // First, so that it has just had nothing to do when it is taken apart.
                biased;
                ended = &mut connection => break Some(ended),
                () = async { let _ = stopping.wait_for(|stopping| *stopping).await; } => break None,
                () = activity.closed() => break None,
                () = sleep(pause), if may_sleep => {}
            }
            if activity.is_asleep(SLEEPS_AFTER) {
                let parts = connection.into_parts();
                return Some(parts.io.into_inner().into_inner(parts.read_buf));
            }
            // What takes long is asked less and less.
            let before = std::mem::replace(&mut served, activity.served());
            pause = if before == served {
                (pause * 2).min(SELDOM)
            } else {
                SLEEPS_AFTER
            };
        };
        let ended = if let Some(ended) = told {
            ended
        } else {
            // Requests in flight are answered; what is not even a request yet is not waited for.
            Pin::new(&mut connection).graceful_shutdown();
            loop {
                tokio::select! {
                    biased;
                    ended = &mut connection => break ended,
                    () = sleep(self.last_call(activity)) => {}
                }
                if activity.idle_since().is_some() {
                    break Ok(());
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended");
        }
        None
    }

    async fn http2<S: Transport>(self, stream: Prefixed<S>, peer: Peer, activity: &Arc<Activity>) {
        let headers = self.limits.headers;
        let stream = Guarded::new(stream, Arc::clone(activity), headers, &self.limits);
        let shared = Arc::new((self.clone(), peer.clone(), Arc::clone(activity)));
        // Each request is a task of its own.
        let service = service_fn(|request| {
            let shared = Arc::clone(&shared);
            async move {
                let (connection, peer, activity) = &*shared;
                connection.answer(request, peer, activity).await
            }
        });
        let builder = http2_builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut stopping = self.stopping.clone();
        let told = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = async { let _ = stopping.wait_for(|stopping| *stopping).await; } => None,
            () = activity.closed() => None,
        };
        let ended = if let Some(ended) = told {
            ended
        } else {
            // hyper would close it before its first request.
            let first = timeout(self.last_call(activity), async {
                while activity.served() == 0 && activity.idle_since().is_some() {
                    sleep(SLEEPS_AFTER).await;
                }
            });
            tokio::select! {
                ended = connection.as_mut() => ended,
                _ = first => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    async fn answer(
        &self,
        request: http::Request<Incoming>,
        peer: &Peer,
        activity: &Arc<Activity>,
    ) -> Result<http::Response<Sending<super::app::AppBody>>, Infallible> {
        let in_flight = activity.request();
        let stalled = self.limits.stalled;
        let request = request.map(|body| TimedBody::new(body, activity, stalled));
        let response = self.app.clone().answer(request, peer.clone()).await;
        // The body of the response may take long: it counts as in flight until it is sent.
        Ok(response.map(|body| Sending::new(body, in_flight)))
    }
}

/// A byte stream over a socket that can be asked whether something came.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn socket(&self) -> &Socket;
}

impl Transport for Socket {
    fn socket(&self) -> &Socket {
        self
    }
}

impl Transport for TlsStream<Socket> {
    fn socket(&self) -> &Socket {
        self.get_ref().0
    }
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // Without a timer hyper's header timeout never fires. It also runs between two requests, so it is
        // the longer of both; `Guarded` bounds the headers of a connection's first request.
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers.max(limits.idle))
        .max_buf_size(HTTP1_BUFFER);
    builder
}

fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        // hyper's defaults allow one connection to hold up to 80 MB.
        .max_concurrent_streams(64)
        .max_send_buf_size(64 * 1024)
        .initial_stream_window_size(512 * 1024)
        .initial_connection_window_size(2 * 1024 * 1024)
        .max_header_list_size(16 * 1024)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64)
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// A client that speaks plain HTTP to a TLS port is told so, in words it will print.
async fn answer_plain_http(mut socket: Socket) {
    const ANSWER: &[u8] = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
        This port speaks HTTPS: use https:// or remove the registry from your insecure registries.\n";
    let _ = timeout(std::time::Duration::from_secs(1), async {
        let _ = socket.write_all(ANSWER).await;
        let _ = socket.shutdown().await;
    })
    .await;
}

/// The first byte of every TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;
/// Holds the largest headers that are accepted, and is what one read of an upload may bring.
const HTTP1_BUFFER: usize = 128 * 1024;
/// How long a connection has nothing to do before the memory for its requests is given back. Waking up takes
/// some microseconds, so this may be short; and ten thousand clients may come within a second.
const SLEEPS_AFTER: Duration = Duration::from_millis(20);
/// How often a connection is looked at that has had the same to do for long.
const SELDOM: Duration = Duration::from_secs(1);
/// How long the first request of a connection may still be on its way when the process is to stop.
const FIRST_CALL: Duration = Duration::from_secs(5);
/// How long any other may be when the connection is to end.
const LAST_CALL: Duration = Duration::from_millis(100);
/// For the last words to a client that has nothing more to say.
const GOODBYE: Duration = Duration::from_secs(1);
