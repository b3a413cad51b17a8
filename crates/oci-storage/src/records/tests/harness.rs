//! Stores that can be told to misbehave, a scheduler that interleaves at random, and a stand-in for the
//! collector.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use oci_core::error::StoreError;
use oci_core::runtime::Clock;
use oci_core::store::{
    AppendMode, BlobPayload, BlobStore, BlobStream, BlobUpload, ManifestStore, PutManifest,
    ReadRange, TagWrite, UploadOptions, UploadScope,
};
use oci_core::{Digest, Manifest, RepositoryName, Tag};

use crate::records::extent::{ExtentError, ExtentInfo};
use crate::records::store::{RecordError, ScanEntry};
use crate::records::{
    ExtentStore, Guarantees, MemoryExtents, MemoryRecords, PartLimits, RecordStore, Records,
    RecordsOptions, Spawn, UploadLocks, Version, Versioned,
};

/// Both stores, and what is done to calls on their way.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) records: MemoryRecords,
    pub(super) extents: MemoryExtents,
    pub(super) control: Arc<Control>,
}

#[derive(Debug, Default)]
pub(super) struct Control {
    /// Whether every call gives way to others before and after it takes effect.
    pub(super) interleave: bool,
    pub(super) calls: AtomicU64,
    /// Whether listings begin anew instead of going on.
    pub(super) circles: AtomicBool,
    plan: Mutex<Option<(u64, Fault)>>,
    /// Which record's next write is overtaken, by its key's beginning, and by what.
    overtaking: Mutex<Option<(String, Overtaking)>>,
    /// Bytes of extents that were read.
    pub(super) read: AtomicU64,
    /// Deletes of extents that have not happened yet; nothing if they happen at once.
    late: Option<Mutex<VecDeque<String>>>,
    /// With these dice, calls fail in every way now and then.
    odds: Mutex<Option<Dice>>,
    pub(super) now: AtomicU64,
}

/// What others do between a write whose answer gets lost and the reading back.
struct Overtaking(Task);

impl std::fmt::Debug for Overtaking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Overtaking")
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    Unavailable,
    NoSpace,
    /// It happens, but the answer gets lost.
    Applied,
    /// It does not happen, and nobody can tell.
    Dropped,
    /// It happens, the answer gets lost, and somebody else writes the same once more.
    Overtaken,
}

impl Fault {
    pub(super) const ALL: [Self; 5] = [
        Self::Unavailable,
        Self::NoSpace,
        Self::Applied,
        Self::Dropped,
        Self::Overtaken,
    ];
}

impl World {
    pub(super) fn new(part_size: u64) -> Self {
        Self::with(part_size, Control::default())
    }

    /// Calls interleave and deletes happen late.
    pub(super) fn interleaved(part_size: u64) -> Self {
        let control = Control {
            interleave: true,
            late: Some(Mutex::default()),
            ..Control::default()
        };
        Self::with(part_size, control)
    }

    fn with(part_size: u64, control: Control) -> Self {
        control.now.store(1_000_000, Ordering::SeqCst);
        let control = Arc::new(control);
        let clock = Arc::new(TestClock(Arc::clone(&control), 0));
        let limits = PartLimits::new(part_size, u64::MAX, 4);
        Self {
            records: MemoryRecords::new(),
            extents: MemoryExtents::with_limits(limits).with_clock(clock),
            control,
        }
    }

    /// An engine, as in a process of its own.
    pub(super) fn process(&self, spawn: Arc<dyn Spawn>) -> Records {
        self.engine(spawn, UploadLocks::default())
    }

    /// The same with a clock that is off by so many seconds.
    pub(super) fn skewed(&self, spawn: Arc<dyn Spawn>, seconds: i64) -> Records {
        self.with_clock(spawn, UploadLocks::default(), seconds)
    }

    pub(super) fn engine(&self, spawn: Arc<dyn Spawn>, locks: UploadLocks) -> Records {
        self.with_clock(spawn, locks, 0)
    }

    fn with_clock(&self, spawn: Arc<dyn Spawn>, locks: UploadLocks, seconds: i64) -> Records {
        let options = RecordsOptions {
            clock: Arc::new(TestClock(Arc::clone(&self.control), seconds)),
            spawn,
            locks,
            part_size: 1,
            checkpoint_bytes: u64::MAX,
            ..RecordsOptions::default()
        };
        Records::with_options(
            Meddled(self.records.clone(), Arc::clone(&self.control)),
            Meddled(self.extents.clone(), Arc::clone(&self.control)),
            options,
        )
    }

    /// Lets the deletes happen that were late.
    pub(super) fn settle_deletes(&self) {
        while let Some(key) = self.control.overdue() {
            block_on(self.extents.delete(&key)).unwrap();
        }
    }
}

