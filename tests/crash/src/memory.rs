//! Peak memory and throughput of the server with large and with many blobs.

use std::{
    fmt, io,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    payload::Payload,
    program::Program,
    registry::{Error, Found, Registry},
    server::Server,
};

/// What one phase took.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Phase {
    name: &'static str,
    bytes: u64,
    took: Duration,
    /// Peak resident memory of the server, in bytes.
    pub peak: u64,
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.bytes / (1 << 20) * 1000
            / u64::try_from(self.took.as_millis().max(1)).unwrap_or(u64::MAX);
        write!(
            formatter,
            "{} {rate} MiB/s, peak {:.1} MiB",
            self.name,
            mebibytes(self.peak)
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// One blob of `len` bytes as one streamed `PATCH`, then pulled.
///
/// # Errors
/// When a request fails or the content that comes back differs.
pub fn large(program: &Program, len: u64, scratch: &Path) -> Result<Vec<Phase>> {
    let payload = Payload::new(2026, len);
    on_new_server(program, scratch, |server| {
        let push = measure(server, "push", len, || {
            let mut registry = Registry::new(server.address());
            let mut session = registry.begin("memory/large")?;
            let reached = registry.stream(&mut session, &mut payload.reader(0, len))?;
            ensure!(reached == len, "acknowledged {reached} of {len} bytes");
            registry.close(&session, payload.digest(), &mut io::empty(), 0)?;
            Ok(())
        })?;
        let pull = measure(server, "pull", len, || {
            let found = Registry::new(server.address()).blob("memory/large", &payload)?;
            ensure!(found == Found::Here(()), "the blob is not there");
            Ok(())
        })?;
        Ok(vec![push, pull])
    })
}

/// `count` blobs of `len` bytes each at the same time, half of them streamed and half in one `PUT`;
/// then pulled at the same time.
///
/// # Errors
/// When a request fails or the content that comes back differs.
pub fn parallel(program: &Program, count: u64, len: u64, scratch: &Path) -> Result<Vec<Phase>> {
    let payloads: Vec<_> = (0..count).map(|seed| Payload::new(seed, len)).collect();
    on_new_server(program, scratch, |server| {
        let address = server.address();
        let push = measure(server, "push", count * len, || {
            each(&payloads, |index, payload| {
                let mut registry = Registry::new(address);
                let repository = format!("memory/parallel-{}", index % 8);
                let mut session = registry.begin(&repository)?;
                let mut reader = payload.reader(0, len);
                if index % 2 == 0 {
                    registry.stream(&mut session, &mut reader)?;
                    registry.close(&session, payload.digest(), &mut io::empty(), 0)
                } else {
                    registry.close(&session, payload.digest(), &mut reader, len)
                }
            })
        })?;
        let pull = measure(server, "pull", count * len, || {
            each(&payloads, |index, payload| {
                let repository = format!("memory/parallel-{}", index % 8);
                match Registry::new(address).blob(&repository, payload)? {
                    Found::Here(()) => Ok(()),
                    Found::Absent => Err(Error::Wrong {
                        call: format!("GET {}", payload.digest()),
                        problem: "acknowledged, now 404".to_owned(),
                    }),
                }
            })
        })?;
        Ok(vec![push, pull])
    })
}

fn on_new_server(
    program: &Program,
    scratch: &Path,
    work: impl FnOnce(&Server) -> Result<Vec<Phase>>,
) -> Result<Vec<Phase>> {
    let storage = scratch.join("store");
    std::fs::create_dir_all(&storage)?;
    let server = Server::start(program, &storage, scratch)?;
    let phases = work(&server)
        .map_err(|error| error.context(format!("last lines of its log:\n{}", server.log_tail())))?;
    server.kill()?;
    std::fs::remove_dir_all(&storage)?;
    Ok(phases)
}

fn measure(
    server: &Server,
    name: &'static str,
    bytes: u64,
    work: impl FnOnce() -> Result<()>,
) -> Result<Phase> {
    server.reset_peak_memory()?;
    let started = Instant::now();
    work()?;
    Ok(Phase {
        name,
        bytes,
        took: started.elapsed(),
        peak: server.peak_memory()?,
    })
}

/// Does the same with every payload at the same time; the first failure counts.
fn each(
    payloads: &[Payload],
    work: impl Fn(usize, &Payload) -> Result<(), Error> + Sync,
) -> Result<()> {
    let failure = Mutex::new(None);
    thread::scope(|scope| {
        for (index, payload) in payloads.iter().enumerate() {
            let (work, failure) = (&work, &failure);
            scope.spawn(move || {
                if let Err(error) = work(index, payload) {
                    let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(error);
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}
