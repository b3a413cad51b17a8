//! One large upload, killed at nine tenths and resumed: without reading again what is there.

use std::{
    io::{self, Read},
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    pause,
    payload::{Payload, Reader},
    program::Program,
    registry::{Found, Registry},
    server::Server,
};

/// Bytes that a kill may cost: those since the registry last noted how far it is (it does so every
/// 128 MiB of a stream), and what is on its way.
pub const LOST_LIMIT: u64 = 160 << 20;

/// What the server may read beside the bytes that are sent after the restart: its own program,
/// records and sockets.
pub const READ_SLACK: u64 = 8 << 20;

/// Streams an upload of `len` bytes, kills the server near its end, restarts, resumes.
///
/// # Errors
/// When the upload does not resume, loses too much, ends wrong, or is read again; says which.
pub fn run(program: &Program, len: u64, scratch: &Path) -> Result<String> {
    let storage = scratch.join("large");
    std::fs::create_dir_all(&storage)?;
    let payload = Payload::new(4711, len);
    let server = Server::start(program, &storage, scratch)?;
    let mut session = Registry::new(server.address()).begin("large/upload")?;
    let stop_at = len / 10 * 9;
    let (reached, at_stop) = channel();
    let (killed, until_killed) = channel();
    thread::scope(|scope| -> Result<()> {
        let address = server.address();
        let mut session = session.clone();
        let mut body = Halting {
            reader: payload.reader(0, len),
            stop_at,
            reached,
            until_killed,
        };
        scope.spawn(move || {
            Registry::new(address)
                .stream(&mut session, &mut body)
                .is_ok()
        });
        let waited = at_stop.recv_timeout(Duration::from_secs(120));
        // What was sent is on its way: it may arrive.
        pause(Duration::from_millis(500));
        let done = server.kill();
        drop(killed);
        waited.context("the server does not take the upload")?;
        done
    })?;

    let server = Server::start(program, &storage, scratch)?;
    let mut registry = Registry::new(server.address());
    let before = server.bytes_read()?;
    let Found::Here(offset) = registry.upload_status(&mut session)? else {
        bail!("the session is gone after a kill at {stop_at} of {len} bytes");
    };
    ensure!(
        offset <= stop_at && offset + LOST_LIMIT >= stop_at,
        "resumes at {offset} after a kill at {stop_at}: more than {LOST_LIMIT} bytes are lost, or \
         some appeared"
    );
    let mut rest = payload.reader(offset, len);
    let patched = registry.chunk(&mut session, offset, len, &mut rest)?;
    ensure!(patched == len, "acknowledged {patched} of {len} bytes");
    registry.close(&session, payload.digest(), &mut io::empty(), 0)?;
    let read = server.bytes_read()? - before;
    let allowed = len - offset + READ_SLACK;
    ensure!(
        read <= allowed,
        "read {read} bytes to resume an upload at {offset} of {len}; {allowed} are enough: it reads \
         again what it has"
    );
    ensure!(
        registry.blob("large/upload", &payload)? == Found::Here(()),
        "the resumed blob is not there"
    );
    server.kill()?;
    std::fs::remove_dir_all(&storage)?;
    Ok(format!(
        "an upload of {len} bytes killed at {stop_at} resumed at {offset}, reading {read} bytes"
    ))
}

/// Content that stops flowing at a point, until the server is dead.
struct Halting {
    reader: Reader,
    stop_at: u64,
    reached: Sender<()>,
    until_killed: Receiver<()>,
}

impl Read for Halting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.stop_at.saturating_sub(self.reader.position());
        let len = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if len == 0 {
            // Nobody listens any more when the other side has given up.
            let _ = self.reached.send(());
            let _: Result<(), RecvTimeoutError> =
                self.until_killed.recv_timeout(Duration::from_secs(60));
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.reader.read(buffer.get_mut(..len).unwrap_or_default())
    }
}