impl Control {
    /// The call after `calls` more fails with `fault`, once.
    pub(super) fn fail(&self, calls: u64, fault: Fault) {
        *self.plan.lock().unwrap() = Some((self.calls.load(Ordering::SeqCst) + calls, fault));
    }

    /// Whether the fault that was planned has happened.
    pub(super) fn failed(&self) -> bool {
        self.plan.lock().unwrap().is_none()
    }

    /// The next write of a record whose key begins with `prefix` happens, but its answer gets lost, and
    /// `meanwhile` happens before anybody can look.
    pub(super) fn overtake(
        &self,
        prefix: &str,
        meanwhile: impl Future<Output = ()> + Send + 'static,
    ) {
        let overtaking = Overtaking(Box::pin(meanwhile));
        *self.overtaking.lock().unwrap() = Some((prefix.to_owned(), overtaking));
    }

    /// Whether that has happened.
    pub(super) fn overtaken(&self) -> bool {
        self.overtaking.lock().unwrap().is_none()
    }

    fn overtaking(&self, key: &str) -> Option<Task> {
        let mut overtaking = self.overtaking.lock().unwrap();
        let due = overtaking.take_if(|(prefix, _)| key.starts_with(prefix.as_str()));
        due.map(|(_, Overtaking(meanwhile))| meanwhile)
    }

    /// From now on calls fail at random.
    pub(super) fn trouble(&self, seed: u64) {
        *self.odds.lock().unwrap() = Some(Dice::new(seed));
    }

    pub(super) fn heal(&self) {
        *self.plan.lock().unwrap() = None;
        *self.odds.lock().unwrap() = None;
    }

    fn going_on<'a>(&self, after: Option<&'a str>) -> Option<&'a str> {
        after.filter(|_| !self.circles.load(Ordering::SeqCst))
    }

    fn overdue(&self) -> Option<String> {
        self.late.as_ref()?.lock().unwrap().pop_front()
    }

    async fn step(&self) -> Option<Fault> {
        self.give_way().await;
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(dice) = &mut *self.odds.lock().unwrap()
            && dice.below(40) == 0
        {
            return Some(Fault::ALL[dice.below(Fault::ALL.len())]);
        }
        let mut plan = self.plan.lock().unwrap();
        let due = plan.filter(|(at, _)| *at == call);
        if due.is_some() {
            *plan = None;
        }
        due.map(|(_, fault)| fault)
    }

    async fn give_way(&self) {
        if self.interleave {
            let mut given = false;
            std::future::poll_fn(|cx| {
                if std::mem::replace(&mut given, true) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        }
    }
}

#[derive(Debug)]
struct TestClock(Arc<Control>, i64);

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        let seconds = self.0.now.load(Ordering::SeqCst);
        let seconds = seconds.saturating_add_signed(self.1);
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }
}

#[derive(Debug)]
struct Meddled<S>(S, Arc<Control>);

impl<S> Meddled<S> {
    /// A call that nobody minds repeating.
    async fn meddle<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        error: impl Fn(Fault) -> E,
    ) -> Result<T, E> {
        let result = match self.1.step().await {
            None => call.await,
            Some(fault @ (Fault::Applied | Fault::Overtaken)) => {
                call.await?;
                Err(error(fault))
            }
            Some(fault) => Err(error(fault)),
        };
        self.1.give_way().await;
        result
    }
}

/// The same record with another nonce, as a writer that changes nothing would leave it.
fn written_again(value: &Bytes) -> Bytes {
    let mut value = value.to_vec();
    for byte in &mut value[12..28] {
        *byte = !*byte;
    }
    let checksum = Digest::sha256(&value[12..]);
    value[4..12].copy_from_slice(&checksum.as_bytes()[..8]);
    value.into()
}

fn record_fault(fault: Fault) -> RecordError {
    match fault {
        Fault::NoSpace => RecordError::NoSpace("full".into()),
        _ => RecordError::Unavailable("down".into()),
    }
}

fn extent_fault(fault: Fault) -> ExtentError {
    match fault {
        Fault::NoSpace => ExtentError::NoSpace("full".into()),
        _ => ExtentError::Unavailable("down".into()),
    }
}

