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
use oci_core::memory::MemoryStore;
use oci_core::registry::{Limits as RegistryLimits, RegistryBuilder};
use oci_core::runtime::ThreadPool;
use oci_http::RegistryService;
use oci_storage::filesystem::{Filesystem, Options};

use crate::config::{Auth, Config, StorageDriver, Tls};
use crate::server::Limits;
use crate::server::app::App;
use crate::tls;

mod htpasswd;

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
    pub maintenance: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Where content is kept, in words.
    pub storage: String,
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
    let pool = match &config.storage.driver {
        // More threads than these only queue in the kernel instead of here.
        StorageDriver::Filesystem(filesystem) => {
            ThreadPool::new(filesystem.maxthreads.clamp(1, 32) as usize)
        }
        StorageDriver::InMemory {} => ThreadPool::default(),
    };
    let (builder, storage) = storage(config, &pool)?;
    let registry = switches(builder, config)
        .pool(Arc::new(pool.clone()))
        .build();
    let maintenance = maintenance(&registry, config);

    let mut service = RegistryService::builder(registry);
    service = match &config.auth {
        Auth::Htpasswd(htpasswd) => service
            .authenticator(htpasswd::open(htpasswd).await?)
            .authorizer(Authenticated::new()),
        Auth::None {} => service
            .authenticator(Anonymous::new())
            .authorizer(AllowAll::new()),
    };
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
    let mut app = App::new(service, headers(config)?, !config.log.accesslog.disabled);
    if let Some(authority) = tls.as_ref().and_then(|tls| tls.authority.as_ref()) {
        app = app.authority(authority.pem.clone());
    }
    Ok(Assembled {
        app,
        limits,
        tls,
        pool,
        maintenance,
        storage,
    })
}

fn storage(config: &Config, pool: &ThreadPool) -> anyhow::Result<(RegistryBuilder, String)> {
    match &config.storage.driver {
        StorageDriver::Filesystem(filesystem) => {
            let root = &filesystem.rootdirectory;
            let mut options = Options::default();
            options.pool = Arc::new(pool.clone());
            let store = Filesystem::open(root, options).map_err(|error| {
                let cause = std::error::Error::source(&error)
                    .map(|cause| format!(": {cause}"))
                    .unwrap_or_default();
                anyhow::anyhow!("`storage.filesystem.rootdirectory`: {error}{cause}")
            })?;
            Ok((Registry::builder(store), root.display().to_string()))
        }
        StorageDriver::InMemory {} => {
            tracing::warn!("`storage.inmemory`: everything is gone when this process ends");
            Ok((Registry::builder(MemoryStore::new()), "memory".to_owned()))
        }
    }
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
        StorageDriver::InMemory {} => PathBuf::from("."),
    };
    let tls = tls.clone();
    tokio::task::spawn_blocking(move || {
        tls::open(&tls, http2, hosts, directory.join("registryd-tls"))
    })
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
    // One bound for both listings: the smaller of what was asked for.
    let asked = [config.catalog.maxentries, config.tags.maxtags]
        .into_iter()
        .filter_map(|n| usize::try_from(n).ok());
    limits.page_size = asked.filter(|n| *n > 0).min().unwrap_or(limits.page_size);
    builder.limits(limits)
}

/// Sweeps abandoned uploads, first after a random share of an hour so that replicas do not all begin at once.
fn maintenance(registry: &Registry, config: &Config) -> Pin<Box<dyn Future<Output = ()> + Send>> {
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
