//! Pushes a large blob through registryd to s3s-fs, in one PATCH and in chunks, and says what it cost.
//!
//! ```text
//! large_blob --registryd target/release/registryd --scratch /var/tmp --size 12884901888
//! ```

use std::path::PathBuf;

use clap::Parser;
use registry_object_storage_tests::large;

/// Pushes a large blob to S3 and says what it cost.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program that serves.
    #[arg(long)]
    registryd: PathBuf,
    /// Where the service keeps objects: twice the size for a while.
    #[arg(long)]
    scratch: PathBuf,
    /// The size of the blob in bytes.
    #[arg(long, default_value_t = 12 << 30)]
    size: u64,
    /// The size of a chunk in bytes.
    #[arg(long, default_value_t = 10 << 20)]
    chunk: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // It runs in another directory.
    let registryd = arguments.registryd.canonicalize()?;
    let registryd = registryd.to_string_lossy();
    std::fs::create_dir_all(&arguments.scratch)?;
    for (how, chunk) in [("one PATCH", None), ("chunks", Some(arguments.chunk))] {
        let cost = large::push(&registryd, &arguments.scratch, arguments.size, chunk)?;
        println!("{how}: {cost}");
    }
    Ok(())
}
