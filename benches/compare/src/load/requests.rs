//! Manifests: the small requests that make up most of a registry's work.

use std::time::Duration;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use registry_load_driver::closed_loop::{self, Tally};
use registry_load_driver::open_loop::Schedule;
use registry_load_driver::registry::{Client, MANIFEST};
use registry_load_driver::{Error, Request};

use super::Load;
use super::pushes::manifest;
use crate::arena::{Arena, USER};
use crate::measure::{Metric, Sample, metered};
use crate::server::{Server, Setup};

const REPOSITORY: &str = "bench/app";
const TAG: &str = "v1";

/// `GET` or `HEAD` of one manifest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manifests {
    pub(crate) method: &'static str,
    pub(crate) by_digest: bool,
    pub(crate) connections: usize,
    pub(crate) password: bool,
    /// Requests per second by a schedule, and not as fast as they are answered.
    pub(crate) rate: Option<u32>,
}

impl Load for Manifests {
    fn setup(&self, _arena: &Arena) -> Result<Setup> {
        Ok(Setup {
            password: self.password,
            ..Setup::default()
        })
    }

    fn prepare(&self, arena: &Arena, server: &Server) -> Result<()> {
        let (document, digest) = self.provide(arena, server)?;
        let reference = if self.by_digest { &digest } else { TAG };
        if !server.nginx {
            self.client(server)?
                .verify_manifest(REPOSITORY, reference, &document, &digest)?;
        }
        self.drive(
            server,
            &document,
            &digest,
            Duration::from_millis(300),
            Some(2_000),
        )?;
        Ok(())
    }

    fn measure(&self, arena: &Arena, server: &Server) -> Result<Sample> {
        let (document, digest) = document(arena)?;
        let sizes = arena.sizes;
        if let Some(rate) = self.rate {
            return self.by_schedule(arena, server, rate, &document, &digest);
        }
        let (tally, mut used) = metered(server, || {
            // bcrypt for each request, as others do it, takes long.
            let part = if self.password { 4 } else { 1 };
            let most = sizes.most_requests.map(|most| most / part);
            self.drive(server, &document, &digest, sizes.requests_time, most)
        })?;
        // Connecting does not count.
        used.elapsed = tally.elapsed;
        Ok(Sample::requests(tally.requests, &used)
            .with(Metric::Median, tally.latencies.percentile_ms(50.0))
            .with(Metric::P99, tally.latencies.percentile_ms(99.0)))
    }
}

impl Manifests {
    fn by_schedule(
        &self,
        arena: &Arena,
        server: &Server,
        rate: u32,
        document: &[u8],
        digest: &str,
    ) -> Result<Sample> {
        let mut clients = Vec::new();
        for _ in 0..self.connections {
            clients.push(self.client(server)?);
        }
        let requests = arena.sizes.requests_time.as_secs() * 2 * u64::from(rate);
        let requests = arena.sizes.most_requests.unwrap_or(requests);
        let schedule = Schedule::new(f64::from(rate), requests);
        let reference = if self.by_digest { digest } else { TAG };
        let (served, used) = metered(server, || {
            Ok(schedule.run(clients, |client, _| {
                client.verify_manifest(REPOSITORY, reference, document, digest)
            })?)
        })?;
        let latencies = served.latencies;
        Ok(Sample::requests(requests, &used)
            .with(Metric::Median, latencies.percentile_ms(50.0))
            .with(Metric::P99, latencies.percentile_ms(99.0))
            .with(Metric::P999, latencies.percentile_ms(99.9)))
    }

    fn drive(
        &self,
        server: &Server,
        document: &[u8],
        digest: &str,
        time: Duration,
        most: Option<u64>,
    ) -> Result<Tally> {
        let reference = if self.by_digest { digest } else { TAG };
        let target = format!("/v2/{REPOSITORY}/manifests/{reference}");
        let headers = format!("Accept: {MANIFEST}\r\n{}", self.headers());
        let request = Request::new(self.method, &target).headers(&headers);
        let mut load = closed_loop::Load::new(request, document);
        if !server.nginx {
            load = load.digest(digest);
        }
        Ok(load.run(server.address, self.connections, time, most)?)
    }

    fn provide(&self, arena: &Arena, server: &Server) -> Result<(Vec<u8>, String)> {
        let (document, digest) = document(arena)?;
        if server.nginx {
            let directory = server.root.join(format!("v2/{REPOSITORY}/manifests"));
            std::fs::create_dir_all(&directory)?;
            std::fs::write(directory.join(TAG), &document)?;
            std::fs::write(directory.join(&digest), &document)?;
        } else {
            let mut client = self.client(server)?;
            for blob in blobs(arena)? {
                client.push(REPOSITORY, &blob, registry_load_driver::registry::Push::Put)?;
            }
            client.push_manifest(REPOSITORY, TAG, &document, &digest)?;
        }
        Ok((document, digest))
    }

    fn client(&self, server: &Server) -> Result<Client> {
        Ok(Client::new(server.connect()?).headers(self.headers()))
    }

    fn headers(&self) -> String {
        if !self.password {
            return String::new();
        }
        let (user, password) = USER;
        let credentials = STANDARD.encode(format!("{user}:{password}"));
        format!("Authorization: Basic {credentials}\r\n")
    }
}

fn blobs(arena: &Arena) -> Result<[registry_load_driver::Content; 2]> {
    Ok([arena.fixed(1_000)?, arena.fixed(10_000)?])
}

/// A manifest of about 500 bytes, the same for all servers, and its digest.
fn document(arena: &Arena) -> Result<(Vec<u8>, String)> {
    let [config, layer] = blobs(arena)?;
    let made = manifest((config.digest(), 1_000), (layer.digest(), 10_000));
    if made.0.len().abs_diff(500) > 150 {
        return Err(Error::Length {
            request: "make a manifest".into(),
            expected: 500,
            got: made.0.len() as u64,
        }
        .into());
    }
    Ok(made)
}
