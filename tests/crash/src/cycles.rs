//! Push, crash, restart, look; again and again.

use std::{
    fmt,
    fs::{self, File},
    io,
    path::Path,
    sync::{Mutex, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use crate::{
    crash::Machine,
    pause,
    payload::Random,
    program::Program,
    pusher::{Pusher, Shared, Sizes},
    registry::{Error, Registry},
    resume::{self, Demand, Outcome},
    server::Server,
    tracer::Tracer,
    verify::{Depth, verify},
    violation::{Kind, Violation},
};

/// What a run does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// Crashes.
    pub cycles: u32,
    /// Concurrent clients.
    pub pushers: usize,
    /// How much they push.
    pub sizes: Sizes,
    /// Crashes on one store, before it is looked through completely and a new one is begun.
    pub epoch: u32,
    /// What is asked of upload sessions after a crash.
    pub demand: Demand,
    /// The time a restart may take until the first good answer.
    pub ready_limit: Duration,
    /// In which stores garbage is collected all the time, without grace.
    pub collect: Collect,
    /// Lets the server believe that these syscalls sync, while they do nothing: the run must find that.
    pub without_sync: Option<String>,
    /// The seed of every choice.
    pub seed: u64,
}

impl Plan {
    /// Eight pushers of small and large blobs.
    pub fn new(cycles: u32, demand: Demand, seed: u64) -> Self {
        Self {
            cycles,
            pushers: 8,
            sizes: Sizes::new(64 << 10, 4 << 20),
            epoch: 25,
            demand,
            ready_limit: Duration::from_secs(2),
            collect: Collect::Never,
            without_sync: None,
            seed,
        }
    }
}

/// In which of a run's stores garbage is collected all the time, without grace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
#[non_exhaustive]
pub enum Collect {
    /// In none.
    #[default]
    Never,
    /// In every second, the first one included.
    Alternate,
    /// In all.
    Always,
}

impl Collect {
    fn in_store(self, serial: u32) -> bool {
        match self {
            Self::Never => false,
            Self::Alternate => serial.is_multiple_of(2),
            Self::Always => true,
        }
    }
}

/// What a run saw.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Crashes carried out.
    pub cycles: u32,
    /// Requests acknowledged before the crashes.
    pub acknowledged: u64,
    /// Objects read back and compared.
    pub compared: usize,
    /// Blobs that were found to be collected, acknowledged and never needed.
    pub collected: u64,
    /// Interrupted uploads that went on from an offset above zero.
    pub resumed: u32,
    /// Interrupted uploads that went on from zero.
    pub resumed_at_zero: u32,
    /// Interrupted uploads whose closing request had been carried out.
    pub complete: u32,
    /// Interrupted uploads whose session was gone.
    pub restarted: u32,
    /// The slowest restart.
    pub slowest_start: Duration,
    /// What was found wrong; a run ends with the first cycle that finds something.
    pub violations: Vec<Violation>,
    /// The end of the server's log, when something was found wrong.
    pub log: String,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} cycles, {} acknowledged, {} objects compared, {} blobs collected, uploads: {} resumed, {} from zero, {} \
             were complete, {} sessions gone; slowest start {} ms; {} violations",
            self.cycles,
            self.acknowledged,
            self.compared,
            self.collected,
            self.resumed,
            self.resumed_at_zero,
            self.complete,
            self.restarted,
            self.slowest_start.as_millis(),
            self.violations.len()
        )
    }
}

/// Runs a plan; ends with the first cycle that violates something.
///
/// # Errors
/// When the harness itself cannot go on.
pub fn run(
    plan: &Plan,
    program: &Program,
    machine: &mut dyn Machine,
    scratch: &Path,
) -> Result<Report> {
    let mut report = Report::default();
    let mut random = Random::new(plan.seed);
    let mut pushers: Vec<_> = (0..plan.pushers)
        .map(|id| Pusher::new(id, plan.seed, plan.sizes))
        .collect();
    let mut shared = Shared::default();
    let mut program = program.clone();
    let mut server = None;
    while report.cycles < plan.cycles {
        let up = if let Some(up) = server.take() {
            up
        } else {
            machine.renew()?;
            std::fs::create_dir_all(machine.storage())?;
            shared = Shared::default();
            let collect = plan.collect.in_store(report.cycles / plan.epoch);
            program = program.collecting(collect);
            for pusher in &mut pushers {
                pusher.reset();
                pusher.ledger.collected = collect;
            }
            Server::start(&program, machine.storage(), scratch)?
        };
        let before = acknowledged(&pushers);
        let tracer = plan
            .without_sync
            .as_ref()
            .map(|syscalls| Tracer::attach(up.pid(), syscalls, "retval=0"))
            .transpose()?;
        push_until_crash(&mut pushers, &shared, machine, up, &mut random)?;
        drop(tracer);
        report.cycles += 1;
        report.acknowledged += acknowledged(&pushers) - before;
        match Server::start(&program, machine.storage(), scratch) {
            Ok(up) => {
                let took = up.ready_after();
                report.slowest_start = report.slowest_start.max(took);
                if took > plan.ready_limit {
                    shared.violations.add(
                        Kind::Start,
                        format!("ready after {took:?}, more than {:?}", plan.ready_limit),
                    );
                }
                let last = report.cycles % plan.epoch == 0 || report.cycles == plan.cycles;
                look(plan, &mut pushers, &shared, &up, last, &mut report);
                check_files(machine.storage(), last, &shared);
                report.log = up.log_tail();
                server = (!last).then_some(up);
            }
            Err(error) => shared.violations.add(Kind::Start, format!("{error:#}")),
        }
        if !shared.violations.is_empty() {
            break;
        }
    }
    report.violations = shared.violations.list();
    Ok(report)
}

