//! One keep-alive HTTP/1.1 connection.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::net::RecvFlags;
use rustls::{ClientConnection, StreamOwned};
use sha2::{Digest as _, Sha256};

use crate::content::{Content, STEP};
use crate::error::{Error, Result};
use crate::tls::TlsClient;

/// How long a server may be silent. A loaded one is slow, a broken one must not hang the run.
const SILENCE: Duration = Duration::from_secs(120);

/// The longest head of an answer, and the longest body that is kept.
const LONGEST_HEAD: usize = 64 * 1024;
const LONGEST_BODY: u64 = 256 << 20;

/// A connection to a server, which answers one request after the other.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    address: SocketAddr,
    /// Received and not yet consumed: `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Request<'a> {
    /// `GET` and so on.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Headers beside `Host` and `Content-Length`: lines that end in CR LF each.
    pub headers: &'a str,
    /// What is sent with it.
    pub body: Body<'a>,
}

/// The body of a request.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Body<'a> {
    /// None, and no length either.
    None,
    /// These bytes.
    Bytes(&'a [u8]),
    /// A part of a blob, from the first offset up to the second.
    Part(&'a Content, u64, u64),
}

/// The head of an answer.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Head {
    /// The status.
    pub status: u16,
    /// `Content-Length`.
    pub length: Option<u64>,
    /// Whether the body comes in chunks of a length of their own.
    pub chunked: bool,
    /// `Location`.
    pub location: Option<String>,
    /// `Docker-Content-Digest`.
    pub digest: Option<String>,
    /// `Range`.
    pub range: Option<String>,
}

/// An answer whose body was kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Vec<u8>,
}

impl<'a> Request<'a> {
    /// A request without headers of its own or a body.
    pub fn new(method: &'a str, target: &'a str) -> Self {
        Self {
            method,
            target,
            headers: "",
            body: Body::None,
        }
    }

    /// Sends these header lines, each of which ends in CR LF.
    #[must_use]
    pub fn headers(self, headers: &'a str) -> Self {
        Self { headers, ..self }
    }

    /// Sends this body.
    #[must_use]
    pub fn body(self, body: Body<'a>) -> Self {
        Self { body, ..self }
    }

    /// Method and target, as errors name it.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    /// The head as it is sent.
    pub fn head(&self, host: SocketAddr) -> String {
        let Self {
            method,
            target,
            headers,
            ..
        } = self;
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}");
        let length = match self.body {
            Body::None => None,
            Body::Bytes(bytes) => Some(bytes.len() as u64),
            Body::Part(_, from, to) => Some(to.saturating_sub(from)),
        };
        if let Some(length) = length {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        head.push_str("\r\n");
        head
    }
}

impl Connection {
    /// Connects without TLS.
    pub fn open(address: SocketAddr) -> Result<Self> {
        Ok(Self::new(Stream::Plain(connect(address)?), address))
    }

    /// Connects with TLS, or without if there is no client.
    pub fn open_with(address: SocketAddr, tls: Option<&TlsClient>) -> Result<Self> {
        let Some(tls) = tls else {
            return Self::open(address);
        };
        let tcp = connect(address)?;
        let tls = tls.connection().map_err(Error::io("TLS"))?;
        let stream = Box::new(StreamOwned::new(tls, tcp));
        Ok(Self::new(Stream::Tls(stream), address))
    }

    /// Goes on with a connection that [`connect`] made.
    pub fn from_stream(stream: TcpStream, address: SocketAddr) -> Self {
        Self::new(Stream::Plain(stream), address)
    }

