//! Replicas over stores whose requests shuttle schedules.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use oci_core::runtime::IdSource;
use oci_core::store::BlobStream;
use shuttle::future::JoinHandle;
use tokio::sync::oneshot;

use super::super::harness::{Crashed, Task, World, give_way};
use crate::records::extent::{ExtentError, ExtentInfo};
use crate::records::keys;
use crate::records::store::{RecordError, ScanEntry};
use crate::records::{
    ExtentStore, Guarantees, PartLimits, RecordStore, Records, Spawn, UploadLocks, Version,
    Versioned,
};

/// Two stores and the way to them.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) world: World,
    network: Arc<Network>,
}

#[derive(Debug)]
struct Network {
    travel: Travel,
    flaw: Flaw,
    /// Everything that goes on by itself: requests, and work whose caller has left.
    running: Mutex<Vec<JoinHandle<()>>>,
    ids: AtomicU64,
    /// The reference that was written last, for the flaw that hides it.
    last: Mutex<String>,
}

/// How a request gets to a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Travel {
    /// In a task of its own. It takes effect at any time, also after its sender has left or has sent others,
    /// and its answer arrives at any time after that.
    Alone,
    /// With its sender, who gives way before. There are far fewer orders.
    InTurn,
}

/// How a store breaks its contract.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flaw {
    None,
    /// What is written under this prefix is written whatever is there by then.
    NoCompare(&'static str),
    /// A listing lacks the reference that was written last.
    LateListings,
}

impl Site {
    pub(super) fn new(travel: Travel, flaw: Flaw) -> Self {
        Self {
            world: World::new(4_000),
            network: Arc::new(Network {
                travel,
                flaw,
                running: Mutex::default(),
                ids: AtomicU64::new(1),
                last: Mutex::default(),
            }),
        }
    }

    /// A process of its own.
    pub(super) fn replica(&self) -> Records {
        self.replica_ahead(0)
    }

    /// One whose clock is so many seconds ahead.
    pub(super) fn replica_ahead(&self, seconds: i64) -> Records {
        let spawn = Arc::clone(&self.network) as Arc<dyn Spawn>;
        let mut options = self.world.options(spawn, UploadLocks::default(), seconds);
        options.ids = Arc::clone(&self.network) as Arc<dyn IdSource>;
        Records::with_options(
            Far(self.world.records.clone(), Arc::clone(&self.network)),
            Far(self.world.extents.clone(), Arc::clone(&self.network)),
            options,
        )
    }

    /// One beside which nothing happens, before and after the rest.
    pub(super) fn alone(&self) -> Records {
        let options = self
            .world
            .options(Arc::new(Crashed), UploadLocks::default(), 0);
        let (records, extents) = (self.world.records.clone(), self.world.extents.clone());
        Records::with_options(records, extents, options)
    }

    /// Runs `tasks` and all that they leave behind to their ends.
    pub(super) fn run(&self, tasks: Vec<Task>) {
        shuttle::future::block_on(async {
            let tasks: Vec<_> = tasks.into_iter().map(shuttle::future::spawn).collect();
            for task in tasks {
                // Those who have left are not waited for.
                let _ = task.await;
            }
            while let Some(task) = self.network.next_running() {
                let _ = task.await;
            }
        });
    }
}

impl Network {
    fn next_running(&self) -> Option<JoinHandle<()>> {
        self.running.lock().unwrap().pop()
    }

    fn start(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Not under the lock: others have their turn in between.
        let task = shuttle::future::spawn(work);
        self.running.lock().unwrap().push(task);
    }

    async fn request<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> T {
        match self.travel {
            Travel::InTurn => {
                give_way().await;
                call.await
            }
            Travel::Alone => {
                let (send, answer) = oneshot::channel();
                self.start(async move {
                    let _ = send.send(call.await);
                });
                answer.await.unwrap()
            }
        }
    }

    fn is_compared(&self, key: &str) -> bool {
        !matches!(self.flaw, Flaw::NoCompare(prefix) if key.starts_with(prefix))
    }

    fn is_listed(&self, key: &str) -> bool {
        self.flaw != Flaw::LateListings || *self.last.lock().unwrap() != key
    }
}

impl Spawn for Network {
    fn spawn(&self, work: Task) {
        self.start(work);
    }
}

