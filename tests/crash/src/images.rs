//! A client that pushes images one by one to a server in trouble.

use std::{io, net::SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    http::{Body, Connection, Response},
    ledger::Ledger,
    payload::{Payload, Random},
    program::{Kind, Program},
    pusher::manifest,
    registry::{Found, MANIFEST_TYPE, Registry, Session},
    verify::{Depth, verify},
    violation::Violations,
};

/// Statuses of a refusal for want of space.
pub const REFUSALS: [u16; 2] = [507, 503];

/// Bytes of the upload that is caught by a full volume.
const BEGUN: u64 = 100 << 10;

/// What a client was told about one push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// All of it is acknowledged.
    Done,
    /// A part was refused properly, and the push given up.
    Refused,
}

/// Pushes images and remembers what was acknowledged.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    lenient: bool,
    ledger: Ledger,
    serial: u64,
    last: Option<Payload>,
}

impl Client {
    /// A client that pushed nothing yet.
    pub fn new(program: &Program, address: SocketAddr) -> Self {
        Self {
            address,
            lenient: program.kind() == Kind::Distribution,
            ledger: Ledger::default(),
            serial: 0,
            last: None,
        }
    }

    /// The server is another process now.
    pub fn moved(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// An image: a blob in one of three ways, and a manifest with a tag.
    ///
    /// # Errors
    /// When it is answered otherwise than done or refused properly.
    pub fn push(&mut self, len: u64) -> Result<Told> {
        self.serial += 1;
        let payload = Payload::new(self.serial << 20, len);
        let repository = "full/disk";
        self.ledger.blob_begun(repository, &payload, true);
        if matches!(self.push_blob(repository, &payload)?, Told::Refused) {
            return Ok(Told::Refused);
        }
        self.ledger.blob_done(repository, payload.digest());
        self.last = Some(payload);
        self.push_manifest()
    }

    /// Another manifest over the last acknowledged blob, with a tag of its own.
    ///
    /// # Errors
    /// When it is answered otherwise than done or refused properly.
    pub fn push_manifest(&mut self) -> Result<Told> {
        let Some(payload) = &self.last else {
            bail!("nothing was pushed that a manifest could name");
        };
        self.serial += 1;
        let repository = "full/disk";
        let bytes = manifest(payload, &[], self.serial);
        let digest = crate::payload::digest(&bytes);
        let tag = format!("t{}", self.serial);
        self.ledger
            .manifest_begun(repository, &digest, &bytes, Some(&tag));
        let target = format!("/v2/{repository}/manifests/{tag}");
        let headers = [("Content-Type", MANIFEST_TYPE)];
        let response =
            Connection::new(self.address).send("PUT", &target, &headers, Body::Bytes(&bytes))?;
        if self.refused(&format!("PUT {target}"), &response, 201)? {
            return Ok(Told::Refused);
        }
        self.ledger.manifest_done(repository, &digest, Some(&tag));
        Ok(Told::Done)
    }

    fn push_blob(&mut self, repository: &str, payload: &Payload) -> Result<Told> {
        let mut connection = Connection::new(self.address);
        let (digest, len) = (payload.digest(), payload.len());
        let mut reader = payload.reader(0, len);
        let begin = format!("/v2/{repository}/blobs/uploads/");
        if self.serial.is_multiple_of(3) && !self.lenient {
            let target = format!("{begin}?digest={digest}");
            let response = connection.send("POST", &target, &[], Body::Sized(&mut reader, len))?;
            return self.told("POST with content", &response, 201);
        }
        let response = connection.send("POST", &begin, &[], Body::Empty)?;
        if self.refused("POST", &response, 202)? {
            return Ok(Told::Refused);
        }
        let mut location = location(&response)?;
        if self.serial % 3 == 1 {
            let response = connection.send("PATCH", &location, &[], Body::Chunked(&mut reader))?;
            if self.refused("PATCH", &response, 202)? {
                return Ok(Told::Refused);
            }
            location = self::location(&response)?;
        }
        let separator = if location.contains('?') { '&' } else { '?' };
        let target = format!("{location}{separator}digest={digest}");
        let rest = len - reader.position();
        let response = connection.send("PUT", &target, &[], Body::Sized(&mut reader, rest))?;
        self.told("PUT", &response, 201)
    }

    fn told(&self, call: &str, response: &Response, done: u16) -> Result<Told> {
        Ok(if self.refused(call, response, done)? {
            Told::Refused
        } else {
            Told::Done
        })
    }

    /// Whether an answer is a proper refusal; an error when it is neither that nor `done`.
    fn refused(&self, call: &str, response: &Response, done: u16) -> Result<bool> {
        if response.status == done {
            return Ok(false);
        }
        if self.lenient && response.status >= 500 {
            return Ok(true);
        }
        let body = String::from_utf8_lossy(&response.body);
        ensure!(
            REFUSALS.contains(&response.status),
            "{call} answered {}: {body}",
            response.status
        );
        let code = serde_json::from_slice::<serde_json::Value>(&response.body)
            .ok()
            .and_then(|json| {
                Some(
                    json.get("errors")?
                        .get(0)?
                        .get("code")?
                        .as_str()?
                        .to_owned(),
                )
            });
        ensure!(
            code.is_some(),
            "{call} answered {} without an error code: {body}",
            response.status
        );
        Ok(true)
    }

    /// An upload with its first bytes acknowledged.
    ///
    /// # Errors
    /// When that is refused.
    pub fn begin_upload(&self) -> Result<(Session, Payload)> {
        let payload = Payload::new(77, 2 << 20);
        let mut registry = Registry::new(self.address);
        let mut session = registry.begin("full/disk")?;
        registry.chunk(&mut session, 0, BEGUN, &mut payload.reader(0, BEGUN))?;
        Ok((session, payload))
    }

    /// Goes on with an upload on a full volume, where that must be refused.
    ///
    /// # Errors
    /// When it is not, or in another way.
    pub fn go_on_in_vain(&self, (session, payload): &(Session, Payload)) -> Result<()> {
        let mut reader = payload.reader(BEGUN, payload.len());
        let body = Body::Chunked(&mut reader);
        let response = Connection::new(self.address).send("PATCH", &session.location, &[], body)?;
        if self.refused("PATCH", &response, 202)? {
            return Ok(());
        }
        bail!("a PATCH of 2 MiB was acknowledged on a full volume")
    }

    /// Finishes a refused upload; returns the offset it went on from.
    pub fn resume(&mut self, (mut session, payload): (Session, Payload)) -> Result<u64> {
        let mut registry = Registry::new(self.address);
        let Found::Here(offset) = registry.upload_status(&mut session)? else {
            bail!("the session of a refused PATCH is gone");
        };
        ensure!(
            (BEGUN..=payload.len()).contains(&offset),
            "an upload resumes at {offset}; {BEGUN} bytes were acknowledged"
        );
        registry.chunk(
            &mut session,
            offset,
            payload.len(),
            &mut payload.reader(offset, payload.len()),
        )?;
        self.ledger.blob_begun("full/disk", &payload, true);
        registry.close(&session, payload.digest(), &mut io::empty(), 0)?;
        self.ledger.blob_done("full/disk", payload.digest());
        Ok(offset)
    }

    /// Compares everything acknowledged with what is there.
    ///
    /// # Errors
    /// When something differs.
    pub fn compare(&mut self, when: &str) -> Result<()> {
        let violations = Violations::default();
        let mut random = Random::new(0);
        let mut registry = Registry::new(self.address);
        verify(
            &mut registry,
            &mut self.ledger,
            Depth::All,
            &mut random,
            &violations,
        );
        let list = violations.list();
        if let Some(first) = list.first() {
            bail!("{when}: {} violations, the first: {first}", list.len());
        }
        Ok(())
    }
}

fn location(response: &Response) -> Result<String> {
    let location = response.header("location").context("no Location")?;
    Ok(location
        .split_once("://")
        .and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)))
        .unwrap_or(location)
        .to_owned())
}
