//! Pushes many images to replicas on one bucket while they are killed, and reads all back. The bucket is one of
//! moto, or that of another server, which has the name and the keys of the tests.
//!
//! ```text
//! replica_storm --registryd target/release/registryd --scratch /tmp --pushes 500 --at-once 50
//! replica_storm --registryd target/release/registryd --endpoint http://127.0.0.1:8333
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use registry_object_storage_tests::{Moto, moto, storm::Storm};

/// Pushes images to replicas that are killed.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program that serves.
    #[arg(long)]
    registryd: PathBuf,
    /// Where moto is installed.
    #[arg(long, required_unless_present = "endpoint")]
    scratch: Option<PathBuf>,
    /// The URL of another server.
    #[arg(long)]
    endpoint: Option<String>,
    /// Images to push.
    #[arg(long, default_value_t = 500)]
    pushes: usize,
    /// How many at a time.
    #[arg(long, default_value_t = 50)]
    at_once: usize,
    /// After how many images a replica is killed, each time.
    #[arg(long, default_value_t = 5)]
    kill_every: usize,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    // It runs in another directory.
    let registryd = arguments.registryd.canonicalize()?;
    let registryd = registryd.to_string_lossy();
    let scratch = arguments.scratch.unwrap_or_default();
    let variables = if let Some(endpoint) = arguments.endpoint {
        moto::variables(&endpoint, moto::BUCKET, "storm")
    } else {
        std::fs::create_dir_all(&scratch)?;
        Moto::shared(&scratch.to_string_lossy()).variables("storm")
    };
    let mut storm = Storm::new(arguments.pushes, arguments.at_once);
    storm.kill_every = arguments.kill_every;
    let outcome = storm.run(&registryd, &variables)?;
    println!("{outcome}");
    let good = outcome.failed.is_empty() && outcome.lost.is_empty();
    Ok(ExitCode::from(u8::from(!good)))
}
