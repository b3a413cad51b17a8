//! Certificates, keys and authorities that change while the process runs.
//!
//! The files are read anew every few seconds. That follows renamed files, Kubernetes' `..data` links and
//! network volumes alike, where notifications get lost, and costs some microseconds. What cannot be used is
//! reported, and what was used before stays.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use time::OffsetDateTime;

use super::local::LocalCa;
use super::material::{Digested, Material, Paths, Settings};
use super::warnings::{self, about};
use super::{Facts, TlsError};

/// What new connections are accepted with. Those that are open keep what they began with.
pub struct LiveTls {
    current: ArcSwap<Served>,
}

struct Served {
    config: Arc<rustls::ServerConfig>,
    facts: Facts,
}

impl LiveTls {
    /// For a connection that begins now.
    pub fn config(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// What the certificate says that is served now.
    pub fn facts(&self) -> Facts {
        self.current.load().facts.clone()
    }
}

impl fmt::Debug for LiveTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveTls")
            .field("facts", &self.current.load().facts)
            .finish_non_exhaustive()
    }
}

/// Looks after the files of a [`LiveTls`].
#[derive(Debug)]
pub struct Reloader {
    live: Arc<LiveTls>,
    paths: Paths,
    settings: Settings,
    local: Option<LocalCa>,
    hosts: Vec<String>,
    served: Digested,
    refused: Option<Refused>,
    /// What was last warned of, and when: so that an expiry is not forgotten, nor repeated all day.
    warned: OffsetDateTime,
}

/// Contents that could not be used.
#[derive(Debug, Eq, PartialEq)]
struct Refused {
    /// `None` if they could not even be read.
    contents: Option<Digested>,
    error: TlsError,
    reported: bool,
}

/// What a look at the files brought.
#[derive(Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reload {
    /// Nothing new.
    Unchanged,
    /// New connections get what the files hold now.
    Swapped,
    /// The files cannot be used as they are now. Somebody may be in the middle of replacing them.
    Waiting,
    /// They still cannot be used, and nobody seems to work on them: what was used before stays.
    Refused(TlsError),
}

impl Reloader {
    /// Reads the files for the first time.
    pub(super) fn open(
        paths: Paths,
        settings: Settings,
        local: Option<LocalCa>,
        hosts: Vec<String>,
        now: OffsetDateTime,
    ) -> Result<(Arc<LiveTls>, Self), TlsError> {
        let material = Material::read(&paths)?;
        let (config, facts) = material.accept(&paths, &settings)?;
        let live = Arc::new(LiveTls {
            current: ArcSwap::from_pointee(Served { config, facts }),
        });
        let mut reloader = Self {
            live: Arc::clone(&live),
            paths,
            settings,
            local,
            hosts,
            served: material.digest(),
            refused: None,
            warned: now,
        };
        reloader.warn(now);
        Ok((live, reloader))
    }

    /// Looks at the files once. Reads them, so not for the thread that polls requests.
    pub fn check(&mut self, now: OffsetDateTime) -> Reload {
        if let Some(local) = &mut self.local
            && let Err(error) = local.renew(now)
        {
            tracing::warn!("the certificate could not be renewed: {error:#}");
        }
        if now - self.warned > DAILY {
            self.warn(now);
        }
        let (contents, read) = match Material::read(&self.paths) {
            Ok(material) if material.digest() == self.served => {
                self.refused = None;
                return Reload::Unchanged;
            }
            Ok(material) => (
                Some(material.digest()),
                material.accept(&self.paths, &self.settings),
            ),
            Err(error) => (None, Err(error)),
        };
        match read {
            Ok((config, facts)) => {
                tracing::info!(
                    expires = super::facts::day(facts.not_after),
                    "the certificate was replaced: new connections get it"
                );
                self.live.current.store(Arc::new(Served { config, facts }));
                self.served = contents.unwrap_or_default();
                self.refused = None;
                self.warn(now);
                Reload::Swapped
            }
            Err(error) => self.refuse(contents, error),
        }
    }

    /// Two files are replaced one after the other, and between that they do not fit each other. So only what
    /// is still wrong at the next look is reported, and that once.
    fn refuse(&mut self, contents: Option<Digested>, error: TlsError) -> Reload {
        match &mut self.refused {
            Some(refused) if refused.contents == contents && refused.error == error => {
                if !refused.reported {
                    refused.reported = true;
                    tracing::error!(
                        "{error} (the certificate and key that were read before stay in use)"
                    );
                }
                Reload::Refused(error)
            }
            refused => {
                *refused = Some(Refused {
                    contents,
                    error,
                    reported: false,
                });
                Reload::Waiting
            }
        }
    }

    fn warn(&mut self, now: OffsetDateTime) {
        self.warned = now;
        let facts = self.live.facts();
        let key = warnings::about_key(&self.paths.key);
        let authority = self.local.as_ref().and_then(|local| local.warning(now));
        let others = key.into_iter().chain(authority);
        for warning in about(&facts, &self.hosts, now).into_iter().chain(others) {
            tracing::warn!("{}: {warning}", self.paths.certificate.display());
        }
    }

    /// Looks at the files every `interval`, and whenever `now` says so, for as long as it is polled.
    pub async fn run(self, interval: Duration, mut hurry: tokio::sync::mpsc::Receiver<()>) {
        let mut reloader = self;
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = true;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                more = hurry.recv(), if told => told = more.is_some(),
            }
            let looked = tokio::task::spawn_blocking(move || {
                reloader.check(OffsetDateTime::now_utc());
                reloader
            });
            match looked.await {
                Ok(back) => reloader = back,
                // Only a panic, which has been logged, or the end of the runtime.
                Err(_) => return,
            }
        }
    }
}

const DAILY: time::Duration = time::Duration::DAY;

/// How often files are looked at.
pub const INTERVAL: Duration = Duration::from_secs(2);
