//! A page in the middle of many tags or repositories.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use registry_load_driver::{Latencies, Request};

use super::Load;
use crate::arena::Arena;
use crate::measure::{Metric, Sample, metered};
use crate::seed;
use crate::server::{Server, Setup};

const PAGE: u32 = 100;

/// What is listed, and of how many.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Listing {
    Tags(u32),
    Repositories(u32),
}

impl Load for Listing {
    fn setup(&self, arena: &Arena) -> Result<Setup> {
        let root = match *self {
            Self::Tags(count) => seed::tags(arena, count)?,
            Self::Repositories(count) => seed::repositories(arena, count)?,
        };
        Ok(Setup {
            root: Some(root),
            ..Setup::default()
        })
    }

    fn prepare(&self, _arena: &Arena, server: &Server) -> Result<()> {
        self.ask(server, 5, 10).map(drop)
    }

    fn measure(&self, arena: &Arena, server: &Server) -> Result<Sample> {
        let most = arena.sizes.most_requests.unwrap_or(1_000);
        let (latencies, used) = metered(server, || {
            self.ask(server, arena.sizes.requests_time.as_secs(), most)
        })?;
        Ok(Sample::requests(latencies.count(), &used)
            .with(Metric::Median, latencies.percentile_ms(50.0))
            .with(Metric::P99, latencies.percentile_ms(99.0)))
    }
}

impl Listing {
    fn ask(self, server: &Server, seconds: u64, most: u64) -> Result<Latencies> {
        let mut connection = server.connect()?;
        let (Self::Tags(count) | Self::Repositories(count)) = self;
        let last = count / 2;
        let target = match self {
            Self::Tags(_) => {
                format!(
                    "/v2/{}/tags/list?n={PAGE}&last={}",
                    seed::TAGGED,
                    seed::tag(last)
                )
            }
            Self::Repositories(_) => {
                format!("/v2/_catalog?n={PAGE}&last={}", seed::repository(last))
            }
        };
        let request = Request::new("GET", &target);
        let mut latencies = Latencies::default();
        let mut good = None;
        let begun = Instant::now();
        while latencies.count() < most && begun.elapsed().as_secs() < seconds {
            let asked = Instant::now();
            let answer = connection.expect(&request, 200)?;
            latencies.record(asked.elapsed());
            match &good {
                None => {
                    self.check(&answer.body, last, count)
                        .with_context(|| request.name())?;
                    good = Some(answer.body);
                }
                Some(good) if *good == answer.body => {}
                Some(_) => bail!(
                    "{}: the body's bytes are wrong: another page than before",
                    request.name()
                ),
            }
        }
        Ok(latencies)
    }

    fn check(self, body: &[u8], last: u32, count: u32) -> Result<()> {
        let document: serde_json::Value = serde_json::from_slice(body).context("no JSON")?;
        let (key, name): (_, fn(u32) -> String) = match self {
            Self::Tags(_) => ("tags", seed::tag),
            Self::Repositories(_) => ("repositories", seed::repository),
        };
        let names = document.get(key).and_then(serde_json::Value::as_array);
        let names = names.with_context(|| format!("no list of {key}"))?;
        let are = |from: u32, to: u32| {
            names.len() == (to - from) as usize
                && names
                    .iter()
                    .zip(from..to)
                    .all(|(got, n)| got.as_str() == Some(&name(n)))
        };
        // Distribution 2.8 knows no pages of tags and answers with all of them, in no order.
        let all = |from: u32, to: u32| {
            let got: BTreeSet<_> = names.iter().filter_map(|name| name.as_str()).collect();
            names.len() == (to - from) as usize
                && (from..to).all(|n| got.contains(name(n).as_str()))
        };
        let whole = matches!(self, Self::Tags(_)) && all(0, count);
        if !whole && !are(last + 1, (last + 1 + PAGE).min(count)) {
            bail!(
                "the body's bytes are wrong: {} {key} from {:?} on, instead of {PAGE} from {:?} on",
                names.len(),
                names.first().and_then(|name| name.as_str()),
                name(last + 1),
            );
        }
        Ok(())
    }
}
