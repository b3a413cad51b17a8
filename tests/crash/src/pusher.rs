//! The clients that push while the machine fails.

use std::{
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    ledger::{Interrupted, Key, Ledger, Presence, blobs_of},
    payload::{Payload, Random, digest},
    registry::{Error, MANIFEST_TYPE, Registry, Session},
    resume::{self, Demand},
    violation::{Kind, Violations},
};

/// What the pushers of one run share.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Shared {
    /// Set before the machine fails: from then on errors are expected.
    pub failing: AtomicBool,
    /// Blobs that are acknowledged and never deleted, to be mounted.
    pub mountable: Mutex<Vec<(String, Payload)>>,
    /// What was found wrong.
    pub violations: Violations,
}

/// How much the pushers push.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Sizes {
    /// Blobs that are mostly pushed.
    pub small: u64,
    /// Blobs that are pushed now and then, to be caught in the middle.
    pub large: u64,
}

impl Sizes {
    /// Sizes that suit a run on this machine's disk.
    pub fn new(small: u64, large: u64) -> Self {
        Self { small, large }
    }
}

/// One client with its own repositories.
#[derive(Debug)]
pub struct Pusher {
    id: usize,
    random: Random,
    sizes: Sizes,
    serial: u64,
    /// What it was told.
    pub ledger: Ledger,
}

/// The payloads that every pusher pushes, so that they meet.
const COMMON: u64 = 6;

impl Pusher {
    /// A pusher that never pushed.
    pub fn new(id: usize, seed: u64, sizes: Sizes) -> Self {
        Self {
            id,
            random: Random::new(seed ^ ((id as u64 + 1) << 40)),
            sizes,
            serial: 0,
            ledger: Ledger::default(),
        }
    }

    /// Forgets everything: the store is a new one.
    pub fn reset(&mut self) {
        self.ledger = Ledger {
            collected: self.ledger.collected,
            ..Ledger::default()
        };
    }

    /// Pushes until the machine fails.
    pub fn run(&mut self, address: SocketAddr, shared: &Shared) {
        let mut registry = Registry::new(address);
        while !shared.failing.load(Ordering::SeqCst) {
            let Err(error) = self.step(&mut registry, shared) else {
                continue;
            };
            if shared.failing.load(Ordering::SeqCst) {
                return;
            }
            shared.violations.add(
                Kind::Answer,
                format!(
                    "pusher {}, while the server was meant to be up: {error}",
                    self.id
                ),
            );
            return;
        }
    }

    fn step(&mut self, registry: &mut Registry, shared: &Shared) -> Result<(), Error> {
        if let Some(upload) = self.ledger.interrupted.pop() {
            return resume::resume(
                registry,
                &mut self.ledger,
                upload,
                Demand::Lenient,
                &mut self.random,
            )
            .map(drop);
        }
        let repository = format!("pusher-{}/r{}", self.id, self.random.between(0, 2));
        match self.random.between(1, 100) {
            1..=15 => self.push_single(registry, shared, &repository),
            16..=35 => self.push_stream(registry, shared, &repository),
            36..=50 => self.push_chunks(registry, shared, &repository),
            51..=60 => self.mount(registry, shared, &repository),
            61..=88 => self.push_manifest(registry, shared, &repository),
            89..=93 => self.delete_blob(registry, &repository),
            94..=97 => self.delete_manifest(registry, &repository),
            _ => self.delete_tag(registry, &repository),
        }
    }

    /// New content, or content that others push too; the latter and half of the former is kept.
    fn content(&mut self) -> (Payload, bool) {
        if self.random.chance(20) {
            let which = self.random.between(1, COMMON);
            return (Payload::new(which, which * 7001), true);
        }
        let limit = if self.random.chance(15) {
            self.sizes.large
        } else {
            self.sizes.small
        };
        let len = self.random.between(64, limit);
        self.serial += 1;
        let payload = Payload::new(self.random.next_u64() | 1 << 63, len);
        (payload, self.random.chance(50))
    }

