//! Many pushes to replicas that are killed meanwhile, and what is left of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use oci_core::Digest;
use serde_json::json;

use crate::client::{Answer, ask};
use crate::proxy::RoundRobin;
use crate::registry::Registryd;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Storm {
    /// Images to push.
    pub pushes: usize,
    /// How many at a time.
    pub at_once: usize,
    /// Processes that serve.
    pub replicas: usize,
    /// After how many acknowledged manifests one of them is killed, each time.
    pub kill_every: usize,
}

impl Storm {
    /// `pushes` images, `at_once` at a time, to three replicas.
    pub fn new(pushes: usize, at_once: usize) -> Self {
        Self {
            pushes,
            at_once,
            replicas: 3,
            kill_every: 5,
        }
    }

    /// Pushes to replicas of `binary`, each with `variables`, and reads everything back.
    ///
    /// # Errors
    /// If the replicas cannot be started. What happens to the pushes is in the outcome.
    pub fn run(self, binary: &str, variables: &[(String, String)]) -> anyhow::Result<Outcome> {
        let begun = Instant::now();
        let replicas = (0..self.replicas).map(|_| Registryd::start(binary, variables));
        let mut replicas: Vec<Registryd> = replicas.collect::<anyhow::Result<_>>()?;
        let addresses = replicas.iter().map(|replica| replica.address.clone());
        let proxy = RoundRobin::start(addresses.collect())?;
        let (next, retries) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let pushed = Mutex::new(Pushed::default());
        let mut kills = 0;
        thread::scope(|scope| -> anyhow::Result<()> {
            let (acknowledged, acknowledgements) = channel();
            for _ in 0..self.at_once {
                let (next, retries, pushed) = (&next, &retries, &pushed);
                let (acknowledged, address) = (acknowledged.clone(), proxy.address());
                scope.spawn(move || {
                    let client = Client { address, retries };
                    self.push_all(client, next, pushed, &acknowledged);
                });
            }
            drop(acknowledged);
            kills = self.kill(binary, variables, &mut replicas, &proxy, &acknowledgements)?;
            Ok(())
        })?;
        let pushed = pushed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let client = Client {
            address: proxy.address(),
            retries: &AtomicUsize::new(0),
        };
        let lost = pushed.images.iter().filter_map(|image| {
            let error = client.check(image).err()?;
            Some(format!("{}: {error:#}", image.name))
        });
        let lost = lost.collect();
        let mut sessions: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for passed in proxy.log() {
            if passed.method == "PATCH" {
                let session = passed.target.split('?').next().unwrap_or("").to_owned();
                sessions.entry(session).or_default().insert(passed.server);
            }
        }
        Ok(Outcome {
            acknowledged: pushed.images.len(),
            failed: pushed.failed,
            lost,
            kills,
            retries: retries.into_inner(),
            sessions: sessions.len(),
            spread: sessions.values().filter(|on| on.len() > 1).count(),
            took: begun.elapsed(),
        })
    }

    fn push_all(
        self,
        client: Client<'_>,
        next: &AtomicUsize,
        pushed: &Mutex<Pushed>,
        acknowledged: &Sender<()>,
    ) {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= self.pushes {
                return;
            }
            let image = Image::new(n);
            let done = client.push(&image);
            let mut pushed = pushed.lock().unwrap_or_else(PoisonError::into_inner);
            match done {
                Ok(()) => pushed.images.push(image),
                Err(error) => pushed.failed.push(format!("{}: {error:#}", image.name)),
            }
            let _ = acknowledged.send(());
        }
    }

    /// Kills one replica after the other, by chance, until all pushes are over.
    fn kill(
        self,
        binary: &str,
        variables: &[(String, String)],
        replicas: &mut [Registryd],
        proxy: &RoundRobin,
        acknowledgements: &Receiver<()>,
    ) -> anyhow::Result<usize> {
        let mut kills = 0;
        for n in 1.. {
            if acknowledgements.recv().is_err() {
                break;
            }
            if n % self.kill_every != 0 {
                continue;
            }
            let mut chance = [0];
            getrandom::fill(&mut chance).map_err(|error| anyhow::anyhow!("chance: {error}"))?;
            let victim = usize::from(chance[0]) % replicas.len();
            let replica = replicas.get_mut(victim).context("a replica")?;
            replica.kill()?;
            kills += 1;
            *replica = Registryd::start(binary, variables)?;
            proxy.replace(victim, &replica.address);
        }
        Ok(kills)
    }
}