    /// How long the server may be silent, if not two minutes.
    pub fn patience(&mut self, silence: Duration) -> Result<()> {
        let tcp = match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &tls.sock,
        };
        let set = tcp.set_read_timeout(Some(silence));
        set.and_then(|()| tcp.set_write_timeout(Some(silence)))
            .map_err(Error::io("set up a connection"))
    }

    /// Gives up the memory of its buffer, for a connection that will ask no more.
    pub fn shrink(&mut self) {
        self.buffer = Vec::new();
        (self.start, self.end) = (0, 0);
    }

    fn new(stream: Stream, address: SocketAddr) -> Self {
        Self {
            stream,
            address,
            buffer: vec![0; STEP],
            start: 0,
            end: 0,
        }
    }

    /// Sends a request and keeps the body of the answer, whatever the status.
    pub fn ask(&mut self, request: &Request<'_>) -> Result<Answer> {
        let mut body = Vec::new();
        let head = self.exchange(request, &mut |piece| body.extend_from_slice(piece))?;
        Ok(Answer { head, body })
    }

    /// The same, and fails if the status is not `expected`.
    pub fn expect(&mut self, request: &Request<'_>, expected: u16) -> Result<Answer> {
        let answer = self.ask(request)?;
        check_status(&request.name(), expected, &answer.head, &answer.body)?;
        Ok(answer)
    }

    /// Pulls a body of `expected` bytes and discards it in the kernel; with TLS, after decryption.
    pub fn discard(&mut self, request: &Request<'_>, expected: u64) -> Result<Head> {
        let name = request.name();
        self.send(request)?;
        let head = self.receive_head(&name)?;
        if head.status != 200 || head.chunked {
            let mut body = Vec::new();
            self.receive_body(&name, request.method, &head, &mut |piece| {
                body.extend_from_slice(piece);
            })?;
            check_status(&name, 200, &head, &body)?;
            check_length(&name, expected, body.len() as u64)?;
            return Ok(head);
        }
        let announced = announced(&name, &head)?;
        check_length(&name, expected, announced)?;
        let mut left = announced;
        left -= self.consume(left, &mut |_| ()) as u64;
        while left > 0 {
            let got = self.skip(left).map_err(Error::io(name.clone()))?;
            if got == 0 {
                return Err(Error::Length {
                    request: name,
                    expected,
                    got: expected - left,
                });
            }
            left -= got as u64;
        }
        Ok(head)
    }

    /// Pulls a body, and fails if its SHA-256 is not `digest`.
    pub fn verify(&mut self, request: &Request<'_>, length: u64, digest: &str) -> Result<Head> {
        let mut hash = Sha256::new();
        let mut got = 0;
        let mut start = Vec::new();
        let head = self.exchange(request, &mut |piece| {
            if start.len() < 200 {
                start.extend_from_slice(piece.get(..piece.len().min(200)).unwrap_or_default());
            }
            hash.update(piece);
            got += piece.len() as u64;
        })?;
        let name = request.name();
        check_status(&name, 200, &head, &start)?;
        check_length(&name, length, got)?;
        let hash = format!("sha256:{}", hex::encode(hash.finalize()));
        if hash != digest {
            return Err(Error::Bytes {
                request: name,
                what: format!("they hash to {hash}"),
            });
        }
        Ok(head)
    }

    /// Sends a request and nothing more.
    pub fn send(&mut self, request: &Request<'_>) -> Result<()> {
        let sent = self.send_all(request);
        if let Err(source) = sent {
            // A server that refuses a body says why before it closes.
            let name = request.name();
            return match self.receive_head(&name) {
                Ok(head) if head.status >= 400 => {
                    let mut body = Vec::new();
                    let _ = self.receive_body(&name, request.method, &head, &mut |piece| {
                        body.extend_from_slice(piece);
                    });
                    check_status(&name, 201, &head, &body)
                }
                _ => Err(Error::Io {
                    request: name,
                    source,
                }),
            };
        }
        Ok(())
    }

    fn exchange(&mut self, request: &Request<'_>, sink: &mut dyn FnMut(&[u8])) -> Result<Head> {
        let name = request.name();
        self.send(request)?;
        let head = self.receive_head(&name)?;
        self.receive_body(&name, request.method, &head, sink)?;
        Ok(head)
    }

    fn send_all(&mut self, request: &Request<'_>) -> io::Result<()> {
        let mut head = request.head(self.address).into_bytes();
        match request.body {
            Body::None => self.stream.write_all(&head)?,
            Body::Bytes(bytes) => {
                head.extend_from_slice(bytes);
                self.stream.write_all(&head)?;
            }
            Body::Part(content, from, to) => {
                self.stream.write_all(&head)?;
                let end = to.min(content.file_end());
                self.stream.send_file(content, from..end)?;
                self.stream.write_all(content.tail(from, to))?;
            }
        }
        self.stream.flush()
    }

    /// Reads the head of an answer to `name`. What informs only (1xx) is passed over.
    pub fn receive_head(&mut self, name: &str) -> Result<Head> {
        loop {
            let received = self.buffer.get(self.start..self.end).unwrap_or_default();
            if let Some((head, length)) = parse_head(name, received)? {
                self.start += length;
                if head.status >= 200 {
                    return Ok(head);
                }
            } else {
                if received.len() > LONGEST_HEAD {
                    return Err(Error::protocol(name, "the head of the answer has no end"));
                }
                self.fill(name)?;
            }
        }
    }

    fn receive_body(
        &mut self,
        name: &str,
        method: &str,
        head: &Head,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        if method == "HEAD" || matches!(head.status, 204 | 304) {
            return Ok(());
        }
        if !head.chunked {
            let length = announced(name, head)?;
            return self.receive_exactly(name, length, sink);
        }
        let mut total = 0;
        loop {
            let length = self.receive_chunk_size(name)?;
            total += length;
            if total > LONGEST_BODY {
                return Err(Error::protocol(name, "the body in chunks does not end"));
            }
            if length == 0 {
                // No server here sends trailers.
                return self.receive_exactly(name, 2, &mut |_| ());
            }
            self.receive_exactly(name, length, sink)?;
            self.receive_exactly(name, 2, &mut |_| ())?;
        }
    }

    fn receive_chunk_size(&mut self, name: &str) -> Result<u64> {
        loop {
            let received = self.buffer.get(self.start..self.end).unwrap_or_default();
            match httparse::parse_chunk_size(received) {
                Ok(httparse::Status::Complete((length, size))) => {
                    self.start += length;
                    return Ok(size);
                }
                Ok(httparse::Status::Partial) => self.fill(name)?,
                Err(_) => return Err(Error::protocol(name, "a chunk's size is no number")),
            }
        }
    }

    fn receive_exactly(
        &mut self,
        name: &str,
        length: u64,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let mut left = length;
        loop {
            left -= self.consume(left, sink) as u64;
            if left == 0 {
                return Ok(());
            }
            self.fill(name).map_err(|_| Error::Length {
                request: name.into(),
                expected: length,
                got: length - left,
            })?;
        }
    }

    /// Hands on what was received, at most `most` bytes, and returns how many.
    fn consume(&mut self, most: u64, sink: &mut dyn FnMut(&[u8])) -> usize {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let end = self.end.min(self.start.saturating_add(most));
        let piece = self.buffer.get(self.start..end).unwrap_or_default();
        let length = piece.len();
        if length > 0 {
            sink(piece);
        }
        self.start += length;
        length
    }

    /// Receives more; never nothing.
    fn fill(&mut self, name: &str) -> Result<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let got = self.stream.read(room).map_err(Error::io(name))?;
        if got == 0 {
            return Err(Error::protocol(name, "the server closed the connection"));
        }
        self.end += got;
        Ok(())
    }

    /// Receives at most `most` bytes without looking at them.
    fn skip(&mut self, most: u64) -> io::Result<usize> {
        let most = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        let room = self.buffer.get_mut(..most).unwrap_or_default();
        match &mut self.stream {
            Stream::Plain(tcp) => {
                // With TRUNC the kernel copies nothing and the buffer only bounds the length.
                let (got, _) = rustix::net::recv(&*tcp, room, RecvFlags::TRUNC)?;
                Ok(got)
            }
            Stream::Tls(tls) => tls.read(room),
        }
    }
}

