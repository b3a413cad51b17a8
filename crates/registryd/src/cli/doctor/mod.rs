//! `registryd doctor`: what is wrong with a registry, or with the place where one is to run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use http::HeaderValue;
use oci_auth::htpasswd::UserName;
use oci_core::RepositoryName;
use serde::Serialize;

use self::reach::Look;
use super::client::{ClientCertificate, Connection, Target, wants_a_certificate};
use super::{entrypoint, password};
use crate::cli::out::say;
use crate::config::{ListenAddr, Loader};
use crate::tls::Seen;

mod clients;
mod data;
mod push;
mod reach;
mod trust;

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// A registry, as in `https://registry.lan:5000` or `registry.lan:5000`, or a configuration file, whose data directory is
    /// looked at; by default the configuration of this container or of the environment.
    what: Option<String>,
    /// Trust the authorities of this PEM file too.
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    #[command(flatten)]
    certificate: ClientCertificate,
    /// Somebody who may push; the password is asked for, or read from the standard input.
    #[arg(long, value_name = "NAME")]
    user: Option<UserName>,
    /// The repository in which uploads are begun and cancelled; nothing stays in it.
    #[arg(long, value_name = "NAME", default_value = "registryd-doctor")]
    repository: RepositoryName,
    /// Begin no uploads: neither their Locations nor limits of bodies are looked at.
    #[arg(long)]
    no_push: bool,
    /// The directory that stands for `/` where the settings of this machine's clients are read, for images.
    #[arg(long, default_value = "/", value_name = "DIR")]
    root: PathBuf,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    severity: Severity,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Ok,
    Warning,
    Error,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            check,
            severity: Severity::Ok,
            what: what.into(),
            fix: None,
        }
    }

    fn warning(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            check,
            severity: Severity::Warning,
            what: what.into(),
            fix: Some(fix.into()),
        }
    }

    fn error(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            ..Self::warning(check, what, fix)
        }
    }
}

/// Exits with 0 if all is well, with 1 after warnings, with 2 after errors.
pub(super) fn run(doctor: &Doctor) -> anyhow::Result<ExitCode> {
    let findings = match &doctor.what {
        Some(what) if what.contains("://") || is_address(what) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("cannot start the async runtime")?;
            let target = if what.contains("://") {
                what.parse().map_err(anyhow::Error::msg)?
            } else {
                runtime.block_on(with_scheme(what))?
            };
            let look = Look {
                target: &target,
                cacert: doctor.cacert.as_deref(),
                root: &doctor.root,
                identity: doctor.certificate.load()?,
                login: doctor.user.as_ref().map(login).transpose()?,
                repository: (!doctor.no_push).then_some(&doctor.repository),
            };
            runtime.block_on(reach::examine(&look))?
        }
        path => {
            let mut loader = Loader::from_process();
            let path = path.as_ref().map(PathBuf::from);
            let by_variable = std::env::var_os("REGISTRY_CONFIGURATION_PATH").is_some();
            if let Some(path) = path.or_else(|| entrypoint::of_image().filter(|_| !by_variable)) {
                loader = loader.path(path);
            }
            data::examine(&loader.load()?.config)
        }
    };
    print(&findings, doctor.json)?;
    let worst = findings.iter().map(|finding| finding.severity).max();
    Ok(match worst {
        None | Some(Severity::Ok) => ExitCode::SUCCESS,
        Some(Severity::Warning) => ExitCode::from(1),
        Some(Severity::Error) => ExitCode::from(2),
    })
}

/// Whether it is an address as images name it, `registry.lan:5000`, and no file.
fn is_address(what: &str) -> bool {
    !Path::new(what).exists()
        && matches!(
            what.parse::<ListenAddr>(),
            Ok(ListenAddr::Tcp { host: Some(_), .. })
        )
}

/// The registry at an address, over TLS if it speaks that.
async fn with_scheme(address: &str) -> anyhow::Result<Target> {
    let of = |scheme| -> anyhow::Result<Target> {
        let url = format!("{scheme}://{address}");
        url.parse().map_err(anyhow::Error::msg)
    };
    let target = of("https")?;
    let seen = Seen::default();
    match Connection::open(&target, seen.recording(None)?).await {
        Ok(_) => Ok(target),
        Err(error) if wants_a_certificate(&seen, &error) => Ok(target),
        Err(_) => of("http"),
    }
}

/// `Authorization` for a user, whose password is asked for.
fn login(user: &UserName) -> anyhow::Result<HeaderValue> {
    let password = password::ask(&format!("Password of {user}: ")).context("no password")?;
    let mut login = HeaderValue::try_from(format!(
        "Basic {}",
        BASE64.encode(format!("{user}:{password}"))
    ))?;
    login.set_sensitive(true);
    Ok(login)
}

fn print(findings: &[Finding], json: bool) -> anyhow::Result<()> {
    if json {
        say!("{}", serde_json::to_string_pretty(findings)?);
        return Ok(());
    }
    for finding in findings {
        let severity = match finding.severity {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        say!("{severity:<8} {}: {}", finding.check, finding.what);
        if let Some(fix) = &finding.fix {
            say!("         fix: {fix}");
        }
    }
    Ok(())
}