/// What became of a storm.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// Images whose manifest was acknowledged.
    pub acknowledged: usize,
    /// Pushes that failed although the client tried again.
    pub failed: Vec<String>,
    /// Acknowledged images that cannot be read back whole.
    pub lost: Vec<String>,
    /// Replicas that were killed.
    pub kills: usize,
    /// Requests that the clients repeated.
    pub retries: usize,
    /// Upload sessions in the proxy's log.
    pub sessions: usize,
    /// Those whose PATCH requests went to more than one replica.
    pub spread: usize,
    /// How long it took, with reading back.
    pub took: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} manifests acknowledged, {} pushes failed, {} images lost; {} replicas killed, {} requests \
             repeated; {} of {} upload sessions on more than one replica; {} s",
            self.acknowledged,
            self.failed.len(),
            self.lost.len(),
            self.kills,
            self.retries,
            self.spread,
            self.sessions,
            self.took.as_secs()
        )?;
        for problem in self.failed.iter().chain(&self.lost) {
            write!(f, "\n{problem}")?;
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Pushed {
    images: Vec<Image>,
    failed: Vec<String>,
}

/// An image of two layers, one of which others have as well, and a config of its own.
#[derive(Debug)]
struct Image {
    name: String,
    layers: [Vec<u8>; 2],
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Image {
    fn new(n: usize) -> Self {
        let own = content(n as u64 + 1, 300_000 + n % 7 * 50_000);
        let shared = content(1_000_000 + n as u64 / 10, 200_000);
        let config = json!({"architecture": "amd64", "os": "linux", "n": n})
            .to_string()
            .into_bytes();
        let descriptor = |media_type: &str, bytes: &[u8]| {
            json!({
                "mediaType": media_type,
                "digest": Digest::sha256(bytes).to_string(),
                "size": bytes.len(),
            })
        };
        const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor(LAYER, &own), descriptor(LAYER, &shared)],
        });
        Self {
            name: format!("storm/{}/tags/t{n}", n % 5),
            layers: [own, shared],
            config,
            manifest: manifest.to_string().into_bytes(),
        }
    }

    fn place(&self) -> (&str, &str) {
        self.name.split_once("/tags/").unwrap_or_default()
    }
}

/// Bytes without a pattern, the same for the same seed.
fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A client that does not give up soon.
#[derive(Clone, Copy)]
struct Client<'a> {
    address: &'a str,
    retries: &'a AtomicUsize,
}

