//! `registryd serve`

use std::process::ExitCode;

use anyhow::Context;

use super::Serve;
use crate::assemble;
use crate::config::{Loader, Severity};
use crate::debug;
use crate::server::{self, Listener, Signals};
use crate::telemetry;

pub(super) fn run(arguments: Serve) -> anyhow::Result<ExitCode> {
    let mut loader = Loader::from_process().strict(arguments.strict);
    if let Some(path) = arguments.config {
        loader = loader.path(path);
    }
    let loaded = match loader.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            eprint!("{error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    telemetry::init(&loaded.config.log);
    for diagnostic in loaded.diagnostics.iter() {
        if diagnostic.severity == Severity::Note {
            tracing::debug!("{diagnostic}");
        } else {
            tracing::warn!("{diagnostic}");
        }
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

async fn serve(
    config: crate::config::Config,
    inherited: Option<server::Inherited>,
) -> anyhow::Result<ExitCode> {
    let signals = Signals::install().context("cannot take over SIGTERM and SIGINT")?;
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
    // Failing means that nobody asked to be told.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let drained = server::run(
        listener,
        assembled.app,
        assembled.limits,
        assembled.tls,
        signals,
    )
    .await;
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
    eprintln!(
        "\n  registryd {} serves {} on {scheme}://{authority}\n\n    \
         docker tag alpine {authority}/alpine\n    docker push {authority}/alpine\n",
        env!("CARGO_PKG_VERSION"),
        assembled.storage,
    );
}
