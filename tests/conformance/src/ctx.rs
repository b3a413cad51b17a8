//! What a case works with: a registry, repository names of its own, and fresh bytes.

use std::{
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::Method;
use sha2::{Digest as _, Sha256};

use crate::{
    failure::Failure,
    repo::Repo,
    request::Req,
    runner::Credentials,
    transport::{Transport, raw::RawConnection},
};

/// How many requests a failure shows.
const SHOWN_EXCHANGES: usize = 8;

/// The world of one case.
pub struct Ctx {
    transport: Arc<dyn Transport>,
    credentials: Option<Credentials>,
    raw: Option<SocketAddr>,
    /// Unique to this run and case; every repository of the case starts with it.
    prefix: String,
    counter: AtomicU64,
    exchanges: Mutex<VecDeque<String>>,
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Ctx {
    pub(crate) fn new(
        transport: Arc<dyn Transport>,
        credentials: Option<Credentials>,
        raw: Option<SocketAddr>,
        prefix: String,
    ) -> Self {
        Self {
            transport,
            credentials,
            raw,
            prefix,
            counter: AtomicU64::new(0),
            exchanges: Mutex::new(VecDeque::new()),
        }
    }

    /// The address for cases that write their own bytes, if the registry has one.
    pub fn raw(&self) -> Option<SocketAddr> {
        self.raw
    }

    pub(crate) fn transport(&self) -> &dyn Transport {
        self.transport.as_ref()
    }

    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// The credentials of a case that declared it needs them.
    pub(crate) fn needed_credentials(&self) -> Result<&Credentials, Failure> {
        self.credentials
            .as_ref()
            .ok_or_else(|| Failure::new("this case needs credentials, and the run has none"))
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A repository name nobody has used.
    pub(crate) fn repo(&self) -> Repo<'_> {
        Repo::new(self, format!("{}/r{}", self.prefix, self.next()))
    }

    /// A repository name of this case's own that ends in `/suffix`.
    pub(crate) fn repo_named(&self, suffix: &str) -> Repo<'_> {
        Repo::new(self, format!("{}/r{}/{suffix}", self.prefix, self.next()))
    }

    /// The repository with exactly this name.
    pub(crate) fn repo_exactly(&self, name: impl Into<String>) -> Repo<'_> {
        Repo::new(self, name.into())
    }

    /// `length` bytes that no other call, case or run has produced.
    pub(crate) fn bytes(&self, length: usize) -> Bytes {
        let seed = Sha256::digest(format!("{}#{}", self.prefix, self.next()));
        let mut state = seed
            .iter()
            .take(8)
            .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            // splitmix64: short, and its output does not compress.
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
        }
        bytes.truncate(length);
        bytes.into()
    }

    /// A word that no other call, case or run has produced.
    pub(crate) fn word(&self) -> String {
        self.bytes(8)
            .iter()
            .fold(String::from("w"), |word, byte| format!("{word}{byte:02x}"))
    }

    pub(crate) fn request(&self, method: Method, target: impl Into<String>) -> Req<'_> {
        Req::new(self, method, target.into())
    }

    pub(crate) fn get(&self, target: impl Into<String>) -> Req<'_> {
        self.request(Method::GET, target)
    }

    pub(crate) fn head(&self, target: impl Into<String>) -> Req<'_> {
        self.request(Method::HEAD, target)
    }

    pub(crate) fn post(&self, target: impl Into<String>) -> Req<'_> {
        self.request(Method::POST, target)
    }

    pub(crate) fn put(&self, target: impl Into<String>) -> Req<'_> {
        self.request(Method::PUT, target)
    }

    pub(crate) fn patch(&self, target: impl Into<String>) -> Req<'_> {
        self.request(Method::PATCH, target)
    }

    pub(crate) fn delete(&self, target: impl Into<String>) -> Req<'_> {
        self.request(Method::DELETE, target)
    }

    /// A connection whose bytes the case writes itself.
    pub(crate) async fn connect(&self) -> Result<RawConnection, Failure> {
        match self.raw {
            Some(address) => RawConnection::open(address).await,
            None => Err(Failure::new(
                "this case needs a TCP address, and the run has none",
            )),
        }
    }

    /// The `Authorization` line of a hand-written request, or nothing.
    pub(crate) fn raw_authorization(&self) -> String {
        self.credentials
            .as_ref()
            .map_or_else(String::new, |credentials| {
                format!("Authorization: {}\r\n", credentials.basic())
            })
    }

    /// The value of the `Host` header of a hand-written request.
    pub(crate) fn raw_host(&self) -> String {
        self.raw
            .map_or_else(String::new, |address| address.to_string())
    }

    pub(crate) fn note(&self, exchange: String) {
        let mut exchanges = self
            .exchanges
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if exchanges.len() == SHOWN_EXCHANGES {
            exchanges.pop_front();
        }
        exchanges.push_back(exchange);
    }

    /// The last few requests and what they were answered.
    pub(crate) fn exchanges(&self) -> Vec<String> {
        let exchanges = self
            .exchanges
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        exchanges.iter().cloned().collect()
    }

    fn next(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }
}
