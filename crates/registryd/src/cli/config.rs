//! `registryd config`: what a configuration means, without serving it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::out::{self, say};
use crate::config::{Diagnostics, LoadError, Loaded, Loader, Severity, Show, json_schema};

#[derive(Debug, Args)]
pub(super) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Report everything that is wrong or without effect in the file and the REGISTRY_* variables.
    ///
    /// Exits with 1 if `registryd serve` would refuse to start.
    Check(Input),
    /// Write the configuration that the file and the variables make together. Secrets are left out.
    Show(ShowArguments),
    /// Write the JSON Schema (draft 2020-12) of the configuration file.
    Schema,
}

#[derive(Debug, Args)]
struct Input {
    /// The configuration file; by default what the variable `REGISTRY_CONFIGURATION_PATH` names.
    file: Option<PathBuf>,
    /// Refuse what there is otherwise a warning about.
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Args)]
struct ShowArguments {
    #[command(flatten)]
    input: Input,
    /// Write the defaults as well.
    #[arg(long)]
    effective: bool,
    /// Write where each value comes from: file, line and column, or variable.
    #[arg(long)]
    sources: bool,
    /// The format; JSON with sources is an object of dotted keys.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Short for `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, ValueEnum)]
enum Format {
    #[default]
    Yaml,
    Json,
}

pub(super) fn run(arguments: Config) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Check(input) => Ok(check(input)),
        Command::Show(arguments) => show(arguments),
        Command::Schema => {
            say!("{:#}", json_schema());
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Input {
    fn load(self) -> Result<Loaded, LoadError> {
        let mut loader = Loader::from_process().strict(self.strict);
        if let Some(file) = self.file {
            loader = loader.path(file);
        }
        loader.load()
    }
}

fn check(input: Input) -> ExitCode {
    let (outcome, code) = match input.load() {
        Ok(mut loaded) => {
            let exposure = loaded.exposure();
            loaded.diagnostics.extend(exposure);
            (loaded.diagnostics, ExitCode::SUCCESS)
        }
        Err(error) => (error.diagnostics().clone(), ExitCode::FAILURE),
    };
    say!("{outcome}{}", summary(&outcome));
    code
}

/// "refused: 1 error, 2 warnings, 0 notes"
fn summary(found: &Diagnostics) -> String {
    let count = |severity: Severity| match found.of(severity).count() {
        1 => format!("1 {severity}"),
        count => format!("{count} {severity}s"),
    };
    format!(
        "{}: {}, {}, {}",
        if found.has_errors() { "refused" } else { "ok" },
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Note),
    )
}

fn show(arguments: ShowArguments) -> anyhow::Result<ExitCode> {
    let loaded = match arguments.input.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            out::eprint(error);
            return Ok(ExitCode::FAILURE);
        }
    };
    let found = loaded.diagnostics.iter();
    for warning in found.filter(|found| found.severity > Severity::Note) {
        out::eprint(warning);
    }
    let show = Show {
        effective: arguments.effective,
        sources: arguments.sources,
        json: arguments.json || arguments.format == Format::Json,
    };
    out::print(loaded.show(show)?);
    Ok(ExitCode::SUCCESS)
}
