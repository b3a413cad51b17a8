//! A volume that fills up under the server and is freed again. Needs root.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use registry_crash_tests::{
    options::{Options, conclude, isolate},
    space,
    volume::{FileSystem, Volume},
};

/// Fills the server's volume by pushes and at every boundary, and asks that it goes on once there is
/// room.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// The file system under the store.
    #[arg(long, value_enum, default_value_t = FileSystem::Tmpfs)]
    file_system: FileSystem,
    /// Size of the volume in MiB.
    #[arg(long, default_value_t = 64)]
    size: u64,
    /// Fill levels, 64 KiB apart, at which an image is pushed.
    #[arg(long, default_value_t = 32)]
    levels: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = isolate().and_then(|()| {
        arguments.options.watch();
        run(&arguments)
    });
    conclude("disk_full", outcome)
}

fn run(arguments: &Arguments) -> Result<String> {
    let program = arguments.options.program()?;
    let scratch = arguments.options.scratch()?;
    let volume = Volume::create(arguments.file_system, arguments.size << 20, scratch.path())?;
    let outcome = space::run(&program, &volume, arguments.levels, scratch.path());
    drop(volume);
    outcome.map_err(|error| error.context(format!("evidence in {}", scratch.keep().display())))
}
