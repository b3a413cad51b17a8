//! How large a body may be, and whether it reaches the registry while it is sent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::Notify;

use super::{Door, Finding, LIMIT};
use crate::cli::client::Body;

/// Larger than layers usually are; it is announced only, not sent.
const LARGE: u64 = 8 << 30;
/// The size of what is sent. Several proxies allow 1 MiB unless they are told otherwise.
const SENT: usize = 8 << 20;
const PIECE: usize = 64 << 10;
const LIMITS: &str = "nginx: `client_max_body_size 0`; ingress-nginx: `nginx.ingress.kubernetes.io/proxy-body-size: \"0\"`; `registryd proxy-config` prints what fits";

/// Looks at both. Each body that is sent has an upload of its own: the end of one that was cut may not have
/// reached the registry when the next begins.
pub(super) async fn examine(door: &Door<'_>, session: &str) -> Vec<Finding> {
    let announced = announced(door, session).await;
    if announced.fix.is_some() {
        return vec![announced];
    }
    let (Some(mut cut), Some(whole)) = (door.session().await, door.session().await) else {
        return vec![announced];
    };
    let streamed = streamed(door, &mut cut).await;
    let sent = sent(door, &whole).await;
    for session in [cut, whole] {
        // That of the first upload tells whether cancelling works.
        let _ = door.cancel(&session).await;
    }
    let size = sent.unwrap_or(announced);
    std::iter::once(size).chain(streamed).collect()
}

/// What is said to a body that is announced.
enum Said {
    /// It may come.
    Continue,
    /// It is too large.
    TooLarge(HeaderMap),
    /// The connection was closed at once.
    Closed(io::Error),
    /// Another status, which is not about the size.
    Otherwise,
}

/// Announces bodies with `Expect: 100-continue`, the largest first, until one may come. Only the head is
/// sent.
async fn announced(door: &Door<'_>, session: &str) -> Finding {
    let mut refused = None;
    let mut size = LARGE;
    while size >= 1 << 20 {
        match announce(door, session, size).await {
            Said::Continue | Said::Otherwise => break,
            Said::TooLarge(headers) => refused = Some((size, Ok(headers))),
            Said::Closed(error) => refused = Some((size, Err(error))),
        }
        size /= 2;
    }
    let Some((least, how)) = refused else {
        return Finding::ok("body-size", format!("bodies of {} may come", shown(LARGE)));
    };
    let what = if size < 1 << 20 {
        format!("a body of {}", shown(least))
    } else {
        format!(
            "a body of {} (one of {} may come)",
            shown(least),
            shown(size)
        )
    };
    match how {
        Ok(headers) => too_large(&headers, &what),
        Err(error) => Finding::error(
            "body-size",
            format!("the connection is cut when {what} is announced: {error}"),
            LIMITS,
        ),
    }
}

async fn announce(door: &Door<'_>, session: &str, size: u64) -> Said {
    let may_come = Arc::new(Notify::new());
    let asked = async {
        let body = pieces(0, Arc::new(Notify::new()));
        let mut request = door.request(Method::PATCH, session, body)?;
        request.headers_mut().extend(upload_headers(Some(size)));
        let expect = HeaderValue::from_static("100-continue");
        request.headers_mut().insert(EXPECT, expect);
        let told = Arc::clone(&may_come);
        hyper::ext::on_informational(&mut request, move |told_early| {
            if told_early.status() == StatusCode::CONTINUE {
                told.notify_one();
            }
        });
        let mut connection = door.open().await?;
        connection.exchange(request).await
    };
    tokio::select! {
        // Whoever said that it may come and closed the connection then has said it first.
        biased;
        () = may_come.notified() => Said::Continue,
        answer = asked => match answer {
            Ok(answer) if answer.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Said::TooLarge(answer.headers().clone())
            }
            Ok(_) => Said::Otherwise,
            Err(error) => Said::Closed(error),
        },
        // Whoever does not know `Expect` waits for the body.
        () = tokio::time::sleep(LIMIT / 3) => Said::Continue,
    }
}

