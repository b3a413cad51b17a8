//! From a configuration to a running service. The only place that knows every crate.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::{HeaderMap, HeaderName, HeaderValue};
use oci_auth::{AllowAll, Anonymous, Authenticated};
use oci_core::Registry;
use oci_core::registry::{Limits as RegistryLimits, RegistryBuilder};
use oci_core::runtime::ThreadPool;
use oci_http::RegistryService;

use crate::config::{Auth, Config, StorageDriver, Tls};
use crate::debug::Shown;
use crate::health::{Health, StorageProbe};
use crate::metrics::Metrics;
use crate::server::app::{App, AppOptions};
use crate::server::{Limits, TrustedProxies};
use crate::tls;

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub(crate) mod bucket;
mod collect;
mod hints;
mod htpasswd;
mod policy;
pub(crate) mod storage;

pub(crate) use collect::brake;

/// Everything that a configuration asks for, ready to serve.
#[non_exhaustive]
pub struct Assembled {
    /// What answers requests.
    pub app: App,
    /// Deadlines and bounds of the server.
    pub limits: Limits,
    /// TLS, if configured.
    pub tls: Option<tls::Opened>,
    /// The threads that work on the disk.
    pub pool: ThreadPool,
    /// Background work, to be spawned.
    pub maintenance: Background,
    /// Where content is kept, in words.
    pub storage: String,
    /// The checks, to be run.
    pub health: Arc<Health>,
    /// What the listener for operators shows.
    pub debug: Shown,
}

impl fmt::Debug for Assembled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembled")
            .field("app", &self.app)
            .field("storage", &self.storage)
            .finish_non_exhaustive()
    }
}

/// Opens the stores, reads keys and passwords, and puts the parts together.
///
/// # Errors
/// If something that the configuration names is not there or not usable, with what to do about it.
pub async fn assemble(config: &Config) -> anyhow::Result<Assembled> {
    let pool = storage::pool(&config.storage);
    let (builder, storage) = storage::open(&config.storage, &pool).await?;
    let driver = storage::driver(&config.storage);
    let root = match &config.storage.driver {
        StorageDriver::Filesystem(filesystem) => Some(&filesystem.rootdirectory),
        _ => None,
    };
    let prometheus = &config.http.debug.prometheus;
    let counted = prometheus.enabled.then(|| Arc::new(Metrics::new(driver)));
    let registry = switches(builder, config)
        .pool(Arc::new(pool.clone()))
        .hooks(policy::Policy::new(config, counted.clone())?)
        .build();
    let maintenance = both(
        maintenance(&registry, config),
        collect::background(&registry, config)?,
    );
    let probe = StorageProbe::new(registry.clone(), root.cloned());
    let health = Arc::new(Health::new(&config.health, driver, probe));
    let mut debug = Shown::new(Arc::clone(&health), registry.clone());
    debug.metrics = counted
        .clone()
        .map(|metrics| (metrics, prometheus.path.clone()));

    let mut service = RegistryService::builder(registry);
    service = match &config.auth {
        Auth::Htpasswd(htpasswd) => service
            .authenticator(htpasswd::open(htpasswd).await?)
            .authorizer(Authenticated::new()),
        Auth::None {} => service
            .authenticator(Anonymous::new())
            .authorizer(AllowAll::new()),
    };
    if let Some(redirects) = storage::redirects(&config.storage) {
        service = service.redirects(redirects);
    }
    let http = &config.http;
    if http.prefix != "/" {
        service = service.base_path(http.prefix.trim_end_matches('/'));
    }
    // Relative URLs survive every proxy; absolute ones are for those who ask for them.
    service = match (&http.host, http.relativeurls) {
        (_, Some(true)) | (None, None) => service,
        (Some(host), _) => service.absolute_urls(host),
        (None, Some(false)) => service.absolute_urls_by_host(http.tls.is_some()),
    };
    let service = service
        .timer(tokio::time::sleep)
        .build()
        .context("`http.prefix` or `http.host`")?;

    let limits = Limits {
        http2: !http.http2.disabled,
        drain: http.draintimeout.unwrap_or(Limits::default().drain),
        ..Limits::default()
    };
    let tls = match &http.tls {
        Some(tls) => Some(open_tls(tls, limits.http2, config).await?),
        None => None,
    };
    let mut options = AppOptions::new(Arc::clone(&health));
    options.headers = headers(config)?;
    options.access_log = !config.log.accesslog.disabled;
    options.metrics = counted;
    options.proxies = TrustedProxies::new(http.trustedproxies.clone());
    if let Some(tls) = &tls {
        // What is served, which is not what is in the file if that was refused.
        let (file, live) = (tls.certificate.display().to_string(), Arc::clone(&tls.live));
        debug.certificates = Arc::new(move || {
            let facts = live.facts().into_iter();
            facts
                .map(|facts| (file.clone(), facts.not_after.unix_timestamp()))
                .collect()
        });
        let authority = tls.authority.as_ref();
        options.authority = authority.map(|authority| authority.pem.clone().into());
    }
    let app = App::new(service, options);
    Ok(Assembled {
        app,
        limits,
        tls,
        pool,
        maintenance,
        storage,
        health,
        debug,
    })
}

