//! A volume that fills up under the server, at every boundary, and is freed again.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    images::{Client, Told},
    program::Program,
    server::Server,
    volume::Volume,
};

/// The step between two fill levels.
pub const STEP: u64 = 64 << 10;

/// Fills the volume by pushes, then goes through fill levels `STEP` apart.
///
/// # Errors
/// When a push is answered otherwise than done or refused, something acknowledged is gone, or the
/// server does not go on once space is free.
pub fn run(program: &Program, volume: &Volume, levels: u64, scratch: &Path) -> Result<String> {
    let storage = volume.path().join("registry");
    std::fs::create_dir_all(&storage)?;
    let server = Server::start(program, &storage, scratch)?;
    let mut client = Client::new(program, server.address());
    let outcome = fill_and_free(&mut client, volume)
        .and_then(|filled| Ok(format!("{filled}; {}", sweep(&mut client, volume, levels)?)))
        .and_then(|summary| {
            client.compare("at the end")?;
            Ok(summary)
        })
        .and_then(|summary| {
            // What was acknowledged on a full volume is there after a restart, too.
            server.kill()?;
            let server = Server::start(program, &storage, scratch)?;
            client.moved(server.address());
            client.compare("after a restart")?;
            Ok(summary)
        });
    let log = || crate::server::tail(&scratch.join("server.log"));
    outcome.with_context(|| format!("last lines of the server's log:\n{}\n", log()))
}

/// Pushes until nothing fits any more, frees space, goes on.
fn fill_and_free(client: &mut Client, volume: &Volume) -> Result<String> {
    let ballast = Ballast::new(volume);
    ballast.leave(volume, volume.free()? / 2)?;
    let upload = client.begin_upload()?;
    let mut done = 0;
    let mut refused = 0;
    // Large ones fill it, small ones find the last gaps.
    for len in [3 << 20, 200 << 10, 5 << 10] {
        let mut in_a_row = 0;
        while in_a_row < 8 {
            ensure!(done + refused < 20_000, "the volume does not fill up");
            match client.push(len)? {
                Told::Done => (done, in_a_row) = (done + 1, 0),
                Told::Refused => (refused, in_a_row) = (refused + 1, in_a_row + 1),
            }
        }
    }
    client.compare("on a full volume")?;
    client.go_on_in_vain(&upload)?;
    ballast.remove()?;
    for attempt in 0..3 {
        ensure!(
            matches!(client.push(1 << 20)?, Told::Done),
            "push {attempt} is refused although {} bytes are free again",
            volume.free()?
        );
    }
    let resumed = client.resume(upload)?;
    Ok(format!(
        "{done} pushes done and {refused} refused until full, the next after freeing done, a refused \
         upload resumed at {resumed}"
    ))
}

/// Every fill level: a push fits or is refused, and goes through once there is room.
fn sweep(client: &mut Client, volume: &Volume, levels: u64) -> Result<String> {
    let ballast = Ballast::new(volume);
    let (mut done, mut refused) = (0, 0);
    for level in 0..levels {
        // Room for the pushes that follow, whatever the levels before left behind.
        ensure!(
            volume.free()? > 4 << 20,
            "only {} bytes are free without ballast at level {level}: refused pushes leave too much",
            volume.free()?
        );
        ballast.leave(volume, level * STEP)?;
        match client.push(150 << 10)? {
            Told::Done => done += 1,
            Told::Refused => refused += 1,
        }
        ballast.remove()?;
        ensure!(
            matches!(client.push(10 << 10)?, Told::Done),
            "refused although there is room again, after {} bytes were free",
            level * STEP
        );
    }
    ensure!(
        done > 0 && refused > 0,
        "of {levels} levels {done} were done and {refused} refused"
    );
    Ok(format!(
        "{levels} fill levels: {done} done, {refused} refused"
    ))
}

/// A file of another program on the same volume.
struct Ballast(PathBuf);

impl Ballast {
    fn new(volume: &Volume) -> Self {
        Self(volume.path().join("ballast"))
    }

    /// Takes all space but `free` bytes.
    fn leave(&self, volume: &Volume, free: u64) -> Result<()> {
        let mut file = File::create(&self.0)?;
        let mut zeros = io::repeat(0).take(volume.free()?.saturating_sub(free));
        match io::copy(&mut zeros, &mut file).and_then(|_| file.flush()) {
            Err(error) if error.kind() != io::ErrorKind::StorageFull => {
                Err(error).context("fill the volume")
            }
            _ => Ok(()),
        }
    }

    fn remove(&self) -> Result<()> {
        std::fs::remove_file(&self.0).context("free the volume")
    }
}
