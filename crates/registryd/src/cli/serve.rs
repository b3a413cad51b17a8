//! `registryd serve`

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};

use super::client::image_name;
use super::{Serve, TlsMode, configured};
use crate::assemble;
use crate::cli::out::note;
use crate::config::{Http, LocalTls, Tls, TlsSource};
use crate::debug;
use crate::server::app::AUTHORITY_PATH;
use crate::server::{self, Listener, Signals};
use crate::tls;
use crate::tls::local::Authority;

pub(super) fn run(arguments: Serve) -> anyhow::Result<ExitCode> {
    let (tls, hosts) = (arguments.tls, arguments.host);
    let Some(mut loaded) = configured::load(arguments.config, arguments.strict) else {
        return Ok(ExitCode::FAILURE);
    };
    if let Some(TlsMode::Local) = tls {
        local_tls(&mut loaded.config.http, hosts)?;
    }
    configured::begin_log(&loaded);
    if let Some(warning) = loaded.exposure() {
        tracing::warn!("{}", warning.unranked());
    }
    raise_open_files();
    let inherited = server::inherited().context("the socket that was handed over")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(serve(loaded.config, inherited))
}

/// Many systems begin with 1,024 open files, which programs that handle more may raise by themselves.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// `--tls local --host …`, which adds to what the configuration says and contradicts nothing of it.
fn local_tls(http: &mut Http, hosts: Vec<String>) -> anyhow::Result<()> {
    let tls = http
        .tls
        .get_or_insert_with(|| Tls::local(LocalTls::default()));
    let TlsSource::Local { local } = &mut tls.source else {
        anyhow::bail!(
            "`--tls local` was given, but the configuration has `http.tls.{}`; leave out one of them",
            match tls.source {
                TlsSource::Acme { .. } => "letsencrypt",
                _ => "certificate",
            }
        );
    };
    local.hosts.extend(hosts);
    Ok(())
}

async fn serve(
    config: crate::config::Config,
    inherited: Option<server::Inherited>,
) -> anyhow::Result<ExitCode> {
    let signals = Signals::install().context("cannot take over SIGTERM and SIGINT")?;
    let hangup = signal(SignalKind::hangup()).context("cannot take over SIGHUP")?;
    // Everything that can be wrong is found before the port opens.
    let assembled = assemble::assemble(&config).await?;
    let listener = match inherited {
        Some(inherited) => {
            tracing::info!(addr = %config.http.addr, "a socket was handed over: `http.addr` is not used");
            inherited
                .listener()
                .context("the socket that was handed over")?
        }
        None => server::bind(&config.http.addr, "`http.addr` or REGISTRY_HTTP_ADDR").await?,
    };
    let operators = match &config.http.debug.addr {
        Some(addr) => {
            let key = "`http.debug.addr` or REGISTRY_HTTP_DEBUG_ADDR";
            Some(server::bind(addr, key).await?)
        }
        None => None,
    };
    // The words that people and test tools wait for with registry:2.
    tracing::info!(
        "listening on {}{}",
        listener.address(),
        if assembled.tls.is_some() { ", tls" } else { "" }
    );
    banner(&listener, &assembled);
    if let Some(operators) = &operators {
        tracing::info!("debug server listening {}", operators.address());
    }
    let mut background = tokio::task::JoinSet::new();
    background.spawn(assembled.maintenance);
    background.spawn(assembled.health.run());
    if let Some(operators) = operators {
        background.spawn(debug::serve(operators, assembled.debug));
    }
    let live = if let Some(opened) = assembled.tls {
        if let Some(authority) = &opened.authority {
            announce(&listener, authority);
        }
        let (hurry, hurried) = mpsc::channel(1);
        let again = Arc::new(Notify::new());
        if let Some(renewer) = opened.renewer {
            background.spawn(renewer.run(hurry.clone(), Arc::clone(&again)));
        }
        background.spawn(on_hangup(hangup, Some((hurry, again))));
        background.spawn(opened.reloader.run(tls::INTERVAL, hurried));
        Some(opened.live)
    } else {
        background.spawn(on_hangup(hangup, None));
        None
    };
    // Failing means that nobody asked to be told.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let drained = server::run(listener, assembled.app, assembled.limits, live, signals).await;
    background.abort_all();
    // Writes of requests that were cut off still run: what they received is kept for a resume.
    assembled.pool.wait_idle(std::time::Duration::from_secs(5));
    tracing::info!("stopped");
    Ok(if drained {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// SIGHUP reads certificate and key at once; password files are read when they change in any case.
async fn on_hangup(mut hangup: Signal, hurry: Option<(mpsc::Sender<()>, Arc<Notify>)>) {
    while hangup.recv().await.is_some() {
        if let Some((hurry, again)) = &hurry {
            tracing::info!("SIGHUP: certificate and key are read again");
            // A full channel means that it is about to happen.
            let _ = hurry.try_send(());
            again.notify_waiters();
        }
    }
}

/// How clients come to trust the local authority: the fingerprint must reach them by another way than the
/// registry itself.
fn announce(listener: &Listener, authority: &Authority) {
    let port = listener
        .local_authority()
        .and_then(|authority| authority.rsplit_once(':')?.1.parse().ok())
        .unwrap_or(HTTPS);
    let host = image_name(&authority.host(), port, port == HTTPS);
    let fingerprint = authority.fingerprint;
    tracing::info!(%fingerprint, path = AUTHORITY_PATH, "local authority");
    for client in ["docker", "podman", "containerd"] {
        tracing::info!(
            "trust it on a client with: registryd trust {client} {host} --fingerprint {fingerprint} --apply"
        );
    }
    if listener.is_loopback() && !authority.hosts.is_empty() {
        tracing::warn!(
            "only this machine reaches {}; for others set `http.addr: :{port}` or REGISTRY_HTTP_ADDR=:{port}",
            listener.address()
        );
    }
}

/// For the person at the terminal: what is served from where, and the next command to type.
fn banner(listener: &Listener, assembled: &assemble::Assembled) {
    use std::io::IsTerminal;
    let Some(authority) = listener.local_authority() else {
        return;
    };
    if !std::io::stderr().is_terminal() {
        tracing::info!(storage = %assembled.storage, "push with: docker tag IMAGE {authority}/IMAGE && docker push {authority}/IMAGE");
        return;
    }
    let scheme = if assembled.tls.is_some() {
        "https"
    } else {
        "http"
    };
    note!(
        "\n  registryd {} serves {} on {scheme}://{authority}\n\n    \
         docker tag alpine {authority}/alpine\n    docker push {authority}/alpine\n",
        env!("CARGO_PKG_VERSION"),
        assembled.storage,
    );
}

const HTTPS: u16 = 443;
