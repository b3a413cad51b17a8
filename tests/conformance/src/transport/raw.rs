//! A bare TCP connection, for bytes that no HTTP library would send.

use std::{io, net::SocketAddr, time::Duration};

use bytes::{Buf as _, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use crate::failure::{Failure, ensure, fail};

/// Nothing on loopback takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection whose bytes the case writes itself.
#[derive(Debug)]
pub(crate) struct RawConnection {
    reader: RawReader,
    writer: OwnedWriteHalf,
}

/// The reading half of a [`RawConnection`].
#[derive(Debug)]
pub(crate) struct RawReader {
    half: OwnedReadHalf,
    buffer: BytesMut,
}

/// A response read off a bare connection.
#[derive(Debug)]
pub(crate) struct RawResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl RawConnection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| Failure::new(format!("connecting to {address}: {error}")))?;
        let (half, writer) = stream.into_split();
        Ok(Self {
            reader: RawReader {
                half,
                buffer: BytesMut::new(),
            },
            writer,
        })
    }

    /// Writes all of `bytes`.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match timeout(PATIENCE, self.writer.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => fail!("writing {} bytes: {error}", bytes.len()),
            Err(_) => fail!("writing {} bytes: the server takes no more", bytes.len()),
        }
    }

    /// Reads one response; `to_head` says that it answers a HEAD and has no body.
    pub(crate) async fn response(&mut self, to_head: bool) -> Result<RawResponse, Failure> {
        self.reader.response(to_head).await
    }

    /// Reads one response, or `None` if the server closed the connection without any.
    pub(crate) async fn response_or_close(&mut self) -> Result<Option<RawResponse>, Failure> {
        if self.reader.buffer.is_empty() && self.reader.fill().await.unwrap_or(0) == 0 {
            return Ok(None);
        }
        self.reader.response(false).await.map(Some)
    }

    /// True if the server closes the connection within a few seconds.
    pub(crate) async fn is_closed_soon(&mut self) -> bool {
        let mut scratch = [0_u8; 1024];
        let wait = timeout(Duration::from_secs(5), self.reader.half.read(&mut scratch)).await;
        matches!(wait, Ok(Ok(0) | Err(_)))
    }

    /// The two halves, to read and write at the same time.
    pub(crate) fn split(self) -> (RawReader, OwnedWriteHalf) {
        (self.reader, self.writer)
    }
}

impl RawReader {
    /// Reads one response. Interim 1xx responses are returned like any other, without a body.
    pub(crate) async fn response(&mut self, to_head: bool) -> Result<RawResponse, Failure> {
        let (status, headers) = loop {
            if let Some(head) = self.parse_head()? {
                break head;
            }
            let read = self
                .fill()
                .await
                .map_err(|error| Failure::new(format!("reading the response head: {error}")))?;
            ensure!(
                read > 0,
                "the connection was closed before a complete response head"
            );
        };
        let bodiless = to_head
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        let body = if bodiless {
            Vec::new()
        } else if let Some(length) = headers.get("content-length") {
            let length = length.to_str().ok().and_then(|text| text.parse().ok());
            let Some(length) = length else {
                fail!("unreadable Content-Length in {headers:?}")
            };
            self.take(length).await?
        } else if headers
            .get("transfer-encoding")
            .is_some_and(|value| value == "chunked")
        {
            self.chunked().await?
        } else {
            self.rest().await?
        };
        Ok(RawResponse {
            status,
            headers,
            body,
        })
    }

    fn parse_head(&mut self) -> Result<Option<(StatusCode, HeaderMap)>, Failure> {
        let mut storage = [httparse::EMPTY_HEADER; 100];
        let mut parsed = httparse::Response::new(&mut storage);
        let length = match parsed.parse(&self.buffer) {
            Ok(httparse::Status::Partial) => return Ok(None),
            Ok(httparse::Status::Complete(length)) => length,
            Err(error) => fail!("the response is not HTTP: {error}: {:?}", self.buffer),
        };
        let status = StatusCode::from_u16(parsed.code.unwrap_or_default())
            .map_err(|error| Failure::new(format!("the response's status: {error}")))?;
        let mut headers = HeaderMap::new();
        for header in parsed.headers.iter() {
            let name = HeaderName::from_bytes(header.name.as_bytes());
            let value = HeaderValue::from_bytes(header.value);
            let (Ok(name), Ok(value)) = (name, value) else {
                fail!("the response has a malformed header {header:?}")
            };
            headers.append(name, value);
        }
        self.buffer.advance(length);
        Ok(Some((status, headers)))
    }

    async fn fill(&mut self) -> io::Result<usize> {
        timeout(PATIENCE, self.half.read_buf(&mut self.buffer))
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in 10 s")))
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>, Failure> {
        while self.buffer.len() < length {
            let have = self.buffer.len();
            match self.fill().await {
                Ok(0) => fail!("Content-Length is {length}, the connection ended after {have}"),
                Ok(_) => {}
                Err(error) => fail!("reading a body of {length} bytes, after {have}: {error}"),
            }
        }
        Ok(self.buffer.split_to(length).to_vec())
    }

    async fn chunked(&mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                    let line = self.buffer.split_to(end);
                    self.buffer.advance(2);
                    break line;
                }
                match self.fill().await {
                    Ok(0) => fail!("the connection ended inside a chunked body"),
                    Ok(_) => {}
                    Err(error) => fail!("reading a chunked body: {error}"),
                }
            };
            let size = std::str::from_utf8(&line)
                .ok()
                .and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
            let Some(size) = size else {
                fail!("a chunk of size {line:?}")
            };
            body.extend(self.take(size).await?);
            self.take(2).await?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn rest(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            match self.fill().await {
                Ok(0) => return Ok(self.buffer.split().to_vec()),
                Ok(_) => {}
                Err(error) => fail!("reading a body to the end of the connection: {error}"),
            }
        }
    }
}