/// Sends a body whose size is not announced: some count while they read.
async fn sent(door: &Door<'_>, session: &str) -> Option<Finding> {
    let body = StreamBody::new(futures_util::stream::iter(
        (0..SENT / PIECE).map(|_| Ok::<_, io::Error>(Frame::data(zeros()))),
    ));
    let answer = door
        .ask(
            Method::PATCH,
            session,
            upload_headers(None),
            body.boxed_unsync(),
        )
        .await;
    let what = format!("a body of {}", shown(SENT as u64));
    match answer {
        Ok(answer) if answer.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Some(too_large(answer.headers(), &what))
        }
        Ok(answer) if answer.status().is_success() => None,
        Ok(answer) => Some(Finding::error(
            "body-size",
            format!("{what} is answered {}", answer.status()),
            "look at the log of the registry, or of the proxy before it",
        )),
        Err(error) => Some(Finding::error(
            "body-size",
            format!("the connection is cut while {what} is sent: {error}"),
            LIMITS,
        )),
    }
}

/// Who refused a body, and what allows it.
pub(super) fn too_large(headers: &HeaderMap, what: &str) -> Finding {
    if headers.contains_key("docker-distribution-api-version") {
        return Finding::error(
            "body-size",
            format!("the registry refuses {what} with 413"),
            "look at the log of the registry for the limit that was met",
        );
    }
    Finding::error(
        "body-size",
        format!("a proxy before the registry refuses {what} with 413 Payload Too Large"),
        LIMITS,
    )
}

/// Cuts a body off in the middle: if the registry has what was sent, it came through while it was sent.
async fn streamed(door: &Door<'_>, session: &mut String) -> Option<Finding> {
    const HALF: usize = 16;
    let taken = Arc::new(Notify::new());
    let asked = async {
        let body = pieces(HALF, Arc::clone(&taken));
        let mut request = door.request(Method::PATCH, session, body)?;
        let whole = (HALF * PIECE * 2) as u64;
        request.headers_mut().extend(upload_headers(Some(whole)));
        let mut connection = door.open().await?;
        connection.exchange(request).await
    };
    tokio::select! {
        // An answer to half a body is for others to explain.
        _ = asked => return None,
        () = taken.notified() => {}
        () = tokio::time::sleep(LIMIT / 6) => return None,
    }
    // What the registry received is known when it has seen the end of the connection.
    let mut received = None;
    for _ in 0..25 {
        received = door.received(session).await;
        if received.is_some_and(|bytes| bytes > 0) {
            return Some(Finding::ok(
                "buffering",
                "what is sent reaches the registry at once, and an upload that is cut goes on where it stood",
            ));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    received?;
    Some(if door.proxied {
        Finding::warning(
            "buffering",
            "of an upload that is cut nothing reaches the registry: the proxy collects bodies before it passes them on",
            "nginx: `proxy_request_buffering off`; else large pushes stall, fill the proxy's disk, and start over when they are cut",
        )
    } else {
        Finding::ok("buffering", "an upload that is cut starts over")
    })
}

fn upload_headers(size: Option<u64>) -> HeaderMap {
    let typed = HeaderValue::from_static("application/octet-stream");
    let length = size.map(|size| (CONTENT_LENGTH, HeaderValue::from(size)));
    let all: [Option<(HeaderName, HeaderValue)>; 2] = [Some((CONTENT_TYPE, typed)), length];
    all.into_iter().flatten().collect()
}

fn zeros() -> Bytes {
    static PIECE_OF_ZEROS: [u8; PIECE] = [0; PIECE];
    Bytes::from_static(&PIECE_OF_ZEROS)
}

/// A body that gives some pieces, tells that they were taken, and never ends.
fn pieces(count: usize, taken: Arc<Notify>) -> Body {
    Unending { count, taken }.boxed_unsync()
}

struct Unending {
    count: usize,
    taken: Arc<Notify>,
}

impl http_body::Body for Unending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.count.checked_sub(1) {
            Some(left) => {
                self.count = left;
                Poll::Ready(Some(Ok(Frame::data(zeros()))))
            }
            None => {
                self.taken.notify_one();
                Poll::Pending
            }
        }
    }
}

fn shown(size: u64) -> String {
    if size >= 1 << 30 {
        format!("{} GiB", size >> 30)
    } else {
        format!("{} MiB", size >> 20)
    }
}
