//! Loss of power under concurrent pushers, again and again. Needs root.

use std::{process::ExitCode, time::Instant};

use anyhow::{Result, bail};
use clap::Parser;
use registry_crash_tests::{
    crash::PowerCut,
    cycles::{self, Plan, Report},
    options::{Options, Variant, conclude, isolate},
    pusher::Sizes,
    resume::Demand,
    tracer::SYNC,
    violation::Kind,
    volume::{FileSystem, Volume},
};

/// Drops everything that was not synced, restarts, and compares what is there with what was said.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    variant: Variant,
    /// Power cuts.
    #[arg(long, default_value_t = 100)]
    cycles: u32,
    /// Concurrent clients.
    #[arg(long, default_value_t = 8)]
    pushers: usize,
    /// The file system under the store.
    #[arg(long, value_enum, default_value_t = FileSystem::Ext4)]
    file_system: FileSystem,
    /// Asks that acknowledged bytes of unfinished uploads are kept too.
    #[arg(long)]
    sessions: bool,
    /// Succeeds only when acknowledged content is lost: for a server told not to sync, as a proof
    /// that this program notices.
    #[arg(long)]
    expect_loss: bool,
    /// Lets the server's syncs, or the syscalls named, succeed without doing anything, by strace: a
    /// server without fsync, to be run with --expect-loss.
    #[arg(long, value_name = "SYSCALLS", num_args = 0..=1, default_missing_value = SYNC)]
    without_sync: Option<String>,
    /// With --expect-loss: the cuts in which it must be noticed.
    #[arg(long, default_value_t = 20, requires = "expect_loss")]
    within: u32,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = isolate().and_then(|()| {
        arguments.options.watch();
        run(&arguments)
    });
    conclude("power_cut", outcome)
}

fn run(arguments: &Arguments) -> Result<String> {
    let program = arguments.options.program()?.store(arguments.variant.store);
    let seed = arguments.options.seed();
    let scratch = arguments.options.scratch()?;
    if arguments.file_system == FileSystem::Tmpfs {
        bail!("--file-system tmpfs: memory has no power to lose; take ext4 or xfs");
    }
    let volume = Volume::create(arguments.file_system, 768 << 20, scratch.path())?;
    let mut machine = PowerCut::new(volume);
    let (cycles, demand) = match (arguments.expect_loss, arguments.sessions) {
        (true, _) => (arguments.within, Demand::Lenient),
        (false, true) => (arguments.cycles, Demand::Kept),
        (false, false) => (arguments.cycles, Demand::Lenient),
    };
    let mut plan = Plan::new(cycles, demand, seed);
    plan.pushers = arguments.pushers;
    arguments.variant.apply(&mut plan);
    plan.without_sync.clone_from(&arguments.without_sync);
    plan.sizes = Sizes::new(32 << 10, 1 << 20);
    // New directories are where syncing is forgotten: often a new store.
    plan.epoch = 10;
    let started = Instant::now();
    let report = cycles::run(&plan, &program, &mut machine, scratch.path())?;
    let rate = f64::from(report.cycles) / started.elapsed().as_secs_f64();
    let summary = format!("{report}; {rate:.1} cycles/s; seed {seed}");
    if arguments.expect_loss {
        return expected_loss(&report, &summary);
    }
    if report.violations.is_empty() {
        arguments.variant.check(&report)?;
        return Ok(summary);
    }
    print(&report);
    println!("last lines of the server's log:\n{}", report.log);
    drop(machine);
    bail!(
        "{summary}; the volume is {}/volume.img",
        scratch.keep().display()
    )
}

fn expected_loss(report: &Report, summary: &str) -> Result<String> {
    let noticed = report.violations.iter().any(|violation| {
        matches!(
            violation.kind,
            Kind::Lost | Kind::Corrupt | Kind::Resurrected
        )
    });
    if !noticed {
        print(report);
        bail!("no loss was noticed, and the server was to lose content: {summary}");
    }
    let cycle = report.cycles;
    Ok(format!(
        "the loss was noticed in cycle {cycle}, as it should be: {summary}"
    ))
}

fn print(report: &Report) {
    for violation in report.violations.iter().take(20) {
        println!("  {violation}");
    }
}
