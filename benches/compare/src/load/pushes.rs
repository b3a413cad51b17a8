//! Pushes: large blobs one at a time and many at once, small images, a mix.

use std::time::Instant;

use anyhow::Result;
use registry_load_driver::Latencies;
use registry_load_driver::mix::{Mix, Operation};
use registry_load_driver::registry::{Client, MANIFEST, Push};
use sha2::{Digest as _, Sha256};

use super::{Load, provide, together, verify};
use crate::arena::Arena;
use crate::measure::{Metric, Sample, metered};
use crate::server::Server;

/// Warming up with more would only take time.
const WARM_UP: u64 = 256 << 20;

/// Blobs, each by a client of its own.
pub(crate) struct Blobs {
    pub(crate) how: Push,
    pub(crate) size: u64,
    pub(crate) clients: usize,
    /// Whether the registry has the blob already.
    pub(crate) known: bool,
}

impl Load for Blobs {
    fn fresh(&self) -> bool {
        !self.known
    }

    fn prepare(&self, arena: &Arena, server: &Server) -> Result<()> {
        let warm = arena.fresh(self.size.min(WARM_UP))?;
        Client::new(server.connect()?).push("warm/up", &warm, self.how)?;
        if self.known {
            provide(server, "bench/known", &arena.fixed(self.size)?)?;
        }
        Ok(())
    }

    fn measure(&self, arena: &Arena, server: &Server) -> Result<Sample> {
        let repository = if self.known {
            "bench/known".into()
        } else {
            format!("bench/push{}", arena.number())
        };
        let mut states = Vec::new();
        for _ in 0..self.clients {
            let content = if self.known {
                arena.fixed(self.size)?
            } else {
                arena.fresh(self.size)?
            };
            states.push((Client::new(server.connect()?), content));
        }
        let (contents, used) = metered(server, || {
            together(states, |_, (mut client, content)| {
                client.push(&repository, &content, self.how)?;
                Ok(content)
            })
        })?;
        let verified = if arena.options.short {
            contents.len()
        } else {
            1
        };
        for content in contents.iter().take(verified) {
            verify(server, &repository, content)?;
        }
        Ok(Sample::transfer(self.size * self.clients as u64, &used))
    }
}

/// Images of a config, a layer and a manifest, by many clients, each with a repository of its own.
pub(crate) struct Images {
    pub(crate) clients: usize,
}

const CONFIG: u64 = 1_000;
const LAYER: u64 = 10_000;

impl Images {
    fn push(arena: &Arena, client: &mut Client, repository: &str, tag: &str) -> Result<()> {
        let (config, layer) = (arena.fresh(CONFIG)?, arena.fresh(LAYER)?);
        client.push(repository, &config, Push::Put)?;
        client.push(repository, &layer, Push::Put)?;
        let (document, digest) = manifest((config.digest(), CONFIG), (layer.digest(), LAYER));
        client.push_manifest(repository, tag, &document, &digest)?;
        if arena.options.short {
            client.verify_manifest(repository, tag, &document, &digest)?;
            client.verify(repository, &layer)?;
        }
        Ok(())
    }
}

impl Load for Images {
    fn fresh(&self) -> bool {
        true
    }

    fn stores_stay(&self) -> bool {
        true
    }

    fn prepare(&self, arena: &Arena, server: &Server) -> Result<()> {
        let mut client = Client::new(server.connect()?);
        for n in 0..20 {
            Self::push(arena, &mut client, "warm/up", &format!("v{n}"))?;
        }
        Ok(())
    }

