//! Each operation alone on the real binary under strace, its system calls compared with `syscalls.md`.
//!
//! `$REGISTRYD_BIN` names another build of registryd than the one cargo has just made.
#![expect(
    clippy::indexing_slicing,
    reason = "content is cut where its own length says"
)]

use std::{env, path::PathBuf};

use registry_counts::{
    table::{Row, Table},
    trace::Counts,
    traced::Traced,
};
use tempfile::TempDir;

mod client;
mod content;
mod operations;

use client::Client;

#[test]
fn system_calls_of_each_operation() {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/syscalls.md");
    let table = Table::read(table).expect("the table");
    // Below the target directory: a real disk, where the default one may be memory.
    let scratch = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let mut bench = Bench::start(&scratch).expect("a traced registry");
    operations::run(&mut bench).expect("every operation works");
    let settled = table.settle(
        &bench.rows,
        "cargo test -p registry-counts --features strace --test syscalls",
    );
    if let Err(problem) = settled {
        panic!("{problem:#}");
    }
}

/// A traced registry, a client of it, and what was counted.
struct Bench {
    server: Traced,
    client: Client,
    storage: PathBuf,
    rows: Vec<Row>,
}

impl Bench {
    fn start(scratch: &TempDir) -> anyhow::Result<Self> {
        let own = env!("CARGO_BIN_EXE_registryd_counted").into();
        let registryd = env::var_os("REGISTRYD_BIN").unwrap_or(own);
        let storage = scratch.path().join("storage");
        let server = Traced::start(registryd.as_ref(), &storage, scratch.path())?;
        let client = Client::new(server.address());
        Ok(Self {
            server,
            client,
            storage,
            rows: Vec::new(),
        })
    }

    /// Counts `run`, which is done a few times, each time on what `prepare` made.
    fn operation<T>(
        &mut self,
        name: &str,
        prepare: impl FnMut(&mut Client) -> anyhow::Result<T>,
        run: impl FnMut(&mut Client, T) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let counts = self.count(name, prepare, run)?;
        self.record(name, counts);
        Ok(())
    }

    fn record(&mut self, name: &str, counts: Counts) {
        self.rows.push(Row::new(name, counts.figures().to_vec()));
    }

    /// Repeats until a few runs in a row agree in all that is exact, and takes the largest of the rest:
    /// the first runs start threads, and make directories, caches and indexes known.
    fn count<T>(
        &mut self,
        name: &str,
        mut prepare: impl FnMut(&mut Client) -> anyhow::Result<T>,
        mut run: impl FnMut(&mut Client, T) -> anyhow::Result<()>,
    ) -> anyhow::Result<Counts> {
        registry_counts::pause(SETTLED);
        let mut agreeing: Vec<Counts> = Vec::new();
        for turn in 0..MOST_TURNS {
            let prepared = prepare(&mut self.client)?;
            self.server.settle()?;
            run(&mut self.client, prepared)?;
            let seen = self.server.settle()?;
            if turn < WARM_UPS || agreeing.iter().any(|before| !before.agrees(seen)) {
                agreeing.clear();
            }
            agreeing.push(seen);
            if agreeing.len() == COUNTED {
                return Ok(agreeing.into_iter().fold(seen, Counts::max));
            }
        }
        anyhow::bail!(
            "{name}: no {COUNTED} of {MOST_TURNS} runs in a row make the same calls, the last one \
             {agreeing:?}: what it does depends on timing or on content"
        )
    }
}

/// The store trusts what it knows of a link only if that has not just changed.
const SETTLED: std::time::Duration = std::time::Duration::from_millis(200);
const WARM_UPS: usize = 2;
const COUNTED: usize = 3;
const MOST_TURNS: usize = 12;
