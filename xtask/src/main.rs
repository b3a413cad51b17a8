//! `cargo xtask`: what is built from this repository beside the crates.

use std::process::ExitCode;

use clap::Parser;

mod image;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about, disable_help_subcommand = true)]
enum Task {
    /// Build the container image, without a container engine.
    Image(image::Options),
}

fn main() -> ExitCode {
    let outcome = match Task::parse() {
        Task::Image(options) => image::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
