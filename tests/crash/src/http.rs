//! A small blocking HTTP/1.1 client: one connection, kept alive, bodies streamed both ways.

use std::{
    io::{self, BufRead as _, BufReader, Read, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Bodies longer than this are taken by [`Connection::fetch`] only.
const KEPT_BODY: usize = 8 << 20;
const PIECE: usize = 64 * 1024;

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection could not be made, broke, or stalled.
    #[error("connection: {0}")]
    Transport(#[from] io::Error),
    /// What came is not an HTTP/1.1 answer.
    #[error("malformed answer: {0}")]
    Malformed(String),
}

/// What a request carries.
#[non_exhaustive]
pub enum Body<'a> {
    /// `Content-Length: 0`.
    Empty,
    /// Bytes at hand.
    Bytes(&'a [u8]),
    /// A stream of a length known ahead.
    Sized(&'a mut dyn Read, u64),
    /// A stream in chunked transfer coding.
    Chunked(&'a mut dyn Read),
}

impl std::fmt::Debug for Body<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "Empty",
            Self::Bytes(_) => "Bytes",
            Self::Sized(..) => "Sized",
            Self::Chunked(_) => "Chunked",
        })
    }
}

/// An answer.
#[derive(Debug)]
#[non_exhaustive]
pub struct Response {
    /// The status code.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// The body; empty when it went to a sink.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header, by lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A connection that is opened when needed and kept for the next request.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    timeout: Duration,
    stream: Option<BufReader<TcpStream>>,
}

impl Connection {
    /// A connection to be opened by the first request.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            timeout: Duration::from_secs(30),
            stream: None,
        }
    }

    /// Gives up when nothing moves for this long.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends a request and keeps the body of the answer.
    pub fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
    ) -> Result<Response, Error> {
        let mut kept = Vec::new();
        let mut response = self.exchange(method, target, headers, body, &mut |piece| {
            if kept.len() + piece.len() > KEPT_BODY {
                return Err(Error::Malformed("a body too long to keep".to_owned()));
            }
            kept.extend_from_slice(piece);
            Ok(())
        })?;
        response.body = kept;
        Ok(response)
    }

    /// Sends a `GET`; the body goes to `sink`.
    pub fn fetch(
        &mut self,
        target: &str,
        headers: &[(&str, &str)],
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Response, Error> {
        self.exchange("GET", target, headers, Body::Empty, &mut |piece| {
            sink(piece);
            Ok(())
        })
    }

    fn exchange(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<Response, Error> {
        // Taken out: an exchange that fails anywhere leaves no half-used connection behind.
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let mut head = Vec::with_capacity(512);
        write!(
            head,
            "{method} {target} HTTP/1.1\r\nHost: {}\r\n",
            self.address
        )?;
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n")?;
        }
        let sent = send(stream.get_mut(), head, body, method);
        // An answer may be there although the body did not go out; then it says why.
        let (sent, response) = match (sent, read_head(&mut stream)) {
            (sent, Ok(response)) => (sent.unwrap_or(false), response),
            (Err(error), Err(_)) => return Err(error.into()),
            (Ok(_), Err(error)) => return Err(error),
        };
        let bodiless = method == "HEAD" || matches!(response.status, 204 | 304);
        let delimited = bodiless || read_body(&mut stream, &response, sink)?;
        let closes = response
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if sent && delimited && !closes {
            self.stream = Some(stream);
        }
        Ok(response)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(BufReader::with_capacity(PIECE, stream))
    }
}

/// Sends head and body; false when the server answered before it had all of it.
fn send(
    stream: &mut TcpStream,
    mut head: Vec<u8>,
    body: Body<'_>,
    method: &str,
) -> io::Result<bool> {
    match body {
        Body::Empty => {
            if !matches!(method, "GET" | "HEAD") {
                head.extend_from_slice(b"Content-Length: 0\r\n");
            }
            head.extend_from_slice(b"\r\n");
            stream.write_all(&head)?;
            Ok(true)
        }
        Body::Bytes(bytes) => {
            write!(head, "Content-Length: {}\r\n\r\n", bytes.len())?;
            head.extend_from_slice(bytes);
            stream.write_all(&head)?;
            Ok(true)
        }
        Body::Sized(reader, len) => {
            write!(head, "Content-Length: {len}\r\n\r\n")?;
            stream.write_all(&head)?;
            pump(stream, reader, false)
        }
        Body::Chunked(reader) => {
            head.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            stream.write_all(&head)?;
            pump(stream, reader, true)
        }
    }
}

fn pump(stream: &mut TcpStream, reader: &mut dyn Read, chunked: bool) -> io::Result<bool> {
    let mut buffer = vec![0; PIECE];
    let mut message = Vec::with_capacity(PIECE + 32);
    loop {
        let len = reader.read(&mut buffer)?;
        let piece = buffer.get(..len).unwrap_or_default();
        if chunked {
            message.clear();
            write!(message, "{len:x}\r\n")?;
            message.extend_from_slice(piece);
            message.extend_from_slice(b"\r\n");
            stream.write_all(&message)?;
        } else {
            stream.write_all(piece)?;
        }
        if len == 0 {
            return Ok(true);
        }
        if answered(stream)? {
            return Ok(false);
        }
    }
}

/// Whether bytes wait to be read: an answer that came early.
fn answered(stream: &TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    match peeked {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

fn read_head(stream: &mut BufReader<TcpStream>) -> Result<Response, Error> {
    loop {
        let line = read_line(stream)?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| Error::Malformed(format!("status line {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = read_line(stream)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| Error::Malformed(format!("header line {line:?}")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if status >= 200 {
            return Ok(Response {
                status,
                headers,
                body: Vec::new(),
            });
        }
    }
}

fn read_line(stream: &mut BufReader<TcpStream>) -> Result<String, Error> {
    let mut line = Vec::new();
    stream.take(16 * 1024).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| Error::Malformed("a head that is not text".to_owned()))
}

/// Reads the body; false when only the end of the connection ended it.
fn read_body(
    stream: &mut BufReader<TcpStream>,
    response: &Response,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<bool, Error> {
    if let Some(len) = response.header("content-length") {
        let len = len
            .parse()
            .map_err(|_| Error::Malformed(format!("content-length {len:?}")))?;
        copy(stream, len, sink)?;
        return Ok(true);
    }
    if response.header("transfer-encoding") == Some("chunked") {
        loop {
            let line = read_line(stream)?;
            let len = u64::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
                .map_err(|_| Error::Malformed(format!("chunk size {line:?}")))?;
            copy(stream, len, sink)?;
            read_line(stream)?;
            if len == 0 {
                return Ok(true);
            }
        }
    }
    let mut buffer = vec![0; PIECE];
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Ok(false);
        }
        sink(buffer.get(..len).unwrap_or_default())?;
    }
}

fn copy(
    stream: &mut BufReader<TcpStream>,
    mut left: u64,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    while left > 0 {
        let buffer = stream.fill_buf()?;
        let len = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        if len == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        sink(buffer.get(..len).unwrap_or_default())?;
        stream.consume(len);
        left -= len as u64;
    }
    Ok(())
}
