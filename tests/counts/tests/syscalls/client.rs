//! The requests that are counted, one at a time over one connection.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use registry_crash_tests::http::{Body, Connection, Response};

use crate::content::{self, Content, MANIFEST_TYPE};

pub(crate) struct Client {
    connection: Connection,
    seed: u64,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            connection: Connection::new(address),
            seed: 0,
        }
    }

    /// A number that was not used before.
    pub(crate) fn next(&mut self) -> u64 {
        self.seed += 1;
        self.seed
    }

    /// A blob that the registry does not have.
    pub(crate) fn new_blob(&mut self, length: usize) -> Content {
        content::blob(self.next(), length)
    }

    pub(crate) fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
        expected: u16,
    ) -> Result<Response> {
        let response = self.connection.send(method, target, headers, body)?;
        ensure!(
            response.status == expected,
            "{method} {target} was answered {}: {}",
            response.status,
            String::from_utf8_lossy(&response.body)
        );
        Ok(response)
    }

    /// A request without a body, whose answer is only checked for its status.
    pub(crate) fn ask(&mut self, method: &str, target: &str, expected: u16) -> Result<()> {
        self.send(method, target, &[], Body::Empty, expected)
            .map(drop)
    }

    /// A page of a listing that has a next one.
    pub(crate) fn page(&mut self, target: &str) -> Result<()> {
        let response = self.send("GET", target, &[], Body::Empty, 200)?;
        ensure!(
            response.header("link").is_some(),
            "{target} is the last page"
        );
        Ok(())
    }

    /// `length` bytes of a blob, which must come.
    pub(crate) fn pull(&mut self, repository: &str, digest: &str, length: u64) -> Result<()> {
        let target = format!("/v2/{repository}/blobs/{digest}");
        let range = format!("bytes=0-{}", length - 1);
        let mut received = 0;
        let response = self
            .connection
            .fetch(&target, &[("Range", &range)], &mut |piece| {
                received += piece.len() as u64;
            })?;
        ensure!(
            response.status == 206 && received == length,
            "GET {target}, {range}: {} with {received} bytes",
            response.status
        );
        Ok(())
    }

    /// Begins an upload and returns where it goes on.
    pub(crate) fn begin(&mut self, repository: &str) -> Result<String> {
        let target = format!("/v2/{repository}/blobs/uploads/");
        let response = self.send("POST", &target, &[], Body::Empty, 202)?;
        location(&response)
    }

    /// Everything in one chunked request, as docker pushes.
    pub(crate) fn stream(&mut self, session: &str, bytes: &[u8]) -> Result<String> {
        let body = Body::Chunked(&mut &*bytes);
        let response = self.send("PATCH", session, &[], body, 202)?;
        location(&response)
    }

    /// One chunk that begins at `offset`.
    pub(crate) fn chunk(&mut self, session: &str, offset: usize, bytes: &[u8]) -> Result<String> {
        let range = format!("{offset}-{}", offset + bytes.len() - 1);
        let body = Body::Sized(&mut &*bytes, bytes.len() as u64);
        let response = self.send("PATCH", session, &[("Content-Range", &range)], body, 202)?;
        location(&response)
    }

    /// The closing request, with the rest of the content.
    pub(crate) fn close(&mut self, session: &str, digest: &str, rest: &[u8]) -> Result<()> {
        let separator = if session.contains('?') { '&' } else { '?' };
        let target = format!("{session}{separator}digest={digest}");
        self.send("PUT", &target, &[], Body::Bytes(rest), 201)
            .map(drop)
    }

    /// A blob in one request.
    pub(crate) fn push(&mut self, repository: &str, blob: &Content) -> Result<()> {
        let target = format!("/v2/{repository}/blobs/uploads/?digest={}", blob.digest);
        self.send("POST", &target, &[], Body::Bytes(&blob.bytes), 201)
            .map(drop)
    }

    pub(crate) fn mount(&mut self, repository: &str, from: &str, blob: &Content) -> Result<()> {
        let digest = &blob.digest;
        let target = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={from}");
        self.ask("POST", &target, 201)
    }

    pub(crate) fn put_manifest(
        &mut self,
        repository: &str,
        reference: &str,
        manifest: &Content,
    ) -> Result<()> {
        let target = format!("/v2/{repository}/manifests/{reference}");
        let headers = [("Content-Type", MANIFEST_TYPE)];
        self.send("PUT", &target, &headers, Body::Bytes(&manifest.bytes), 201)
            .map(drop)
    }
}

fn location(response: &Response) -> Result<String> {
    let location = response.header("location").context("no Location")?;
    Ok(location.to_owned())
}