    fn push_single(
        &mut self,
        registry: &mut Registry,
        shared: &Shared,
        repository: &str,
    ) -> Result<(), Error> {
        let (payload, kept) = self.content();
        if self.random.chance(50) {
            self.ledger.blob_begun(repository, &payload, kept);
            let Some(session) = registry.single_post(repository, &payload)? else {
                self.pushed(shared, repository, &payload, kept);
                return Ok(());
            };
            return self.close(registry, shared, session, payload, kept, 0);
        }
        let session = registry.begin(repository)?;
        self.close(registry, shared, session, payload, kept, 0)
    }

    fn push_stream(
        &mut self,
        registry: &mut Registry,
        shared: &Shared,
        repository: &str,
    ) -> Result<(), Error> {
        let (payload, kept) = self.content();
        let mut session = registry.begin(repository)?;
        let mut reader = payload.reader(0, payload.len());
        match registry.stream(&mut session, &mut reader) {
            Ok(_) => self.close(
                registry,
                shared,
                session,
                payload.clone(),
                kept,
                payload.len(),
            ),
            Err(error) => {
                self.interrupted(session, payload, kept, (0, reader.position()), false);
                Err(error)
            }
        }
    }

    fn push_chunks(
        &mut self,
        registry: &mut Registry,
        shared: &Shared,
        repository: &str,
    ) -> Result<(), Error> {
        let (payload, kept) = self.content();
        let mut session = registry.begin(repository)?;
        let chunks = self.random.between(1, 4);
        let size = payload.len().div_ceil(chunks).max(1);
        // The last chunk travels with the closing request, or on its own.
        let with_close = self.random.chance(50);
        let mut start = 0;
        while start < payload.len() {
            let end = (start + size).min(payload.len());
            if with_close && end == payload.len() {
                break;
            }
            let mut reader = payload.reader(start, end);
            if let Err(error) = registry.chunk(&mut session, start, end, &mut reader) {
                self.interrupted(session, payload, kept, (start, reader.position()), false);
                return Err(error);
            }
            start = end;
        }
        self.close(registry, shared, session, payload, kept, start)
    }

    /// The closing request, with everything from `offset` on.
    fn close(
        &mut self,
        registry: &mut Registry,
        shared: &Shared,
        session: Session,
        payload: Payload,
        kept: bool,
        offset: u64,
    ) -> Result<(), Error> {
        let repository = session.repository.clone();
        self.ledger.blob_begun(&repository, &payload, kept);
        let mut reader = payload.reader(offset, payload.len());
        let rest = payload.len() - offset;
        match registry.close(&session, payload.digest(), &mut reader, rest) {
            Ok(()) => {
                self.pushed(shared, &repository, &payload, kept);
                Ok(())
            }
            Err(error) => {
                self.interrupted(session, payload, kept, (offset, reader.position()), true);
                Err(error)
            }
        }
    }

    fn pushed(&mut self, shared: &Shared, repository: &str, payload: &Payload, kept: bool) {
        self.ledger.blob_done(repository, payload.digest());
        if kept && payload.len() < self.sizes.small {
            let mut mountable = lock(&shared.mountable);
            if mountable.len() < 500 {
                mountable.push((repository.to_owned(), payload.clone()));
            }
        }
    }

    fn interrupted(
        &mut self,
        session: Session,
        payload: Payload,
        kept: bool,
        (acknowledged, sent): (u64, u64),
        closing: bool,
    ) {
        self.ledger.interrupted.push(Interrupted {
            session,
            payload,
            kept,
            acknowledged,
            sent,
            closing,
        });
    }

    fn mount(
        &mut self,
        registry: &mut Registry,
        shared: &Shared,
        repository: &str,
    ) -> Result<(), Error> {
        let source = {
            let mountable = lock(&shared.mountable);
            self.random
                .index(mountable.len())
                .and_then(|index| mountable.get(index).cloned())
        };
        let Some((from, payload)) = source else {
            return Ok(());
        };
        self.ledger.blob_begun(repository, &payload, true);
        if registry.mount(repository, &from, payload.digest())? {
            self.ledger.blob_done(repository, payload.digest());
        } else if !self.ledger.collected {
            shared.violations.add(
                Kind::Lost,
                format!("{from} does not hold {} to be mounted", payload.digest()),
            );
        }
        Ok(())
    }