impl Client<'_> {
    fn push(self, image: &Image) -> anyhow::Result<()> {
        let (repository, tag) = image.place();
        for layer in &image.layers {
            self.push_in_chunks(repository, layer).context("a layer")?;
        }
        self.push_whole(repository, &image.config)
            .context("the config")?;
        let target = format!("/v2/{repository}/manifests/{tag}");
        let headers = [("content-type", MANIFEST)];
        self.until(|| {
            let answer = ask(self.address, "PUT", &target, &headers, &image.manifest)?;
            status(answer, 201).map(Some)
        })
        .context("the manifest")?;
        Ok(())
    }

    fn push_whole(self, repository: &str, blob: &[u8]) -> anyhow::Result<()> {
        let digest = Digest::sha256(blob);
        let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        self.until(|| status(ask(self.address, "POST", &target, &[], blob)?, 201).map(Some))?;
        Ok(())
    }

    /// POST, PATCH by PATCH, PUT; after a failure it goes on where the registry says that it stands.
    fn push_in_chunks(self, repository: &str, blob: &[u8]) -> anyhow::Result<()> {
        let digest = Digest::sha256(blob);
        let exists = format!("/v2/{repository}/blobs/{digest}");
        let begin = format!("/v2/{repository}/blobs/uploads/");
        let mut session: Option<(String, usize)> = None;
        self.until(|| {
            let (location, offset) = match session.take() {
                None => {
                    let known = ask(self.address, "HEAD", &exists, &[], b"")?;
                    if known.status == 200 {
                        return Ok(Some(known));
                    }
                    let begun = status(ask(self.address, "POST", &begin, &[], b"")?, 202)?;
                    (location(&begun)?, 0)
                }
                Some((location, _)) => {
                    let standing = ask(self.address, "GET", &location, &[], b"")?;
                    match standing.status {
                        204 => (location, offset(&standing)?),
                        // It may have become the blob, or be gone.
                        404 => return Ok(None),
                        _ => {
                            session = Some((location, 0));
                            bail!("{standing:?}");
                        }
                    }
                }
            };
            session = Some((location, offset));
            self.send(&mut session, blob, &digest)
        })?;
        Ok(())
    }

    /// Sends the rest of a session. `session` says where it is if that fails.
    fn send(
        self,
        session: &mut Option<(String, usize)>,
        blob: &[u8],
        digest: &Digest,
    ) -> anyhow::Result<Option<Answer>> {
        loop {
            let (at, start) = session.clone().context("a session")?;
            if start >= blob.len() {
                let separator = if at.contains('?') { '&' } else { '?' };
                let target = format!("{at}{separator}digest={digest}");
                let closed = ask(self.address, "PUT", &target, &[], b"")?;
                return status(closed, 201).map(Some);
            }
            let end = blob.len().min(start + CHUNK);
            let piece = blob.get(start..end).unwrap_or_default();
            let range = format!("{start}-{}", end - 1);
            let headers = [("content-range", range.as_str())];
            let taken = ask(self.address, "PATCH", &at, &headers, piece)?;
            let taken = status(taken, 202)?;
            *session = Some((location(&taken)?, offset(&taken)?));
        }
    }

    /// Reads an image back.
    fn check(self, image: &Image) -> anyhow::Result<()> {
        let (repository, tag) = image.place();
        let digest = Digest::sha256(&image.manifest).to_string();
        for reference in [tag, digest.as_str()] {
            let target = format!("/v2/{repository}/manifests/{reference}");
            let headers = [("accept", MANIFEST)];
            let found = self.until(|| {
                let answer = ask(self.address, "GET", &target, &headers, b"")?;
                status(answer, 200).map(Some)
            })?;
            ensure!(
                found.body == image.manifest,
                "{reference}: another manifest"
            );
        }
        for blob in image.layers.iter().chain([&image.config]) {
            let target = format!("/v2/{repository}/blobs/{}", Digest::sha256(blob));
            let found = self.until(|| {
                let answer = ask(self.address, "GET", &target, &[], b"")?;
                status(answer, 200).map(Some)
            })?;
            ensure!(found.body == *blob, "{target}: other bytes");
        }
        Ok(())
    }

    /// Tries until there is an answer. `None` means to begin again at once.
    fn until(
        self,
        mut work: impl FnMut() -> anyhow::Result<Option<Answer>>,
    ) -> anyhow::Result<Answer> {
        let mut last = None;
        for _ in 0..TRIES {
            match work() {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => continue,
                Err(error) => last = Some(error),
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
            // What it waits for is a process that starts.
            thread::sleep(Duration::from_millis(200));
        }
        Err(last.context("it had to begin again and again")?).context("given up")
    }
}

fn status(answer: Answer, expected: u16) -> anyhow::Result<Answer> {
    let body =
        String::from_utf8_lossy(answer.body.get(..300.min(answer.body.len())).unwrap_or(b""));
    ensure!(
        answer.status == expected,
        "{} instead of {expected}: {body}",
        answer.status
    );
    Ok(answer)
}

fn location(answer: &Answer) -> anyhow::Result<String> {
    Ok(answer.header("location").context("no location")?.to_owned())
}

/// How many bytes a session holds.
fn offset(answer: &Answer) -> anyhow::Result<usize> {
    let range = answer.header("range").context("no range")?;
    let last = range.strip_prefix("0-").context("a range from the start")?;
    Ok(match last {
        "-1" => 0,
        last => last.parse::<usize>()? + 1,
    })
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CHUNK: usize = 120_000;
/// How often a client asks again: for half a minute at least.
const TRIES: usize = 150;
