//! A place in an object store.

use std::fmt;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectMeta};

use super::failure::BucketError;
use super::probe::Verdict;
use super::service::{Memory, Service, SignUrls};
use super::{ObjectExtents, ObjectRecords};
use crate::records::{Guarantees, Records, RecordsOptions};

/// A bucket or container, and the prefix in it below which everything is kept. Cloning is cheap.
#[derive(Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
}

struct Inner {
    service: Box<dyn Service>,
    settings: Settings,
}

/// What distinguishes one bucket from another.
pub(super) struct Settings {
    /// What it is called in messages.
    pub(super) name: String,
    /// The prefix, without slashes at its ends; may be empty.
    pub(super) root: String,
    /// What conditional writes compare.
    pub(super) tokens: Tokens,
    /// The class that content is stored in, where that is not the bucket's own.
    pub(super) storage_class: Option<String>,
    pub(super) guarantees: Guarantees,
    pub(super) counters: Arc<Counters>,
    pub(super) finishing: Finishing,
    /// Signs addresses for others, where they reach the service by another name than this process does.
    pub(super) public: Option<Box<dyn SignUrls>>,
}

/// How to wait while the service makes an object of parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finishing {
    /// How long it may take.
    pub(super) timeout: Duration,
    /// How long to wait before it is asked again, at first.
    pub(super) pause: Duration,
}

impl Default for Finishing {
    fn default() -> Self {
        Self {
            timeout: FINISH_TIMEOUT,
            pause: RETRY_PAUSE,
        }
    }
}

pub(super) const FINISH_TIMEOUT: Duration = Duration::from_secs(15 * 60);
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What conditional writes compare.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tokens {
    /// Entity tags.
    ETag,
    /// Google's generations.
    #[cfg_attr(
        not(feature = "gcs"),
        expect(dead_code, reason = "only Google has them")
    )]
    Generation,
}

impl Bucket {
    /// A bucket in memory, for tests. Clones share it.
    pub fn in_memory() -> Self {
        let settings = Settings {
            name: "memory".to_owned(),
            root: String::new(),
            tokens: Tokens::ETag,
            storage_class: None,
            guarantees: Guarantees::ALL,
            counters: Arc::default(),
            finishing: Finishing::default(),
            public: None,
        };
        Self::new(Memory(InMemory::new()), settings)
    }

    pub(super) fn new(service: impl Service, settings: Settings) -> Self {
        Self {
            inner: Arc::new(Inner {
                service: Box::new(service),
                settings,
            }),
        }
    }

    /// Both planes of storage in this bucket, as far as `verdict` allows.
    pub fn records(&self, verdict: &Verdict, options: RecordsOptions) -> Records {
        let records = ObjectRecords::new(self.clone(), verdict);
        let extents = ObjectExtents::new(self.clone(), verdict);
        Records::with_options(records, extents, options)
    }

    /// Service, bucket, prefix and endpoint, in words.
    pub fn name(&self) -> &str {
        &self.settings().name
    }

    /// How many HTTP requests were sent so far, repeated ones and those for credentials included. A bucket
    /// in memory sends none.
    pub fn requests(&self) -> RequestCounts {
        self.settings().counters.read()
    }

    pub(super) fn service(&self) -> &dyn Service {
        &*self.inner.service
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// What signs addresses of objects for others.
    pub(super) fn signer(&self) -> Option<&dyn SignUrls> {
        match &self.settings().public {
            Some(public) => Some(&**public),
            None => self.service().signer(),
        }
    }

    /// What this bucket gives, if only one process may use it or many.
    pub(super) fn guarantees(&self, shared: bool) -> Guarantees {
        Guarantees {
            shared,
            // Where one process makes up for conditions, a write that is late undoes others.
            consistent: shared,
            ..self.settings().guarantees
        }
    }

    /// Attributes of an object with content.
    pub(super) fn content_attributes(&self) -> Attributes {
        let mut attributes = Attributes::new();
        if let Some(class) = &self.settings().storage_class {
            attributes.insert(Attribute::StorageClass, class.clone().into());
        }
        attributes
    }

    /// The object of a key.
    pub(super) fn path(&self, key: &str) -> Result<Path, BucketError> {
        Path::parse(self.full(key)).map_err(|error| BucketError::key(key, error))
    }

    /// Objects under `prefix` after the key `after`, in byte order, with their keys.
    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, ObjectMeta)>, object_store::Error> {
        let prefix = self.full(prefix);
        // An offset before the prefix would make some services list what lies between.
        let after = after
            .map(|after| self.full(after))
            .filter(|after| *after >= prefix);
        let found = self.service().page(&prefix, after.as_deref(), limit);
        let root = self.full("");
        Ok(found
            .await?
            .into_iter()
            .filter_map(|meta| {
                let key = meta.location.as_ref().strip_prefix(&root)?.to_owned();
                Some((key, meta))
            })
            .collect())
    }

    fn full(&self, key: &str) -> String {
        match self.settings().root.as_str() {
            "" => key.to_owned(),
            root => format!("{root}/{key}"),
        }
    }
}

impl Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.name())
    }
}

/// HTTP requests, counted by what they are billed as.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct RequestCounts {
    /// Reading an object or asking about it.
    pub get: u64,
    /// Writing an object or a part; beginning and finishing one in parts.
    pub put: u64,
    /// Listing.
    pub list: u64,
    /// Deleting an object, giving up one in parts.
    pub delete: u64,
}

impl RequestCounts {
    /// All of them.
    pub fn total(self) -> u64 {
        self.get + self.put + self.list + self.delete
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) get: AtomicU64,
    pub(super) put: AtomicU64,
    pub(super) list: AtomicU64,
    pub(super) delete: AtomicU64,
}

impl Counters {
    fn read(&self) -> RequestCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RequestCounts {
            get: read(&self.get),
            put: read(&self.put),
            list: read(&self.list),
            delete: read(&self.delete),
        }
    }
}
