//! A large blob on its way through registryd to a service, and what that costs.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use oci_core::digest::{Algorithm, Hasher};

use crate::client::{ask, ask_for};
use crate::registry::Registryd;
use crate::s3s::S3sFs;

/// What a push has cost.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Cost {
    /// The bytes of the blob.
    pub size: u64,
    /// What the service was sent, heads of requests included.
    pub sent: u64,
    /// What the service has answered with.
    pub answered: u64,
    /// The most memory that registryd had resident, from its start on.
    pub peak_memory: u64,
    /// How long the last request took, with which the service makes an object of the parts.
    pub closing: Duration,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        write!(
            f,
            "{} MiB: the service was sent {} MiB and answered with {} KiB; registryd had at most {} MiB \
             resident; the closing PUT took {} s",
            mib(self.size),
            mib(self.sent),
            self.answered >> 10,
            mib(self.peak_memory),
            self.closing.as_secs()
        )
    }
}

/// Pushes `size` bytes to a new registryd of `binary` on a new service: as one PATCH, or in chunks of
/// `chunk` bytes.
///
/// # Errors
/// If a request is not answered as it should be, or the blob does not have its size in the end.
pub fn push(binary: &str, scratch: &Path, size: u64, chunk: Option<u64>) -> anyhow::Result<Cost> {
    let service = S3sFs::start(scratch)?;
    let registryd = Registryd::start(binary, &service.variables("large"))?;
    let address = &registryd.address;
    let before = (service.traffic().received(), service.traffic().sent());
    let begun = ask(address, "POST", "/v2/large/blobs/uploads/", &[], b"")?;
    let mut location = begun.header("location").context("no location")?.to_owned();
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut offset = 0;
    while offset < size {
        let end = size.min(offset + chunk.unwrap_or(size));
        location = patch(address, &location, offset..end, &mut hasher)?;
        offset = end;
    }
    let digest = hasher.finish();
    let separator = if location.contains('?') { '&' } else { '?' };
    let target = format!("{location}{separator}digest={digest}");
    let asked = Instant::now();
    // The service copies all parts.
    let patience = Duration::from_secs(15 * 60);
    let closed = ask_for(patience, address, "PUT", &target, &[], b"")?;
    let closing = asked.elapsed();
    ensure!(closed.status == 201, "PUT: {closed:?}");
    let traffic = service.traffic();
    let cost = Cost {
        size,
        sent: traffic.received() - before.0,
        answered: traffic.sent() - before.1,
        peak_memory: registryd.peak_memory()?,
        closing,
    };
    let target = format!("/v2/large/blobs/{digest}");
    let found = ask(address, "HEAD", &target, &[], b"")?;
    let length = size.to_string();
    ensure!(
        found.status == 200 && found.header("content-length") == Some(length.as_str()),
        "HEAD: {found:?}"
    );
    // The first byte and the last.
    for at in [0, size - 1] {
        let range = format!("bytes={at}-{at}");
        let read = ask(address, "GET", &target, &[("range", range.as_str())], b"")?;
        ensure!(
            read.status == 206 && read.body == [byte(at)],
            "GET {range}: {read:?}"
        );
    }
    Ok(cost)
}

/// Sends the bytes `range` of the content; returns where the session goes on.
fn patch(
    address: &str,
    location: &str,
    range: std::ops::Range<u64>,
    hasher: &mut Hasher,
) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let length = range.end - range.start;
    write!(
        stream,
        "PATCH {location} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-range: {}-{}\r\ncontent-length: {length}\r\n\r\n",
        range.start,
        range.end - 1
    )?;
    let mut piece = vec![0; 1 << 20];
    let mut at = range.start;
    while at < range.end {
        let some = usize::try_from((range.end - at).min(piece.len() as u64))?;
        let piece = piece.get_mut(..some).unwrap_or_default();
        fill(piece, at);
        hasher.update(piece);
        stream.write_all(piece).context("sending content")?;
        at += some as u64;
    }
    let mut status = None;
    let mut next = None;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            None => status = Some(line),
            Some((name, value)) if name.eq_ignore_ascii_case("location") => {
                next = Some(value.to_owned());
            }
            Some(_) => {}
        }
    }
    let status = status.unwrap_or_default();
    ensure!(status.contains(" 202 "), "PATCH: {status}");
    next.context("no location")
}

/// Content that is nowhere the same for a whole part.
fn fill(piece: &mut [u8], at: u64) {
    for (at, to) in (at..).zip(piece) {
        *to = byte(at);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low byte is meant")]
fn byte(at: u64) -> u8 {
    (at ^ (at >> 9) ^ (at >> 21)) as u8
}
