//! Clients that stall in every phase of a connection, and servers that are told to stop.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use registry_crash_tests::{
    options::{Options, conclude},
    stall::{self, Case},
};

/// Stalls in every phase of a connection at once; takes as long as the longest timeout.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.options.watch();
    conclude("timeouts", run(&arguments))
}

fn run(arguments: &Arguments) -> Result<String> {
    let program = arguments.options.program()?;
    let scratch = arguments.options.scratch()?;
    stall::run(&Case::ALL, &program, scratch.path())
}
