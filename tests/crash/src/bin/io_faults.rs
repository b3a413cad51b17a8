//! Syscalls that fail under the server while it runs. Needs root and strace.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use registry_crash_tests::{
    io_faults,
    options::{Options, conclude},
};

/// Lets syncing, renaming, making directories and writing fail, and asks for proper refusals and for
/// work as before once they succeed again.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.options.watch();
    conclude("io_faults", run(&arguments))
}

fn run(arguments: &Arguments) -> Result<String> {
    let program = arguments.options.program()?;
    let scratch = arguments.options.scratch()?;
    io_faults::run(&program, scratch.path())
        .map_err(|error| error.context(format!("evidence in {}", scratch.keep().display())))
}
