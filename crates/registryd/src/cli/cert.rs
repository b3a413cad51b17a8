//! `registryd cert`: making certificates without a service, and reading what others made.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use time::OffsetDateTime;

use super::trust::Remote;
use crate::cli::out::say;
use crate::files;
use crate::tls::local::LocalCa;
use crate::tls::{self, Facts, certificates, day, warnings};

#[derive(Debug, Args)]
pub(super) struct Cert {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a certificate for a registry, and an authority limited to its names that signs it.
    ///
    /// Done again in the same directory, it renews the certificate when that is due and keeps the authority.
    New {
        /// A name or address that clients use; NAME.NAMESPACE.svc stands for a Kubernetes service.
        #[arg(long, required = true)]
        host: Vec<String>,
        /// Where ca.crt, ca.key, tls.crt and tls.key are written.
        #[arg(long, default_value = "registryd-tls")]
        out: PathBuf,
    },
    /// Show what a certificate says, and what clients will say about it.
    Show {
        /// A PEM file, or HOST:PORT of a server.
        what: String,
    },
}

pub(super) fn run(arguments: &Cert) -> anyhow::Result<ExitCode> {
    match &arguments.action {
        Action::New { host, out } => new(host, out),
        Action::Show { what } => show(what),
    }
}

fn new(hosts: &[String], out: &Path) -> anyhow::Result<ExitCode> {
    let local = LocalCa::open(out, hosts, OffsetDateTime::now_utc())?;
    let authority = local.authority();
    say!("certificate  {}", local.certificate_path().display());
    say!("key          {}", local.key_path().display());
    say!("authority    {}", local.authority_path().display());
    say!("fingerprint  {}", authority.fingerprint);
    let host = hosts.first().map_or("HOST", String::as_str);
    say!(
        "\nServe it with `http.tls.certificate` and `http.tls.key`. On each client, without `:PORT` if that is 443:\n  \
         registryd trust docker {host}:PORT --fingerprint {} --ca {} --apply",
        authority.fingerprint,
        local.authority_path().display()
    );
    Ok(ExitCode::SUCCESS)
}

fn show(what: &str) -> anyhow::Result<ExitCode> {
    let path = Path::new(what);
    let (chain, hosts) = match what.parse::<Remote>() {
        // A file may well have a colon in its name; without a port, it is a file that is missing.
        Ok(remote) if remote.has_port() && !path.exists() => {
            let host = remote.host().to_owned();
            (remote.chain()?, vec![host])
        }
        _ => {
            let bytes = files::read(path)
                .with_context(|| format!("{}, and a server is HOST:PORT", path.display()))?;
            (certificates(&bytes, path, "certificate")?, Vec::new())
        }
    };
    let now = OffsetDateTime::now_utc();
    for (number, der) in chain.iter().enumerate() {
        let facts =
            Facts::of(der).with_context(|| format!("certificate {} cannot be read", number + 1))?;
        if number > 0 {
            say!("");
        }
        // Names matter for the server's own; a chain is not asked for them. `openssl req -x509` makes the
        // server's own so that it may sign, too: what is for nothing else by its key usage is no server's.
        let shown = !hosts.is_empty();
        let own = number == 0 && (shown || !facts.only_signs);
        print(&facts, own, now);
        if own {
            let when = if facts.is_ca && !shown {
                "if a server shows it: "
            } else {
                ""
            };
            for warning in warnings::about(&facts, &hosts, now) {
                say!("warning      {when}{warning}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(facts: &tls::Facts, own: bool, now: OffsetDateTime) {
    let names: Vec<_> = facts.names.iter().map(ToString::to_string).collect();
    say!("subject      {}", facts.subject);
    say!("issuer       {}", facts.issuer);
    if own || !facts.is_ca {
        say!(
            "names        {}",
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        );
    }
    say!(
        "valid        {} to {} ({} days left)",
        day(facts.not_before),
        day(facts.not_after),
        (facts.not_after - now).whole_days()
    );
    say!("key          {}", facts.key);
    say!("authority    {}", if facts.is_ca { "yes" } else { "no" });
    say!("fingerprint  {}", facts.fingerprint);
}
