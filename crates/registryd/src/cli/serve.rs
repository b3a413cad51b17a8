//! `registryd serve`

use std::process::ExitCode;

use anyhow::Context;

use super::Serve;
use crate::assemble;
use crate::config::{Loader, Severity};
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(serve(loaded.config))
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

async fn serve(config: crate::config::Config) -> anyhow::Result<ExitCode> {
    let signals = Signals::install().context("cannot take over SIGTERM and SIGINT")?;
    // Everything that can be wrong is found before the port opens.
    let assembled = assemble::assemble(&config).await?;
    let listener = server::bind(&config.http.addr).await?;
    // The words that people and test tools wait for with registry:2.
    tracing::info!(
        "listening on {}{}",
        listener.address(),
        if assembled.tls.is_some() { ", tls" } else { "" }
    );
    banner(&listener, &assembled);
    let maintenance = tokio::spawn(assembled.maintenance);
    let drained = server::run(
        listener,
        assembled.app,
        assembled.limits,
        assembled.tls,
        signals,
    )
    .await;
    maintenance.abort();
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
