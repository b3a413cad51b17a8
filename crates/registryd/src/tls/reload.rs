//! Certificates, keys and authorities that change while the process runs.
//!
//! The files are read anew every few seconds. That follows renamed files, Kubernetes' `..data` links and
//! network volumes alike, where notifications get lost, and costs some microseconds. What cannot be used is
//! reported, and what was used before stays.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::server::Acceptor;
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use super::acme::Challenges;
use super::local::LocalCa;
use super::material::{Digested, Material, Paths, Settings};
use super::warnings::{self, Warning, about};
use super::{Facts, TlsError};

/// What new connections are accepted with. Those that are open keep what they began with.
pub struct LiveTls {
    current: ArcSwap<Served>,
    challenges: Option<Arc<Challenges>>,
}

struct Served {
    config: Arc<rustls::ServerConfig>,
    /// `None` where the first certificate is still being waited for.
    facts: Option<Facts>,
}

impl LiveTls {
    /// For a connection that begins now.
    pub fn config(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// What the certificate says that is served now; `None` before the first.
    pub fn facts(&self) -> Option<Facts> {
        self.current.load().facts.clone()
    }

    /// Shakes hands. `None` if it was an authority that only looked who is here.
    pub(crate) async fn accept<S>(&self, socket: S) -> std::io::Result<Option<TlsStream<S>>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(challenges) = &self.challenges else {
            let stream = TlsAcceptor::from(self.config()).accept(socket).await?;
            return Ok(Some(stream));
        };
        let begun = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
        let Some(answer) = challenges.answer(&begun.client_hello()) else {
            return begun.into_stream(self.config()).await.map(Some);
        };
        let mut stream = begun.into_stream(answer).await?;
        tracing::debug!("the ACME authority looked whether this registry has the host");
        stream.shutdown().await?;
        Ok(None)
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
    keeper: Keeper,
    hosts: Vec<String>,
    served: Digested,
    refused: Option<Refused>,
    /// What was last warned of, and when: so that an expiry is not forgotten, nor repeated all day.
    warned: OffsetDateTime,
}

/// Who sees to the files.
#[derive(Debug)]
pub(super) enum Keeper {
    /// Whoever put them there.
    Others,
    /// A local authority.
    Local(LocalCa),
    /// Whoever obtains certificates by ACME; there may be none yet.
    Acme(Arc<Challenges>),
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
        keeper: Keeper,
        hosts: Vec<String>,
        now: OffsetDateTime,
    ) -> Result<(Arc<LiveTls>, Self), TlsError> {
        let mut material = Material::read(&paths)?;
        let challenges = match &keeper {
            Keeper::Acme(challenges) => Some(Arc::clone(challenges)),
            Keeper::Others | Keeper::Local(_) => None,
        };
        let (config, facts) = match material.accept(&paths, &settings) {
            Ok(accepted) => accepted,
            Err(error) if challenges.is_some() => {
                // What is wrong with other files is still wrong then.
                material = material.without_certificate();
                let accepted = material.accept(&paths, &settings)?;
                tracing::warn!("{error} (another is obtained)");
                accepted
            }
            Err(error) => return Err(error),
        };
        let live = Arc::new(LiveTls {
            current: ArcSwap::from_pointee(Served { config, facts }),
            challenges,
        });
        let mut reloader = Self {
            live: Arc::clone(&live),
            paths,
            settings,
            keeper,
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
        if let Keeper::Local(local) = &mut self.keeper
            && let Err(error) = local.renew(now)
        {
            tracing::warn!("the certificate could not be renewed: {error:#}");
        }
        if now - self.warned > DAILY {
            self.warn(now);
        }
        let (contents, read) = match Material::read(&self.paths) {
            // A certificate that is gone is no reason to serve none.
            Ok(material) if material.digest() == self.served || material.is_absent() => {
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
                let expires = facts
                    .as_ref()
                    .map(|facts| super::facts::day(facts.not_after));
                self.live.current.store(Arc::new(Served { config, facts }));
                tracing::info!(
                    expires,
                    "the certificate was replaced: new connections get it"
                );
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
        let Some(facts) = self.live.facts() else {
            return;
        };
        let key = warnings::about_key(&self.paths.key);
        let mut found = about(&facts, &self.hosts, now);
        let mut authority = None;
        match &self.keeper {
            // Renewed in time; if not, whoever tries says so.
            Keeper::Acme(_) => {
                found.retain(|one| {
                    !matches!(one, Warning::ExpiresSoon { .. } | Warning::Expired(_))
                });
            }
            Keeper::Local(local) => authority = local.warning(now),
            Keeper::Others => {}
        }
        for warning in found.into_iter().chain(key).chain(authority) {
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
