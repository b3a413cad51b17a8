//! The command line.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::LoadError;

mod cert;
mod client;
mod config;
mod configured;
mod doctor;
mod entrypoint;
mod garbage_collect;
mod healthcheck;
mod htpasswd;
mod init;
mod k8s;
mod out;
mod password;
mod proxy_config;
mod retention;
mod serve;
mod storage;
mod trust;
mod user;

use self::out::note;

/// A container registry in one binary.
#[derive(Debug, Parser)]
#[command(name = "registryd", version, about, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the registry. This is what `registryd` alone does.
    ///
    /// Without a configuration file, images are kept in ./registry-data and served on 127.0.0.1:5000.
    /// REGISTRY_* environment variables override the file, as with CNCF Distribution.
    Serve(Serve),
    /// Remove what no manifest refers to, also while the registry runs.
    GarbageCollect(garbage_collect::Arguments),
    /// Remove the tags that no rule of `storage.retention` keeps; says of each why it goes or stays.
    Retention(retention::Arguments),
    /// Check and show configurations.
    Config(config::Config),
    /// Take over a bucket that CNCF Distribution has written, without copying bytes.
    Import(storage::Import),
    /// Copy and check what stores hold.
    #[command(subcommand)]
    Storage(storage::Storage),
    /// Tell by the exit code whether a registry serves; for health checks in containers without a shell.
    Healthcheck(healthcheck::Healthcheck),
    /// Look for what is wrong with a registry, or with the place where one is to run; each finding has a fix.
    Doctor(doctor::Doctor),
    /// Write what runs the registry under compose, Kubernetes or systemd.
    Init(init::Init),
    /// Print what a Kubernetes cluster needs to pull from the registry.
    K8s(k8s::K8s),
    /// Print the Secret with which pods of a Kubernetes cluster pull.
    PullSecret(k8s::PullSecret),
    /// What the container image starts.
    #[command(hide = true)]
    Entrypoint(entrypoint::Entrypoint),
    /// Print the configuration of a proxy in front of the registry.
    ProxyConfig(proxy_config::ProxyConfig),
    /// Add, remove and list the users of a password file.
    User(user::User),
    /// Change a password file with the options of Apache's htpasswd.
    #[command(disable_help_flag = true)]
    Htpasswd {
        /// As in `htpasswd -Bbn USER PASSWORD`.
        #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Make certificates, and see what is in them.
    Cert(cert::Cert),
    /// Make a client on this machine trust a registry. Shows what it would do, unless told to --apply it.
    Trust(trust::Trust),
    /// Undo what `trust` did.
    Untrust(trust::Untrust),
}

#[derive(Debug, Default, Args)]
struct Serve {
    /// The configuration file, in CNCF Distribution's format; by default what the variable
    /// `REGISTRY_CONFIGURATION_PATH` names.
    config: Option<PathBuf>,
    /// Refuse a configuration with anything in it that is unknown.
    #[arg(long)]
    strict: bool,
    /// Serve TLS with a certificate that is made and renewed for this registry alone.
    #[arg(long, value_enum)]
    tls: Option<TlsMode>,
    /// A name or address that clients use for the registry; may be given several times.
    #[arg(long, requires = "tls")]
    host: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TlsMode {
    /// An authority of its own, kept beside the content; see `registryd trust`.
    Local,
}

impl Cli {
    /// Does what the command line says.
    pub fn run(self) -> ExitCode {
        let outcome = match self.command.unwrap_or(Command::Serve(Serve::default())) {
            Command::Serve(arguments) => serve::run(arguments),
            Command::GarbageCollect(arguments) => garbage_collect::run(&arguments),
            Command::Retention(arguments) => retention::run(&arguments),
            Command::Config(arguments) => config::run(arguments),
            Command::Storage(command) => return storage::run(command),
            Command::Import(arguments) => return storage::import(&arguments),
            Command::Healthcheck(arguments) => healthcheck::run(arguments),
            Command::Doctor(arguments) => doctor::run(&arguments),
            Command::Init(arguments) => init::run(&arguments),
            Command::K8s(arguments) => k8s::run(&arguments),
            Command::PullSecret(arguments) => k8s::pull_secret(&arguments),
            Command::Entrypoint(arguments) => entrypoint::run(arguments),
            Command::ProxyConfig(arguments) => Ok(proxy_config::run(&arguments)),
            Command::User(arguments) => user::run(&arguments),
            Command::Htpasswd { arguments } => Ok(htpasswd::main(&arguments)),
            Command::Cert(arguments) => cert::run(&arguments),
            Command::Trust(arguments) => trust::run(&arguments),
            Command::Untrust(arguments) => trust::undo(&arguments),
        };
        match outcome {
            Ok(code) => code,
            Err(error) => {
                match error.downcast_ref::<LoadError>() {
                    // Each of its lines says itself that it is an error.
                    Some(findings) => note!("{}", findings.to_string().trim_end()),
                    None => note!("error: {error:#}"),
                }
                ExitCode::FAILURE
            }
        }
    }
}

/// Reads the command line and obeys it. Called `htpasswd`, the program is Apache's; `registry` is
/// another name for `registryd`, as in the images of CNCF Distribution.
pub fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    let name = arguments.first().map(PathBuf::from);
    let is_called = |other: &str| {
        let name = name.as_deref().and_then(std::path::Path::file_name);
        name == Some(other.as_ref())
    };
    if is_called("registry")
        && let Some(first) = arguments.get_mut(1)
    {
        // As Distribution's program has them.
        match first.to_str() {
            Some("-v") => *first = "--version".into(),
            Some("help") => *first = "--help".into(),
            _ => {}
        }
    }
    let code = if is_called("htpasswd") {
        htpasswd::main(arguments.get(1..).unwrap_or_default())
    } else {
        Cli::parse_from(arguments).run()
    };
    out::finish(code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn alone_it_serves() {
        assert!(
            Cli::try_parse_from(["registryd"])
                .unwrap()
                .command
                .is_none()
        );
        let cli =
            Cli::try_parse_from(["registryd", "serve", "/etc/docker/registry/config.yml"]).unwrap();
        assert!(matches!(
            cli.command,
            Some(Command::Serve(Serve {
                config: Some(_),
                strict: false,
                ..
            }))
        ));
        assert!(Cli::try_parse_from(["registryd", "sevre"]).is_err());
    }
}
