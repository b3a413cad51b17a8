//! `registryd healthcheck`: whether a registry serves, for a container's health check.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use http::StatusCode;

use super::client::{ClientCertificate, Connection, Place, Target, wants_a_certificate};
use super::entrypoint;
use crate::cli::out::note;
use crate::config::{Config, ListenAddr, Loader};
use crate::tls::{Identity, Seen};

#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    /// The registry, as in `https://localhost:5000`; by default the one that this container's
    /// configuration and `REGISTRY_*` variables describe.
    url: Option<Target>,
    /// The configuration to take the address from.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// Seconds until a registry that does not answer counts as unhealthy.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
    #[command(flatten)]
    certificate: ClientCertificate,
}

pub(super) fn run(arguments: Healthcheck) -> anyhow::Result<ExitCode> {
    let identity = arguments.certificate.load()?;
    let target = match arguments.url {
        Some(target) => target,
        None => of_configuration(arguments.config)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let limit = Duration::from_secs(arguments.timeout);
    let outcome = runtime
        .block_on(async { tokio::time::timeout(limit, check(&target, identity.as_ref())).await });
    match outcome {
        Ok(Ok(Answer::Status(status))) if is_healthy(status) => Ok(ExitCode::SUCCESS),
        Ok(Ok(Answer::WantsACertificate)) => Ok(ExitCode::SUCCESS),
        Ok(Ok(Answer::Status(status))) => {
            note!("unhealthy: {target} answers {status}");
            Ok(ExitCode::FAILURE)
        }
        Ok(Err(error)) => {
            note!("unhealthy: {target}: {error:#}");
            Ok(ExitCode::FAILURE)
        }
        Err(_) => {
            note!("unhealthy: {target} did not answer within {limit:?}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What the registry says about itself; of one that has no such answer, what it says to a client.
///
/// As a kubelet's probe, this takes any certificate: it asks without credentials, and a certificate that
/// clients refuse is no reason to restart a container.
async fn check(target: &Target, identity: Option<&Identity>) -> anyhow::Result<Answer> {
    let answer = ask(target, identity).await?;
    if matches!(answer, Answer::Status(StatusCode::BAD_REQUEST)) && !target.tls {
        // `serve --tls` switches it on, which no configuration tells.
        let tls = true;
        let target = target.clone();
        return ask(&Target { tls, ..target }, identity).await;
    }
    Ok(answer)
}

/// How a registry shows that it lives.
enum Answer {
    Status(StatusCode),
    /// With `clientauth` it speaks with nobody who has no certificate, and says so: it lives. Whether it is
    /// ready is told to those who have one.
    WantsACertificate,
}

async fn ask(target: &Target, identity: Option<&Identity>) -> anyhow::Result<Answer> {
    let seen = Seen::default();
    let config = seen.recording(identity.cloned())?;
    let asked = async {
        let mut connection = Connection::open(target, config).await?;
        probe(target, &mut connection).await
    };
    match asked.await {
        Ok(status) => Ok(Answer::Status(status)),
        Err(error) if identity.is_none() && wants_a_certificate(&seen, &error) => {
            Ok(Answer::WantsACertificate)
        }
        Err(error) => Err(error.into()),
    }
}

async fn probe(target: &Target, connection: &mut Connection) -> std::io::Result<StatusCode> {
    let status = connection
        .status(&format!("{}/readyz", target.prefix))
        .await?;
    if status != StatusCode::NOT_FOUND {
        return Ok(status);
    }
    connection.status(&format!("{}/v2/", target.prefix)).await
}

/// A registry that wants to know who asks is one that works.
fn is_healthy(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::UNAUTHORIZED
}

fn of_configuration(path: Option<PathBuf>) -> anyhow::Result<Target> {
    let mut loader = Loader::from_process();
    let named_by_variable = std::env::var_os("REGISTRY_CONFIGURATION_PATH").is_some();
    let path = path.or_else(|| entrypoint::of_image().filter(|_| !named_by_variable));
    if let Some(path) = path {
        loader = loader.path(path);
    }
    let loaded = loader
        .load()
        .context("the configuration that would tell where the registry listens")?;
    Ok(target(&loaded.config))
}

fn target(config: &Config) -> Target {
    let place = match &config.http.addr {
        ListenAddr::Tcp { host, port } => {
            // An address that stands for all is reached at the one of this machine.
            let host = match host.as_deref() {
                None | Some("0.0.0.0") => "127.0.0.1",
                Some("::") => "::1",
                Some(host) => host,
            };
            Place::Tcp(host.to_owned(), *port)
        }
        ListenAddr::Unix(path) => Place::Unix(path.clone()),
    };
    Target {
        tls: config.http.tls.is_some(),
        place,
        implied_port: false,
        // Probes are answered at the root, whatever the registry's prefix is.
        prefix: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_comes_from_the_configuration() {
        let shown = |variables: &[(&str, &str)]| {
            let loaded = Loader::new()
                .text("config.yml", "version: 0.1\nstorage: inmemory\n")
                .variables(variables.iter().copied())
                .load()
                .unwrap();
            target(&loaded.config).to_string()
        };
        assert_eq!(
            shown(&[("REGISTRY_HTTP_ADDR", ":5000")]),
            "http://127.0.0.1:5000"
        );
        assert_eq!(
            shown(&[("REGISTRY_HTTP_ADDR", "0.0.0.0:80")]),
            "http://127.0.0.1:80"
        );
        assert_eq!(
            shown(&[("REGISTRY_HTTP_ADDR", "[::]:80")]),
            "http://[::1]:80"
        );
        assert_eq!(
            shown(&[("REGISTRY_HTTP_ADDR", "10.0.0.1:1")]),
            "http://10.0.0.1:1"
        );
        let tls = [
            ("REGISTRY_HTTP_ADDR", ":443"),
            ("REGISTRY_HTTP_TLS_CERTIFICATE", "/certs/tls.crt"),
            ("REGISTRY_HTTP_TLS_KEY", "/certs/tls.key"),
            ("REGISTRY_HTTP_PREFIX", "/hub/"),
        ];
        // Probes have no prefix.
        assert_eq!(shown(&tls), "https://127.0.0.1:443");
        let unix = [
            ("REGISTRY_HTTP_NET", "unix"),
            ("REGISTRY_HTTP_ADDR", "/run/registry.sock"),
        ];
        assert_eq!(shown(&unix), "http+unix:/run/registry.sock");
    }
}
