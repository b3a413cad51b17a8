//! `http.tls.letsencrypt`: certificates of an authority that proves by ACME (RFC 8555) who asks.
//!
//! The proof is TLS-ALPN-01 (RFC 8737): the authority connects to port 443 of each host, and `challenge`
//! answers it on the registry's own listener. `order` is what is said to the authority, `cache` what outlives
//! the process, and `schedule` when anything happens at all. A new certificate is put into a file, which
//! `reload` serves as any other; so, what goes wrong here leaves what is served as it is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use time::OffsetDateTime;
use tokio::sync::{Notify, mpsc};

use self::cache::Cache;
pub(super) use self::challenge::Challenges;
use self::order::{Failure, Order};
use super::Facts;
use super::facts::day;
use crate::config::LetsEncrypt;

mod cache;
mod challenge;
mod order;
pub(super) mod schedule;
mod transport;

/// Sees to it that there is a certificate, and renews it.
#[derive(Debug)]
pub struct Renewer {
    settings: LetsEncrypt,
    cache: Cache,
    challenges: Arc<Challenges>,
}

impl Renewer {
    /// Opens the directory with what was obtained before.
    ///
    /// # Errors
    /// If the directory cannot be used.
    pub(super) fn open(
        settings: &LetsEncrypt,
        directory: &std::path::Path,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            cache: Cache::open(directory, &settings.directoryurl)?,
            settings: settings.clone(),
            challenges: Arc::default(),
        })
    }

    /// The file with the certificate, its chain and its key; it may not be there yet.
    pub(super) fn certificate_path(&self) -> &std::path::Path {
        self.cache.certificate_path()
    }

    /// What the authority asks of the listener.
    pub(super) fn challenges(&self) -> Arc<Challenges> {
        Arc::clone(&self.challenges)
    }

    /// Obtains and renews for as long as it is polled: tells `replaced` of each new certificate, and after
    /// a failure tries again at once when `hurry` says so.
    ///
    /// It can be dropped at any moment: what was not finished is begun anew.
    pub async fn run(self, replaced: mpsc::Sender<()>, hurry: Arc<Notify>) {
        let mut failures = 0;
        let mut last = None;
        loop {
            // In case another process on the same directory was faster.
            match self.cache.certificate().await {
                Ok(Some(facts)) if !self.is_due(&facts, OffsetDateTime::now_utc()) => {
                    failures = 0;
                    if last.replace(facts.fingerprint) != Some(facts.fingerprint) {
                        tracing::info!(
                            hosts = self.settings.hosts.join(","),
                            expires = day(facts.not_after),
                            renewal = day(schedule::due(&facts)),
                            "there is a certificate of the ACME authority"
                        );
                    }
                    let left = schedule::due(&facts) - OffsetDateTime::now_utc();
                    // In pieces: a clock that is set meanwhile does not delay it.
                    let left = Duration::try_from(left).unwrap_or_default();
                    tokio::time::sleep(left.clamp(schedule::TICK, schedule::LOOK_AGAIN)).await;
                    continue;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!("the cached certificate is not used: {error:#}"),
            }
            match self.renew().await {
                Ok(Renewal::Done) => {
                    failures = 0;
                    // Full means that it is about to look in any case.
                    let _ = replaced.try_send(());
                }
                Ok(Renewal::ByAnother) => tokio::time::sleep(schedule::OTHERS).await,
                Err(failure) => {
                    failures += 1;
                    let wait = schedule::again_after(failures, failure.retry_after);
                    self.report(&failure, wait).await;
                    // An operator who has mended something need not wait; the authority's word holds.
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = hurry.notified(), if failure.retry_after.is_none() => {}
                    }
                }
            }
        }
    }

    /// Orders a certificate, unless another process does.
    async fn renew(&self) -> Result<Renewal, Failure> {
        let Some(_lock) = self.cache.lock().await? else {
            tracing::debug!("another process obtains a certificate: its result is waited for");
            return Ok(Renewal::ByAnother);
        };
        // It may have been finished between the look and the lock.
        let now = OffsetDateTime::now_utc();
        if let Ok(Some(facts)) = self.cache.certificate().await
            && !self.is_due(&facts, now)
        {
            return Ok(Renewal::Done);
        }
        tracing::info!(
            hosts = self.settings.hosts.join(","),
            directory = self.settings.directoryurl,
            "a certificate is requested by ACME"
        );
        let order = Order::new(&self.settings, &self.cache, &self.challenges);
        let pem = order.obtain().await?;
        self.cache
            .keep_certificate(pem)
            .await
            .context("the new certificate cannot be kept")?;
        // Or it would be replaced again and again, until the authority has had enough.
        let facts = self.cache.certificate().await?;
        let now = OffsetDateTime::now_utc();
        if let Some(facts) = facts.filter(|facts| self.is_due(facts, now)) {
            let error = anyhow::anyhow!(
                "the new certificate is for {}, valid until {}, and so would have to be replaced at once",
                facts
                    .names
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
                day(facts.not_after),
            );
            return Err(Failure::new(error, "check the clock of this machine"));
        }
        tracing::info!("the ACME authority issued a certificate");
        Ok(Renewal::Done)
    }

    /// Whether a certificate should be replaced now.
    fn is_due(&self, facts: &Facts, now: OffsetDateTime) -> bool {
        let covered = self.settings.hosts.iter().all(|host| facts.covers(host));
        !covered || now >= schedule::due(facts)
    }

    async fn report(&self, failure: &Failure, wait: Duration) {
        let serves = match self.cache.certificate().await.ok().flatten() {
            Some(facts) if facts.not_after < OffsetDateTime::now_utc() => format!(
                "the one that is served expired on {}: every client rejects it",
                day(facts.not_after)
            ),
            Some(facts) => format!(
                "the one that is served stays in use and expires on {}",
                day(facts.not_after)
            ),
            None => "there is none yet, and every TLS connection is refused".to_owned(),
        };
        tracing::error!(
            "no certificate by ACME: {failure}; {serves}; next attempt in {wait:.0?}{}",
            if failure.retry_after.is_some() {
                ", because the authority asks for that"
            } else {
                ", or at once after SIGHUP"
            }
        );
    }
}

/// How an attempt ended.
enum Renewal {
    /// There is a certificate.
    Done,
    /// Another process is at it.
    ByAnother,
}