#[async_trait]
impl RecordStore for Meddled<MemoryRecords> {
    fn guarantees(&self) -> Guarantees {
        Guarantees::ALL
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, RecordError> {
        self.meddle(self.0.get(key), record_fault).await
    }

    async fn put_if(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<&Version>,
    ) -> Result<Version, RecordError> {
        if let Some(meanwhile) = self.1.overtaking(key) {
            self.0.put_if(key, value, expected).await?;
            meanwhile.await;
            return Err(RecordError::Ambiguous("no answer".into()));
        }
        let again = written_again(&value);
        let call = self.0.put_if(key, value, expected);
        let overtaken = AtomicBool::new(false);
        let written = self.meddle(call, |fault| match fault {
            Fault::Overtaken => {
                overtaken.store(true, Ordering::SeqCst);
                RecordError::Ambiguous("no answer".into())
            }
            Fault::Applied | Fault::Dropped => RecordError::Ambiguous("no answer".into()),
            other => record_fault(other),
        });
        let written = written.await;
        if overtaken.into_inner()
            && let Some(found) = self.0.get(key).await?
        {
            self.0.put_if(key, again, Some(&found.version)).await?;
        }
        written
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ScanEntry>, RecordError> {
        let after = self.1.going_on(after);
        let call = self.0.scan(prefix, after, limit);
        let entries = self.meddle(call, record_fault).await?;
        // As object stores list: without values.
        Ok(entries
            .into_iter()
            .map(|entry| ScanEntry::key(entry.key))
            .collect())
    }

    async fn purge(&self, key: &str) -> Result<(), RecordError> {
        self.meddle(self.0.purge(key), record_fault).await
    }

    fn can_purge_if(&self) -> bool {
        self.0.can_purge_if()
    }

    async fn purge_if(&self, key: &str, expected: &Version) -> Result<bool, RecordError> {
        self.meddle(self.0.purge_if(key, expected), record_fault)
            .await
    }
}

#[async_trait]
impl ExtentStore for Meddled<MemoryExtents> {
    fn guarantees(&self) -> Guarantees {
        Guarantees::ALL
    }

    fn part_limits(&self) -> PartLimits {
        self.0.part_limits()
    }

    async fn put(&self, key: &str, pieces: Vec<Bytes>) -> Result<(), ExtentError> {
        self.meddle(self.0.put(key, pieces), extent_fault).await
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<BlobStream, ExtentError> {
        self.1
            .read
            .fetch_add(range.end - range.start, Ordering::SeqCst);
        self.meddle(self.0.read(key, range), extent_fault).await
    }

    async fn delete(&self, key: &str) -> Result<(), ExtentError> {
        if let Some(late) = &self.1.late {
            late.lock().unwrap().push_back(key.to_owned());
            return Ok(());
        }
        self.meddle(self.0.delete(key), extent_fault).await
    }

    async fn begin_parts(&self, key: &str) -> Result<String, ExtentError> {
        self.meddle(self.0.begin_parts(key), extent_fault).await
    }

    async fn put_part(
        &self,
        key: &str,
        upload: &str,
        index: usize,
        pieces: Vec<Bytes>,
    ) -> Result<String, ExtentError> {
        let call = self.0.put_part(key, upload, index, pieces);
        self.meddle(call, extent_fault).await
    }

    async fn finish_parts(
        &self,
        key: &str,
        upload: &str,
        parts: &[String],
    ) -> Result<(), ExtentError> {
        let call = self.0.finish_parts(key, upload, parts);
        self.meddle(call, extent_fault).await
    }

    async fn abort_parts(&self, key: &str, upload: &str) -> Result<(), ExtentError> {
        self.meddle(self.0.abort_parts(key, upload), extent_fault)
            .await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ExtentInfo>, ExtentError> {
        let after = self.1.going_on(after);
        self.meddle(self.0.list(prefix, after, limit), extent_fault)
            .await
    }
}

/// Random numbers that a seed repeats.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Polls whichever task the dice name, until all are done.
pub(super) struct Schedule {
    tasks: Vec<Task>,
    spawned: Arc<Queue>,
    dice: Dice,
    /// The most steps that one task makes before another has its turn.
    burst: usize,
    world: World,
}

/// Work that outlived its caller.
#[derive(Default)]
pub(super) struct Queue(Mutex<Vec<Task>>);

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

impl Spawn for Queue {
    fn spawn(&self, work: Task) {
        self.0.lock().unwrap().push(work);
    }
}

/// What a process that has crashed does with work that outlived its caller.
#[derive(Debug)]
pub(super) struct Crashed;

impl Spawn for Crashed {
    fn spawn(&self, work: Task) {
        // Its own work that is left behind must not be handed over again and again.
        std::mem::forget(work);
    }
}

impl Schedule {
    pub(super) fn new(world: &World, seed: u64) -> Self {
        Self {
            tasks: Vec::new(),
            spawned: Arc::default(),
            dice: Dice::new(seed),
            // Steps in turn, and tasks that are held up while others get far.
            burst: [1, 10, 60][usize::try_from(seed % 3).unwrap()],
            world: world.clone(),
        }
    }

    pub(super) fn spawner(&self) -> Arc<dyn Spawn> {
        Arc::clone(&self.spawned) as Arc<dyn Spawn>
    }

    pub(super) fn add(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(Box::pin(task));
    }

    /// Runs everything. With `crashes`, a task is dropped now and then.
    pub(super) fn run(mut self, crashes: bool) {
        let mut context = Context::from_waker(Waker::noop());
        let mut steps = 0_u64;
        loop {
            self.tasks.append(&mut self.spawned.0.lock().unwrap());
            if self.tasks.is_empty() {
                return;
            }
            steps += 1;
            assert!(steps < 1_000_000, "no end in sight");
            if self.dice.below(8) == 0
                && let Some(key) = self.world.control.overdue()
            {
                block_on(self.world.extents.delete(&key)).unwrap();
            }
            let at = self.dice.below(self.tasks.len());
            if crashes && self.dice.below(300) < self.burst {
                drop(self.tasks.swap_remove(at));
                continue;
            }
            for _ in 0..=self.dice.below(self.burst) {
                if self.tasks[at].as_mut().poll(&mut context).is_ready() {
                    drop(self.tasks.swap_remove(at));
                    break;
                }
            }
        }
    }
}

/// Polls until ready; nothing here ever waits for another thread.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10_000_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
    panic!("no end in sight");
}

pub(super) fn repository(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

pub(super) fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

pub(super) fn scope() -> UploadScope {
    UploadScope::new(repository("r"), "somebody")
}

/// Content that no other seed has.
pub(super) fn content(seed: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| seed ^ u8::try_from(at % 251).unwrap())
        .collect()
}

pub(super) async fn append(
    upload: &mut Box<dyn BlobUpload>,
    bytes: &[u8],
) -> Result<u64, StoreError> {
    let pieces: Vec<_> = bytes
        .chunks(7_000)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    let mut pieces = std::pin::pin!(stream::iter(pieces));
    upload
        .append(pieces.as_mut(), AppendMode::Progressive)
        .await
}

/// Pushes a blob in one go.
pub(super) async fn push_blob(store: &Records, bytes: &[u8]) -> Result<Digest, StoreError> {
    let digest = Digest::sha256(bytes);
    let options = UploadOptions::expecting(digest);
    let mut upload = store.begin_upload(&scope(), &options).await?;
    append(&mut upload, bytes).await?;
    upload.commit(&digest, &repository("r")).await?;
    Ok(digest)
}

/// Pushes a blob over a session, as most clients do.
pub(super) async fn push_blob_by_session(
    store: &Records,
    bytes: &[u8],
) -> Result<Digest, StoreError> {
    let digest = Digest::sha256(bytes);
    let mut upload = store
        .begin_upload(&scope(), &UploadOptions::default())
        .await?;
    upload.checkpoint().await?;
    let (first, second) = bytes.split_at(bytes.len() / 2);
    append(&mut upload, first).await?;
    upload.checkpoint().await?;
    append(&mut upload, second).await?;
    upload.commit(&digest, &repository("r")).await?;
    Ok(digest)
}

pub(super) async fn read_blob(store: &Records, digest: &Digest) -> Result<Vec<u8>, StoreError> {
    match BlobStore::read(store, digest, ReadRange::Whole)
        .await?
        .payload
    {
        BlobPayload::Bytes(bytes) => Ok(bytes.to_vec()),
        BlobPayload::Stream(mut stream) => {
            let mut all = Vec::new();
            while let Some(piece) = stream.next().await {
                all.extend_from_slice(&piece?);
            }
            Ok(all)
        }
        other => panic!("{other:?}"),
    }
}

/// An image of two blobs.
pub(super) fn image(config: &[u8], layer: &[u8], note: &str, subject: Option<&Digest>) -> Manifest {
    let descriptor = |bytes: &[u8], kind: &str| {
        serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": Digest::sha256(bytes),
            "size": bytes.len(),
        })
    };
    let mut document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(config, "config.v1+json"),
        "layers": [descriptor(layer, "layer.v1.tar")],
        "annotations": {"note": note},
    });
    if let Some(subject) = subject {
        document["subject"] = serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": subject,
            "size": 7,
        });
    }
    Manifest::parse(document.to_string().into(), None).unwrap()
}

pub(super) async fn put(
    store: &Records,
    manifest: &Manifest,
    tags: &[TagWrite],
) -> Result<Digest, StoreError> {
    let name = repository("r");
    let digest = Digest::sha256(manifest.bytes());
    let mut put = PutManifest::new(&name, &digest, manifest);
    put.references = manifest.references();
    put.tags = tags;
    store.put(put).await?;
    Ok(digest)
}

/// An index of one manifest.
pub(super) fn index(child: &Manifest) -> Manifest {
    let document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": child.manifest_type().as_str(),
            "digest": Digest::sha256(child.bytes()),
            "size": child.size(),
        }],
    });
    Manifest::parse(document.to_string().into(), None).unwrap()
}