    fn push_manifest(
        &mut self,
        registry: &mut Registry,
        shared: &Shared,
        repository: &str,
    ) -> Result<(), Error> {
        let blobs: Vec<_> = self
            .ledger
            .blobs
            .iter()
            .filter(|((holder, _), blob)| {
                holder == repository && blob.kept && blob.presence == Presence::Present
            })
            .map(|(_, blob)| blob.payload.clone())
            .collect();
        let mut chosen = Vec::new();
        for _ in 0..self.random.between(1, 3) {
            chosen.extend(self.random.index(blobs.len()).and_then(|at| blobs.get(at)));
        }
        let Some(config) = chosen.pop() else {
            return self.push_single(registry, shared, repository);
        };
        self.serial += 1;
        let bytes = manifest(config, &chosen, self.serial);
        let digest = digest(&bytes);
        let tag = match self.random.between(1, 10) {
            // Tags that move, tags that are written once, and none.
            1..=6 => Some(format!("moving-{}", self.random.between(1, 3))),
            7..=8 => Some(format!("v{}", self.serial)),
            _ => None,
        };
        self.ledger
            .manifest_begun(repository, &digest, &bytes, tag.as_deref());
        let reference = tag.as_deref().unwrap_or(&digest);
        match registry.put_manifest(repository, reference, &bytes) {
            Err(Error::Refused { body, .. })
                if self.ledger.collected && body.contains("MANIFEST_BLOB_UNKNOWN") =>
            {
                let blobs = blobs_of(&bytes);
                self.ledger
                    .manifest_refused(repository, &digest, tag.as_deref(), &blobs);
                return Ok(());
            }
            put => put?,
        }
        self.ledger
            .manifest_done(repository, &digest, tag.as_deref());
        Ok(())
    }

    fn delete_blob(&mut self, registry: &mut Registry, repository: &str) -> Result<(), Error> {
        let Some((_, digest)) =
            self.pick(self.ledger.blobs.iter().filter(|((holder, _), blob)| {
                holder == repository && !blob.kept && blob.presence == Presence::Present
            }))
        else {
            return Ok(());
        };
        self.ledger.blob_delete_begun(repository, &digest);
        let done = registry.delete(repository, "blobs", &digest)?;
        self.ledger.blob_delete_done(repository, &digest, done);
        Ok(())
    }

    fn delete_manifest(&mut self, registry: &mut Registry, repository: &str) -> Result<(), Error> {
        let manifests = self.ledger.manifests.iter();
        let Some((_, digest)) = self.pick(manifests.filter(|((holder, _), manifest)| {
            holder == repository && manifest.presence == Presence::Present
        })) else {
            return Ok(());
        };
        self.ledger.manifest_delete_begun(repository, &digest);
        let done = registry.delete(repository, "manifests", &digest)?;
        self.ledger.manifest_delete_done(repository, &digest, done);
        Ok(())
    }

    fn delete_tag(&mut self, registry: &mut Registry, repository: &str) -> Result<(), Error> {
        let Some(key) = self.pick(
            self.ledger
                .tags
                .iter()
                .filter(|((holder, _), targets)| holder == repository && !targets.contains(&None)),
        ) else {
            return Ok(());
        };
        self.ledger.tag_delete_begun(&key);
        let done = registry.delete(repository, "manifests", &key.1)?;
        self.ledger.tag_delete_done(&key, done);
        Ok(())
    }

    /// One of some entries. The source of numbers is copied: `entries` borrows the ledger.
    fn pick<'a, T: 'a>(&self, entries: impl Iterator<Item = (&'a Key, &'a T)>) -> Option<Key> {
        let mut random = self.random.clone();
        let keys: Vec<_> = entries.map(|(key, _)| key).collect();
        random
            .index(keys.len())
            .and_then(|index| keys.get(index).copied().cloned())
    }
}

/// An image manifest over blobs; the serial number makes it one of a kind.
pub(crate) fn manifest(config: &Payload, layers: &[&Payload], serial: u64) -> Vec<u8> {
    let descriptor = |media_type: &str, payload: &Payload| {
        serde_json::json!({
            "mediaType": media_type,
            "digest": payload.digest(),
            "size": payload.len(),
        })
    };
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", layer))
        .collect();
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": layers,
        "annotations": { "serial": serial.to_string() },
    })
    .to_string()
    .into_bytes()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
