//! Peak memory and throughput of the server with one large and with many blobs.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use registry_crash_tests::{
    memory::{self, Phase},
    options::{Options, conclude},
};

/// Pushes and pulls gigabytes and compares the server's peak memory with a limit.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// MiB of the large blob; 0 leaves it out.
    #[arg(long, default_value_t = 6144)]
    large: u64,
    /// Peak resident MiB allowed with the large blob.
    #[arg(long, default_value_t = 40)]
    large_limit: u64,
    /// Blobs pushed at the same time; 0 leaves them out.
    #[arg(long, default_value_t = 64)]
    parallel: u64,
    /// Size of each in units of 1,000,000 bytes.
    #[arg(long, default_value_t = 100)]
    parallel_size: u64,
    /// Peak resident MiB allowed with them.
    #[arg(long, default_value_t = 96)]
    parallel_limit: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.options.watch();
    conclude("memory", run(&arguments))
}

fn run(arguments: &Arguments) -> Result<String> {
    let program = arguments.options.program()?;
    let scratch = arguments.options.scratch()?;
    let mut summary = Vec::new();
    let mut over = false;
    if arguments.large > 0 {
        let phases = memory::large(&program, arguments.large << 20, scratch.path())?;
        let name = format!("one blob of {} MiB", arguments.large);
        over |= note(&mut summary, &name, &phases, arguments.large_limit);
    }
    if arguments.parallel > 0 {
        let size = arguments.parallel_size * 1_000_000;
        let phases = memory::parallel(&program, arguments.parallel, size, scratch.path())?;
        let name = format!(
            "{} blobs of {} MB",
            arguments.parallel, arguments.parallel_size
        );
        over |= note(&mut summary, &name, &phases, arguments.parallel_limit);
    }
    let summary = summary.join("; ");
    if over {
        bail!("{summary}");
    }
    Ok(summary)
}

/// Adds the phases to the summary; true when one is over the limit.
fn note(summary: &mut Vec<String>, name: &str, phases: &[Phase], limit: u64) -> bool {
    let over = phases.iter().any(|phase| phase.peak > limit << 20);
    let shown: Vec<_> = phases.iter().map(ToString::to_string).collect();
    let verdict = if over { "over" } else { "within" };
    summary.push(format!(
        "{name}: {} ({verdict} {limit} MiB)",
        shown.join(", ")
    ));
    over
}
