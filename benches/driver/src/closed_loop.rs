//! The same small request on many connections, the next as soon as the last was answered.
//!
//! Two threads with `epoll` and not one thread per connection: switching between hundreds of threads
//! would cost more than a fast server's answers do.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::connection::{Head, Request, check_length, check_status, connect, parse_head};
use crate::error::{Error, Result};
use crate::latency::Latencies;

const THREADS: usize = 2;

/// What is asked, and what must be answered.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Load<'a> {
    request: Request<'a>,
    /// The body; of a `HEAD`, what a `GET` would have.
    body: &'a [u8],
    digest: Option<&'a str>,
}

/// What was measured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tally {
    /// How many requests were answered, all of them well.
    pub requests: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// From sending a request to the end of its answer.
    pub latencies: Latencies,
}

impl Tally {
    /// Answers per second.
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }
}

impl<'a> Load<'a> {
    /// Answers must be 200 and have exactly this body.
    pub fn new(request: Request<'a>, body: &'a [u8]) -> Self {
        Self {
            request,
            body,
            digest: None,
        }
    }

    /// Answers must also have this `Docker-Content-Digest`.
    #[must_use]
    pub fn digest(self, digest: &'a str) -> Self {
        Self {
            digest: Some(digest),
            ..self
        }
    }

    /// Asks for so long, and at most so many times if `most` is given.
    pub fn run(
        &self,
        address: SocketAddr,
        connections: usize,
        time: Duration,
        most: Option<u64>,
    ) -> Result<Tally> {
        let threads = THREADS.min(connections).max(1);
        let barrier = Barrier::new(threads);
        let share = |all: u64, thread: usize| {
            let threads = threads as u64;
            all / threads + u64::from((thread as u64) < all % threads)
        };
        let results = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|thread| {
                    let barrier = &barrier;
                    let connections = share(connections as u64, thread);
                    let most = most.map(|most| share(most, thread));
                    scope.spawn(move || {
                        let lanes = self.connect(address, connections);
                        barrier.wait();
                        self.drive(lanes?, &self.request.head(address), time, most)
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|_| Err(crashed())))
                .collect::<Vec<_>>()
        });
        let mut tally = Tally {
            requests: 0,
            elapsed: Duration::ZERO,
            latencies: Latencies::default(),
        };
        for result in results {
            let part = result?;
            tally.requests += part.requests;
            tally.elapsed = tally.elapsed.max(part.elapsed);
            tally.latencies.add(&part.latencies);
        }
        Ok(tally)
    }

    fn connect(&self, address: SocketAddr, connections: u64) -> Result<Vec<Lane>> {
        let mut lanes = Vec::new();
        for _ in 0..connections {
            let stream = connect(address)?;
            stream
                .set_nonblocking(true)
                .map_err(Error::io(self.request.name()))?;
            lanes.push(Lane {
                stream,
                sent: Instant::now(),
                received: Vec::new(),
                busy: false,
            });
        }
        Ok(lanes)
    }

    fn drive(
        &self,
        mut lanes: Vec<Lane>,
        request: &str,
        time: Duration,
        most: Option<u64>,
    ) -> Result<Tally> {
        let name = self.request.name();
        let failed = |errno: Errno| Error::io(name.clone())(errno.into());
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let mut left = most.unwrap_or(u64::MAX);
        let start = Instant::now();
        let mut busy = 0_usize;
        for (index, lane) in lanes.iter_mut().enumerate() {
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&poll, &lane.stream, data, epoll::EventFlags::IN).map_err(failed)?;
            if left > 0 {
                left -= 1;
                busy += 1;
                lane.send(request.as_bytes()).map_err(failed)?;
            }
        }
        let mut tally = Tally {
            requests: 0,
            elapsed: Duration::ZERO,
            latencies: Latencies::default(),
        };
        let mut events = Vec::with_capacity(lanes.len().max(1));
        let mut room = vec![0; 64 * 1024];
        let silence = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        while busy > 0 {
            events.clear();
            match epoll::wait(
                &poll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&silence),
            ) {
                Ok(0) => return Err(failed(Errno::TIMEDOUT)),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(failed(errno)),
            }
            for event in &events {
                let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                let Some(lane) = lanes.get_mut(index) else {
                    continue;
                };
                if !lane.receive(self, &name, &mut room)? {
                    continue;
                }
                let now = Instant::now();
                tally.requests += 1;
                tally.latencies.record(now - lane.sent);
                if left > 0 && now - start < time {
                    left -= 1;
                    lane.send(request.as_bytes()).map_err(failed)?;
                } else {
                    busy -= 1;
                }
            }
        }
        tally.elapsed = start.elapsed();
        Ok(tally)
    }

    /// How long the answer at the beginning of `received` is, once all of it is there.
    fn check(&self, name: &str, received: &[u8]) -> Result<Option<usize>> {
        let Some((head, start)) = parse_head(name, received)? else {
            return Ok(None);
        };
        let after = received.get(start..).unwrap_or_default();
        check_status(name, 200, &head, after)?;
        self.check_headers(name, &head)?;
        if self.request.method == "HEAD" {
            return Ok(Some(start));
        }
        let Some(body) = after.get(..self.body.len()) else {
            return Ok(None);
        };
        if body != self.body {
            return Err(Error::Bytes {
                request: name.into(),
                what: "it is another document than was stored".into(),
            });
        }
        Ok(Some(start + body.len()))
    }

    fn check_headers(&self, name: &str, head: &Head) -> Result<()> {
        let length = head
            .length
            .ok_or_else(|| Error::protocol(name, "the answer has no Content-Length"))?;
        check_length(name, self.body.len() as u64, length)?;
        match self.digest {
            Some(digest) => crate::registry::check_digest(&self.request, head, digest),
            None => Ok(()),
        }
    }
}

/// One connection with at most one request under way.
struct Lane {
    stream: TcpStream,
    sent: Instant,
    received: Vec<u8>,
    busy: bool,
}

impl Lane {
    fn send(&mut self, request: &[u8]) -> rustix::io::Result<()> {
        self.sent = Instant::now();
        self.busy = true;
        let sent = rustix::net::send(&self.stream, request, SendFlags::NOSIGNAL)?;
        // The socket's buffer is empty, and larger than any request of this loop.
        if sent == request.len() {
            Ok(())
        } else {
            Err(Errno::MSGSIZE)
        }
    }

    /// Whether the answer is complete now.
    fn receive(&mut self, load: &Load<'_>, name: &str, room: &mut [u8]) -> Result<bool> {
        let got = match rustix::net::recv(&self.stream, &mut *room, RecvFlags::empty()) {
            Ok((got, _)) => got,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(errno) => return Err(Error::io(name)(errno.into())),
        };
        if got == 0 || !self.busy {
            return Err(Error::protocol(
                name,
                "the server closed the connection, or answered what was not asked",
            ));
        }
        let piece = room.get(..got).unwrap_or_default();
        // Nearly always the whole answer comes at once.
        let (length, available) = if self.received.is_empty() {
            (load.check(name, piece)?, got)
        } else {
            self.received.extend_from_slice(piece);
            (load.check(name, &self.received)?, self.received.len())
        };
        let Some(length) = length else {
            if self.received.is_empty() {
                self.received.extend_from_slice(piece);
            }
            return Ok(false);
        };
        if length != available {
            return Err(Error::protocol(name, "more bytes came than the answer has"));
        }
        self.received.clear();
        self.busy = false;
        Ok(true)
    }
}

fn crashed() -> Error {
    Error::io("drive load")(io::Error::other("a thread of the driver crashed"))
}