fn acknowledged(pushers: &[Pusher]) -> u64 {
    pushers
        .iter()
        .map(|pusher| pusher.ledger.acknowledged)
        .sum()
}

fn push_until_crash(
    pushers: &mut [Pusher],
    shared: &Shared,
    machine: &mut dyn Machine,
    server: Server,
    random: &mut Random,
) -> Result<()> {
    let address = server.address();
    let result = thread::scope(|scope| {
        for pusher in pushers {
            scope.spawn(|| pusher.run(address, shared));
        }
        pause(Duration::from_millis(random.between(50, 400)));
        shared.failing.store(true, Ordering::SeqCst);
        machine.crash(server)
    });
    shared.failing.store(false, Ordering::SeqCst);
    result
}

/// Resumes what was interrupted, then compares.
fn look(
    plan: &Plan,
    pushers: &mut [Pusher],
    shared: &Shared,
    server: &Server,
    everything: bool,
    report: &mut Report,
) {
    let address = server.address();
    let seed = plan.seed ^ u64::from(report.cycles);
    let collected = Mutex::new(report);
    thread::scope(|scope| {
        for (id, pusher) in pushers.iter_mut().enumerate() {
            let collected = &collected;
            scope.spawn(move || {
                let mut random = Random::new(seed ^ (id as u64) << 32);
                let mut registry = Registry::new(address);
                let ledger = &mut pusher.ledger;
                for upload in std::mem::take(&mut ledger.interrupted) {
                    // Some go on only when others push again, and may be interrupted once more.
                    if !everything && random.chance(25) {
                        ledger.interrupted.push(upload);
                        continue;
                    }
                    let outcome =
                        resume::resume(&mut registry, ledger, upload, plan.demand, &mut random);
                    match outcome {
                        Ok(outcome) => note(collected, outcome),
                        Err(error) => {
                            let kind = match error {
                                Error::Wrong { .. } => Kind::Lost,
                                _ => Kind::Answer,
                            };
                            shared
                                .violations
                                .add(kind, format!("resuming an upload: {error}"));
                        }
                    }
                }
                let gone = ledger.gone;
                let depth = if everything {
                    Depth::All
                } else {
                    Depth::Touched(20)
                };
                let read = verify(
                    &mut registry,
                    ledger,
                    depth,
                    &mut random,
                    &shared.violations,
                );
                let mut report = collected.lock().unwrap_or_else(PoisonError::into_inner);
                report.compared += read;
                report.collected += ledger.gone - gone;
            });
        }
    });
}

fn note(report: &Mutex<&mut Report>, outcome: Outcome) {
    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
    match outcome {
        Outcome::Resumed(0) => report.resumed_at_zero += 1,
        Outcome::Resumed(_) => report.resumed += 1,
        Outcome::WasComplete => report.complete += 1,
        Outcome::Restarted => report.restarted += 1,
    }
}

/// Every blob file in its final place is whole, acknowledged or not: names are given last.
fn check_files(storage: &Path, contents: bool, shared: &Shared) {
    let root = storage.join("docker/registry/v2/blobs/sha256");
    let started = Instant::now();
    let listing = |path: &Path| -> Vec<_> {
        fs::read_dir(path)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default()
    };
    for blob in listing(&root).iter().flat_map(|fan| listing(fan)) {
        let data = blob.join("data");
        let Ok(state) = data.metadata() else {
            continue;
        };
        let name = blob
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        // The rest of a very large store is left to the comparisons over HTTP.
        let whole = if contents && started.elapsed() < Duration::from_secs(60) {
            hash(&data).is_ok_and(|found| found == name)
        } else {
            state.len() > 0
        };
        if !whole {
            shared.violations.add(
                Kind::Corrupt,
                format!(
                    "{} holds {} bytes of other content",
                    data.display(),
                    state.len()
                ),
            );
        }
    }
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let len = io::Read::read(&mut file, &mut buffer)?;
        if len == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(buffer.get(..len).unwrap_or_default());
    }
}