    fn measure(&self, arena: &Arena, server: &Server) -> Result<Sample> {
        let mut clients = Vec::new();
        for _ in 0..self.clients {
            clients.push(Client::new(server.connect()?));
        }
        let time = arena.sizes.requests_time * 3 / 2;
        let most = arena
            .sizes
            .most_requests
            .map(|most| most / self.clients as u64);
        let run = arena.number();
        let (counts, used) = metered(server, || {
            let start = Instant::now();
            let counts = together(clients, |index, mut client| {
                let repository = format!("bench/r{run}/image{index}");
                let mut latencies = Latencies::default();
                let mut failed = None;
                while start.elapsed() < time && most.is_none_or(|most| latencies.count() < most) {
                    let begun = Instant::now();
                    let tag = format!("v{}", latencies.count());
                    if let Err(error) = Self::push(arena, &mut client, &repository, &tag) {
                        failed = Some(error);
                        break;
                    }
                    latencies.record(begun.elapsed());
                }
                Ok((latencies, failed))
            })?;
            let mut all = Latencies::default();
            for (latencies, failed) in counts {
                if let Some(error) = failed {
                    return Err(error);
                }
                all.add(&latencies);
            }
            Ok(all)
        })?;
        Ok(Sample::requests(counts.count(), &used)
            .with(Metric::Median, counts.percentile_ms(50.0))
            .with(Metric::P99, counts.percentile_ms(99.0)))
    }
}

/// 75 % pulls and 25 % pushes of 20 % small, 70 % medium and 10 % large blobs.
pub(crate) struct Mixed {
    pub(crate) clients: usize,
}

impl Load for Mixed {
    fn fresh(&self) -> bool {
        true
    }

    fn prepare(&self, arena: &Arena, server: &Server) -> Result<()> {
        for size in arena.sizes.mix {
            let content = arena.fixed(size)?;
            provide(server, "bench/mix", &content)?;
            verify(server, "bench/mix", &content)?;
        }
        Ok(())
    }

    fn measure(&self, arena: &Arena, server: &Server) -> Result<Sample> {
        let sizes = arena.sizes.mix;
        let pulled = [
            arena.fixed(sizes[0])?,
            arena.fixed(sizes[1])?,
            arena.fixed(sizes[2])?,
        ];
        // What comes is drawn, and the content of pushes made, before the clock runs.
        let mut states = Vec::new();
        let mut bytes = 0;
        for index in 0..self.clients {
            // The same requests for each server and in each round.
            let drawn = Mix::new(sizes, index as u64);
            let mut work = Vec::new();
            for operation in drawn.take(share(arena.sizes.mix_requests, self.clients)) {
                let (content, push) = match operation {
                    Operation::Pull(index) => (pulled.get(index).cloned(), false),
                    Operation::Push(size) => (Some(arena.fresh(size)?), true),
                    _ => (None, false),
                };
                if let Some(content) = content {
                    bytes += content.length();
                    work.push((content, push));
                }
            }
            states.push((Client::new(server.connect()?), work));
        }
        let (latencies, used) = metered(server, || {
            let parts = together(states, |_, (mut client, work)| {
                let mut latencies = Latencies::default();
                for (content, push) in work {
                    let begun = Instant::now();
                    if push {
                        client.push("bench/mix", &content, Push::Put)?;
                    } else {
                        client.pull("bench/mix", &content)?;
                    }
                    latencies.record(begun.elapsed());
                }
                Ok(latencies)
            })?;
            let mut all = Latencies::default();
            for part in &parts {
                all.add(part);
            }
            Ok(all)
        })?;
        let rate = Sample::requests(latencies.count(), &used);
        let mut sample = Sample::transfer(bytes, &used)
            .with(Metric::Median, latencies.percentile_ms(50.0))
            .with(Metric::P99, latencies.percentile_ms(99.0));
        sample.figures.extend(rate.figures);
        Ok(sample)
    }
}

/// A manifest of a config and a layer, each a digest and a length, and its digest.
pub(crate) fn manifest(config: (&str, u64), layer: (&str, u64)) -> (Vec<u8>, String) {
    let document = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST}\",\
         \"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"{}\",\"size\":{}}},\
         \"layers\":[{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"{}\",\"size\":{}}}]}}",
        config.0, config.1, layer.0, layer.1
    );
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&document)));
    (document.into_bytes(), digest)
}

fn share(all: u64, clients: usize) -> usize {
    usize::try_from(all).unwrap_or(usize::MAX) / clients.max(1)
}