/// The same in each run of a schedule.
impl IdSource for Network {
    fn random(&self) -> [u8; 16] {
        let id = self.ids.fetch_add(1, Ordering::SeqCst);
        let mut random = [0; 16];
        // The order of keys is not that of their making.
        random[..8].copy_from_slice(&id.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        random[8..].copy_from_slice(&id.to_be_bytes());
        random
    }
}

/// A store at the other end of the network.
#[derive(Debug)]
struct Far<S>(S, Arc<Network>);

#[async_trait]
impl<S: RecordStore + Clone> RecordStore for Far<S> {
    fn guarantees(&self) -> Guarantees {
        Guarantees::ALL
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, RecordError> {
        let (store, key) = (self.0.clone(), key.to_owned());
        let call = async move { store.get(&key).await };
        self.1.request(call).await
    }

    async fn put_if(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<&Version>,
    ) -> Result<Version, RecordError> {
        let (store, key, expected) = (self.0.clone(), key.to_owned(), expected.cloned());
        let network = Arc::clone(&self.1);
        let call = async move {
            let expected = if network.is_compared(&key) {
                expected
            } else {
                store.get(&key).await?.map(|found| found.version)
            };
            let written = store.put_if(&key, value, expected.as_ref()).await;
            if written.is_ok() && key.starts_with(keys::REFERENCES) {
                *network.last.lock().unwrap() = key;
            }
            written
        };
        self.1.request(call).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ScanEntry>, RecordError> {
        let (store, prefix, after) = (
            self.0.clone(),
            prefix.to_owned(),
            after.map(ToOwned::to_owned),
        );
        let network = Arc::clone(&self.1);
        let call = async move {
            let entries = store.scan(&prefix, after.as_deref(), limit).await?;
            // As object stores list: without values.
            let keys = entries.into_iter().map(|entry| ScanEntry::key(entry.key));
            Ok(keys.filter(|entry| network.is_listed(&entry.key)).collect())
        };
        self.1.request(call).await
    }

    async fn purge(&self, key: &str) -> Result<(), RecordError> {
        let (store, key) = (self.0.clone(), key.to_owned());
        let call = async move { store.purge(&key).await };
        self.1.request(call).await
    }

    fn can_purge_if(&self) -> bool {
        self.0.can_purge_if()
    }

    async fn purge_if(&self, key: &str, expected: &Version) -> Result<bool, RecordError> {
        let (store, key, expected) = (self.0.clone(), key.to_owned(), expected.clone());
        let call = async move { store.purge_if(&key, &expected).await };
        self.1.request(call).await
    }
}

#[async_trait]
impl<S: ExtentStore + Clone> ExtentStore for Far<S> {
    fn guarantees(&self) -> Guarantees {
        Guarantees::ALL
    }

    fn part_limits(&self) -> PartLimits {
        self.0.part_limits()
    }

    async fn put(&self, key: &str, pieces: Vec<Bytes>) -> Result<(), ExtentError> {
        let (store, key) = (self.0.clone(), key.to_owned());
        let call = async move { store.put(&key, pieces).await };
        self.1.request(call).await
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<BlobStream, ExtentError> {
        let (store, key) = (self.0.clone(), key.to_owned());
        let call = async move { store.read(&key, range).await };
        self.1.request(call).await
    }

    /// Happens whenever it happens; nobody is told.
    async fn delete(&self, key: &str) -> Result<(), ExtentError> {
        let (store, key) = (self.0.clone(), key.to_owned());
        self.1.start(async move {
            give_way().await;
            let _ = store.delete(&key).await;
        });
        Ok(())
    }

    async fn begin_parts(&self, key: &str) -> Result<String, ExtentError> {
        let (store, key) = (self.0.clone(), key.to_owned());
        let call = async move { store.begin_parts(&key).await };
        self.1.request(call).await
    }

    async fn put_part(
        &self,
        key: &str,
        upload: &str,
        index: usize,
        pieces: Vec<Bytes>,
    ) -> Result<String, ExtentError> {
        let (store, key, upload) = (self.0.clone(), key.to_owned(), upload.to_owned());
        let call = async move { store.put_part(&key, &upload, index, pieces).await };
        self.1.request(call).await
    }

    async fn finish_parts(
        &self,
        key: &str,
        upload: &str,
        parts: &[String],
    ) -> Result<(), ExtentError> {
        let (store, key, upload) = (self.0.clone(), key.to_owned(), upload.to_owned());
        let parts = parts.to_owned();
        let call = async move { store.finish_parts(&key, &upload, &parts).await };
        self.1.request(call).await
    }

    async fn abort_parts(&self, key: &str, upload: &str) -> Result<(), ExtentError> {
        let (store, key, upload) = (self.0.clone(), key.to_owned(), upload.to_owned());
        let call = async move { store.abort_parts(&key, &upload).await };
        self.1.request(call).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ExtentInfo>, ExtentError> {
        let (store, prefix, after) = (
            self.0.clone(),
            prefix.to_owned(),
            after.map(ToOwned::to_owned),
        );
        let call = async move { store.list(&prefix, after.as_deref(), limit).await };
        self.1.request(call).await
    }
}
