//! One HTTP request at a time, on a connection of its own.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, ensure};

/// What a server answered.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, whole: test content is small.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Asks a server at `address`.
///
/// # Errors
/// If it cannot be reached, or does not answer for two minutes.
pub fn ask(
    address: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Answer> {
    let patience = Duration::from_secs(120);
    ask_for(patience, address, method, target, headers, body)
}

/// Asks a server at `address`, which may take a while.
///
/// # Errors
/// If it cannot be reached, or does not answer for so long.
pub fn ask_for(
    patience: Duration,
    address: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
    stream.set_read_timeout(Some(patience))?;
    let mut head = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let length = answer.len();
    let answer = parse(&answer).with_context(|| format!("{method} {target}: {length} bytes"))?;
    let promised = answer.header("content-length");
    if let Some(promised) = promised.filter(|_| method != "HEAD" && answer.status != 304) {
        let whole = promised.parse() == Ok(answer.body.len());
        ensure!(
            whole,
            "{method} {target}: {} of {promised} bytes",
            answer.body.len()
        );
    }
    Ok(answer)
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let (head, body) = answer.split_at(end);
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some(Answer {
        status,
        headers: headers.collect(),
        body: body.get(4..)?.to_vec(),
    })
}