/// Reads certificate and key, or makes them: not for the thread that polls.
async fn open_tls(tls: &Tls, http2: bool, config: &Config) -> anyhow::Result<tls::Opened> {
    let host = config.http.host.as_deref().and_then(|url| {
        let uri: http::Uri = url.parse().ok()?;
        Some(uri.host()?.to_owned())
    });
    let hosts = host.into_iter().collect();
    let directory = match &config.storage.driver {
        StorageDriver::Filesystem(filesystem) => filesystem.rootdirectory.clone(),
        StorageDriver::Sled(sled) => sled.path.clone(),
        // Where this process was started: nothing else on this machine is its own.
        _ => PathBuf::from("."),
    };
    let tls = tls.clone();
    tokio::task::spawn_blocking(move || tls::open(&tls, http2, hosts, &directory))
        .await
        .context("reading the certificate")?
}

fn switches(mut builder: RegistryBuilder, config: &Config) -> RegistryBuilder {
    if !config.storage.delete.enabled {
        builder = builder.without_deletes(
            "set `storage.delete.enabled: true` or REGISTRY_STORAGE_DELETE_ENABLED=true to allow it",
        );
    }
    if config.storage.maintenance.readonly.enabled {
        builder = builder.read_only("it is so because of `storage.maintenance.readonly.enabled`");
    }
    let mut limits = RegistryLimits::default();
    // Zero stands for the default.
    let most = |n: u32, default: usize| {
        usize::try_from(n).map_or(default, |n| if n == 0 { default } else { n })
    };
    limits.repositories_per_page = most(config.catalog.maxentries, limits.repositories_per_page);
    limits.tags_per_page = most(config.tags.maxtags, limits.tags_per_page);
    builder.limits(limits)
}

type Background = Pin<Box<dyn Future<Output = ()> + Send>>;

fn both(one: Background, other: Background) -> Background {
    Box::pin(async {
        futures_util::future::join(one, other).await;
    })
}

/// Sweeps abandoned uploads, first after a random share of an hour so that replicas do not all begin at once.
fn maintenance(registry: &Registry, config: &Config) -> Background {
    let purging = &config.storage.maintenance.uploadpurging;
    if !purging.enabled || config.storage.maintenance.readonly.enabled {
        return Box::pin(std::future::ready(()));
    }
    let (registry, age, interval, dryrun) = (
        registry.clone(),
        purging.age,
        purging.interval,
        purging.dryrun,
    );
    Box::pin(async move {
        tokio::time::sleep(jitter()).await;
        let mut ticks = tokio::time::interval(interval.max(Duration::from_secs(1)));
        loop {
            ticks.tick().await;
            if dryrun {
                tracing::info!("`storage.maintenance.uploadpurging.dryrun`: no upload was removed");
                continue;
            }
            match registry.sweep_uploads(age).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "abandoned uploads removed"),
                Err(error) => tracing::warn!(%error, "abandoned uploads could not be removed"),
            }
        }
    })
}

fn jitter() -> Duration {
    let mut random = [0; 2];
    // Without randomness, half an hour is as good a time as any.
    let share = getrandom::fill(&mut random).map_or(0x7fff, |()| u16::from_le_bytes(random));
    Duration::from_secs(3600) * u32::from(share) / u32::from(u16::MAX)
}

fn headers(config: &Config) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, values) in &config.http.headers {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .with_context(|| format!("`http.headers`: {name:?} is not a header name"))?;
        for value in values {
            let value = HeaderValue::from_str(value).with_context(|| {
                format!("`http.headers.{name}`: the value has characters that no header may have")
            })?;
            headers.append(&parsed, value);
        }
    }
    Ok(headers)
}