impl Stream {
    fn send_file(&mut self, content: &Content, range: Range<u64>) -> io::Result<()> {
        let mut offset = range.start;
        match self {
            Self::Plain(tcp) => {
                while offset < range.end {
                    let left = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
                    let sent =
                        rustix::fs::sendfile(&*tcp, content.file(), Some(&mut offset), left)?;
                    if sent == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
            Self::Tls(tls) => {
                let mut piece = vec![0; STEP];
                while offset < range.end {
                    let left = usize::try_from(range.end - offset)
                        .unwrap_or(STEP)
                        .min(STEP);
                    let piece = piece.get_mut(..left).unwrap_or_default();
                    content.file().read_exact_at(piece, offset)?;
                    tls.write_all(piece)?;
                    offset += left as u64;
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(room),
            Self::Tls(tls) => tls.read(room),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.write_all(bytes),
            Self::Tls(tls) => tls.write_all(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// A TCP connection as all loads use it.
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).map_err(Error::io(format!("connect to {address}")))?;
    let set = || {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))
    };
    set().map_err(Error::io("set up a connection"))?;
    Ok(stream)
}

fn announced(name: &str, head: &Head) -> Result<u64> {
    head.length
        .ok_or_else(|| Error::protocol(name, "the answer has neither a length nor chunks"))
}

/// The head at the beginning of `received` and its length; nothing if more must come.
pub(crate) fn parse_head(name: &str, received: &[u8]) -> Result<Option<(Head, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(received) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => {
            return Err(Error::protocol(
                name,
                format!("the answer is not HTTP: {error}"),
            ));
        }
    };
    let mut head = Head {
        status: response.code.unwrap_or_default(),
        ..Head::default()
    };
    for header in &*response.headers {
        let value = || str::from_utf8(header.value).ok().map(str::to_owned);
        let named = |name: &str| header.name.eq_ignore_ascii_case(name);
        if named("content-length") {
            head.length = value().and_then(|value| value.parse().ok());
        } else if named("transfer-encoding") {
            head.chunked = header.value.eq_ignore_ascii_case(b"chunked");
        } else if named("location") {
            head.location = value();
        } else if named("docker-content-digest") {
            head.digest = value();
        } else if named("range") {
            head.range = value();
        }
    }
    Ok(Some((head, length)))
}

/// Fails if the status is not `expected`.
pub(crate) fn check_status(name: &str, expected: u16, head: &Head, body: &[u8]) -> Result<()> {
    if head.status == expected {
        return Ok(());
    }
    Err(Error::Status {
        request: name.into(),
        expected,
        got: head.status,
        body: excerpt(body),
    })
}

/// The beginning of a body for people to read; nothing if it is no text.
fn excerpt(body: &[u8]) -> String {
    let body = body.get(..body.len().min(200)).unwrap_or_default();
    let text = String::from_utf8_lossy(body).replace(['\r', '\n'], " ");
    if text.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        return String::new();
    }
    text.trim().to_owned()
}

pub(crate) fn check_length(name: &str, expected: u64, got: u64) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(Error::Length {
        request: name.into(),
        expected,
        got,
    })
}
