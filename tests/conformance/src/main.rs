//! Runs the conformance suite against a registry that is already up.
//!
//! ```text
//! registry-conformance --url http://127.0.0.1:5000 [--user name:password] [--filter patch.]
//! ```

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use registry_conformance::{Credentials, Options, Protocol, cases, run_url};

/// Checks an OCI registry against the distribution-spec and what clients in use rely on.
#[derive(Debug, Parser)]
#[command(name = "registry-conformance", version)]
struct Arguments {
    /// Base URL of the registry, e.g. <http://127.0.0.1:5000>.
    #[arg(long, required_unless_present = "list")]
    url: Option<String>,
    /// Credentials the registry accepts, name:password. Cases about authentication need them.
    #[arg(long, value_name = "NAME:PASSWORD", value_parser = credentials)]
    user: Option<Credentials>,
    /// The registry is configured to refuse deletes.
    #[arg(long)]
    deletes_disabled: bool,
    /// Run only cases whose name contains this text; may be repeated.
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// First component of every repository name.
    #[arg(long, default_value = "conformance")]
    namespace: String,
    /// How many cases run at the same time.
    #[arg(long, default_value_t = 8)]
    jobs: usize,
    /// Speak HTTP/2 with prior knowledge instead of HTTP/1.1.
    #[arg(long)]
    http2: bool,
    /// Write the results to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the cases and what they require, and stop.
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("registry-conformance: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    if arguments.list {
        for case in cases() {
            println!(
                "{:<9} {}\n          {}",
                case.level.to_string(),
                case.name,
                case.what
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut options = Options::default();
    options.credentials = arguments.user;
    options.deletes = !arguments.deletes_disabled;
    options.filter = arguments.filter;
    options.namespace = arguments.namespace;
    options.jobs = arguments.jobs;
    let protocol = if arguments.http2 {
        Protocol::Http2
    } else {
        Protocol::Http1
    };
    let url = arguments.url.unwrap_or_default();
    let report = run_url(&url, protocol, &options).await?;

    for case in &report.cases {
        println!("{case}");
    }
    let failed = report.failures().count();
    println!("{} cases, {failed} failed", report.cases.len());
    if !report.left_out.is_empty() {
        println!(
            "{} left out, they need another setup of the registry:",
            report.left_out.len()
        );
        for case in &report.left_out {
            println!("      {} (needs {})", case.name, case.needs.join(", "));
        }
    }
    if let Some(path) = arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(&path, text)
            .map_err(|error| format!("writing {}: {error}", path.display()))?;
    }
    if report.cases.is_empty() {
        return Err("no case matches the filter; --list shows all names".into());
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn credentials(text: &str) -> Result<Credentials, String> {
    match text.split_once(':') {
        Some((user, password)) if !user.is_empty() => Ok(Credentials::new(user, password)),
        _ => Err("expected name:password".to_owned()),
    }
}
