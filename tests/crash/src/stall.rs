//! Clients that stall in every phase of a connection, and servers that are told to stop.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    http::{Body, Connection},
    pause,
    payload::Payload,
    program::{Program, Tls},
    registry::{Found, Registry},
    server::Server,
};

/// A connection that never sends a byte is closed after this.
pub const FIRST_BYTE: Duration = Duration::from_secs(10);
/// A TLS handshake that does not end is closed after this.
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
/// Request headers that do not end are closed after this.
pub const HEADERS: Duration = Duration::from_secs(30);
/// A kept connection without a request is closed after this.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// A request body that does not go on is given up after this.
pub const BODY: Duration = Duration::from_secs(60);

/// A stop without uploads in flight, or the second signal, ends the process within this.
pub const STOP: Duration = Duration::from_secs(3);

const EARLY: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(5);

/// One way to stall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Case {
    /// Connects and says nothing.
    Silence,
    /// Begins a TLS handshake and does not go on.
    Handshake,
    /// Sends one byte of a header every second.
    Dribble,
    /// Ends a request and sends no other.
    Idle,
    /// Begins a body and does not go on.
    Body,
    /// `SIGTERM` while an upload is in flight: it is finished, then the process ends well.
    Drain,
    /// `SIGTERM` twice while an upload is stalled: the process ends.
    SecondSignal,
    /// A chunk at the wrong offset is refused before its body is read; the client sees the answer.
    EarlyAnswer,
}

impl Case {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Silence,
        Self::Handshake,
        Self::Dribble,
        Self::Idle,
        Self::Body,
        Self::Drain,
        Self::SecondSignal,
        Self::EarlyAnswer,
    ];

    /// Carries the case out on a server of its own.
    ///
    /// # Errors
    /// When the server does otherwise; says what it did.
    pub fn run(self, program: &Program, scratch: &Path) -> Result<String> {
        let scratch = scratch.join(format!("{self:?}"));
        let storage = scratch.join("store");
        std::fs::create_dir_all(&storage)?;
        if self == Self::Handshake {
            let tls = Tls::generate(&scratch)?;
            let server = Server::start_with(program, &storage, &scratch, Some(&tls))?;
            return handshake(server.address());
        }
        let mut server = Server::start(program, &storage, &scratch)?;
        let address = server.address();
        match self {
            Self::Silence => closes("a silent connection", connect(address)?, FIRST_BYTE),
            Self::Dribble => dribble(address),
            Self::Idle => idle(address),
            Self::Body => body(address),
            Self::Drain => drain(&mut server),
            Self::SecondSignal => second_signal(&mut server),
            Self::EarlyAnswer => early_answer(address),
            Self::Handshake => Ok(String::new()),
        }
    }
}

/// All cases at the same time, since they mostly wait; a line for each.
///
/// # Errors
/// When one fails; the message holds all that did.
pub fn run(cases: &[Case], program: &Program, scratch: &Path) -> Result<String> {
    let outcomes: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = cases
            .iter()
            .map(|case| (case, scope.spawn(|| case.run(program, scratch))))
            .collect();
        running
            .into_iter()
            .map(|(case, thread)| {
                let outcome = thread.join();
                (
                    case,
                    outcome.unwrap_or_else(|_| bail!("the check panicked")),
                )
            })
            .collect()
    });
    let mut failed = Vec::new();
    let mut passed = Vec::new();
    for (case, outcome) in outcomes {
        match outcome {
            Ok(what) => passed.push(format!("{case:?}: {what}")),
            Err(error) => failed.push(format!("{case:?}: {error:#}")),
        }
    }
    ensure!(
        failed.is_empty(),
        "{}; passed: {}",
        failed.join("; "),
        passed.join("; ")
    );
    Ok(passed.join("; "))
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect(address).context("connect")
}

/// Waits for the server to close, which must happen about `limit` after now.
fn closes(what: &str, mut stream: TcpStream, limit: Duration) -> Result<String> {
    let started = Instant::now();
    stream.set_read_timeout(Some(limit + LATE))?;
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    judge(
        what,
        started,
        limit,
        end.is_err_and(|error| would_wait(&error)),
        &answer,
    )
}

fn would_wait(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn judge(
    what: &str,
    started: Instant,
    limit: Duration,
    open: bool,
    answer: &[u8],
) -> Result<String> {
    let took = started.elapsed();
    let answer = String::from_utf8_lossy(answer);
    let first = answer.lines().next().unwrap_or("no answer");
    ensure!(
        !open,
        "{what} is still open after {took:.1?}; the limit is {limit:?}"
    );
    ensure!(
        took + EARLY >= limit,
        "{what} is closed after {took:.1?} ({first}); it may take {limit:?}"
    );
    Ok(format!("{what} closed after {took:.1?} ({first})"))
}

fn handshake(address: SocketAddr) -> Result<String> {
    let mut stream = connect(address)?;
    // The record header of a ClientHello of 512 bytes, and one byte of it.
    stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])?;
    closes("a TLS handshake", stream, TLS_HANDSHAKE)
}

fn dribble(address: SocketAddr) -> Result<String> {
    let started = Instant::now();
    let mut stream = connect(address)?;
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: registry\r\nX: ")?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut answer = Vec::new();
    while started.elapsed() < HEADERS + LATE {
        let closed = stream.write_all(b"x").is_err()
            || match stream.read_to_end(&mut answer) {
                Ok(_) => true,
                Err(error) => !would_wait(&error),
            };
        if closed {
            return judge("a dribbled header", started, HEADERS, false, &answer);
        }
    }
    judge("a dribbled header", started, HEADERS, true, &answer)
}

fn idle(address: SocketAddr) -> Result<String> {
    let mut stream = connect(address)?;
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n")?;
    let mut answer = [0; 4096];
    let len = stream.read(&mut answer)?;
    ensure!(
        answer.starts_with(b"HTTP/1.1 200"),
        "GET /v2/ answered {len} bytes of something else"
    );
    closes("an idle connection", stream, KEEP_ALIVE)
}

fn body(address: SocketAddr) -> Result<String> {
    let mut session = Registry::new(address).begin("stall/body")?;
    let mut stream = connect(address)?;
    let head = format!(
        "PATCH {} HTTP/1.1\r\nHost: registry\r\nContent-Length: 1000000\r\n\r\n",
        session.location
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&[0; 1000])?;
    let closed = closes("a stalled body", stream, BODY)?;
    let status = Registry::new(address).upload_status(&mut session)?;
    ensure!(
        matches!(status, Found::Here(0..=1000)),
        "{closed}; the upload is {status:?} afterwards"
    );
    Ok(format!("{closed}, upload {status:?}"))
}

/// Content that flows for about a second and a half.
struct Slow(crate::payload::Reader);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        pause(Duration::from_millis(25));
        let len = buffer.len().min(16 << 10);
        self.0.read(buffer.get_mut(..len).unwrap_or_default())
    }
}

fn drain(server: &mut Server) -> Result<String> {
    let payload = Payload::new(99, 1 << 20);
    let address = server.address();
    let mut registry = Registry::new(address);
    let mut session = registry.begin("stall/drain")?;
    let outcome = thread::scope(|scope| -> Result<_> {
        let upload = scope
            .spawn(|| registry.stream(&mut session, &mut Slow(payload.reader(0, payload.len()))));
        pause(Duration::from_millis(300));
        server.terminate()?;
        pause(Duration::from_millis(300));
        let refused = TcpStream::connect(address).is_err();
        Ok((upload.join(), refused))
    })?;
    let (upload, refused) = outcome;
    let reached = upload
        .map_err(|_| anyhow::anyhow!("the upload panicked"))?
        .context("the upload in flight was not finished")?;
    ensure!(
        reached == payload.len(),
        "the upload in flight was cut at {reached}"
    );
    ensure!(refused, "new connections are still accepted after SIGTERM");
    let Some(status) = server.ended_within(STOP)? else {
        bail!("still running {STOP:?} after the last request was answered");
    };
    ensure!(status.success(), "ended with {status} after SIGTERM");
    Ok("the upload in flight was finished, then the process ended with 0".to_owned())
}

fn second_signal(server: &mut Server) -> Result<String> {
    let address = server.address();
    let session = Registry::new(address).begin("stall/second")?;
    let mut stream = connect(address)?;
    let head = format!(
        "PATCH {} HTTP/1.1\r\nHost: registry\r\nContent-Length: 1000000\r\n\r\n",
        session.location
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&[0; 1000])?;
    pause(Duration::from_millis(300));
    server.terminate()?;
    if let Some(status) = server.ended_within(Duration::from_millis(700))? {
        bail!("one SIGTERM ended the process ({status}) with an upload in flight");
    }
    server.terminate()?;
    let started = Instant::now();
    let Some(status) = server.ended_within(STOP)? else {
        bail!("still running {STOP:?} after the second SIGTERM");
    };
    Ok(format!(
        "ended with {status} {:.1?} after the second SIGTERM",
        started.elapsed()
    ))
}

fn early_answer(address: SocketAddr) -> Result<String> {
    let payload = Payload::new(416, 1 << 20);
    let target = Registry::new(address).begin("stall/early")?.location;
    let end = 5000 + payload.len() - 1;
    let range = format!("5000-{end}");
    let mut bytes = Vec::new();
    payload.reader(0, payload.len()).read_to_end(&mut bytes)?;
    for round in 0..20 {
        let headers = [("Content-Range", range.as_str())];
        // The first client sends all before it looks for an answer, the second looks meanwhile.
        let mut reader = payload.reader(0, payload.len());
        let body = match round % 2 {
            0 => Body::Bytes(&bytes),
            _ => Body::Sized(&mut reader, payload.len()),
        };
        let response = Connection::new(address)
            .send("PATCH", &target, &headers, body)
            .with_context(|| {
                format!("attempt {round}: no answer to a chunk of 1 MiB at the wrong offset")
            })?;
        ensure!(
            response.status == 416,
            "a chunk at the wrong offset answered {}",
            response.status
        );
        ensure!(
            response.header("range").is_some() && response.header("location").is_some(),
            "the 416 does not say where to go on"
        );
    }
    Ok("20 times 416 to 1 MiB, seen each time".to_owned())
}
