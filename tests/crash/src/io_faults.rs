//! Syscalls that fail under the server while it runs. Needs root and strace.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    images::{Client, Told},
    pause,
    program::Program,
    server::Server,
    tracer::{SYNC, Tracer},
};

/// A server that refused for want of a working disk takes pushes again after this at the latest.
pub const RECOVERY: Duration = Duration::from_secs(15);

/// Syscalls that fail together.
struct Fault {
    name: &'static str,
    syscalls: &'static str,
    /// While they fail nothing may be acknowledged.
    vital: bool,
}

const FAULTS: [Fault; 4] = [
    Fault {
        name: "sync",
        syscalls: SYNC,
        vital: true,
    },
    Fault {
        name: "rename",
        syscalls: "rename,renameat,renameat2,link,linkat",
        vital: true,
    },
    Fault {
        name: "directory",
        syscalls: "mkdir,mkdirat",
        vital: false,
    },
    Fault {
        name: "write",
        // Not `write` itself: it also wakes threads and carries the log.
        syscalls: "pwrite64,pwritev,pwritev2,ftruncate,fallocate",
        vital: false,
    },
];

/// Lets every group of syscalls fail, with "I/O error" and with "no space left on device".
///
/// # Errors
/// When something is acknowledged that cannot be kept, an answer is not a proper refusal, or the
/// server does not go on once the disk works again.
pub fn run(program: &Program, scratch: &Path) -> Result<String> {
    let storage = scratch.join("store");
    fs::create_dir_all(&storage)?;
    let mut server = Server::start(program, &storage, scratch)?;
    let mut client = Client::new(program, server.address());
    ensure!(
        client.push(1 << 20)? == Told::Done,
        "the first push is refused"
    );
    let mut summary = Vec::new();
    for fault in &FAULTS {
        for error in ["EIO", "ENOSPC"] {
            let name = format!("{} {error}", fault.name);
            let (done, refused) = under(fault, error, &server, &mut client)
                .and_then(|counts| {
                    recover(&mut client)?;
                    client.compare("after the fault")?;
                    Ok(counts)
                })
                .with_context(|| format!("{name}; the server's log:\n{}\n", server.log_tail()))?;
            summary.push(format!("{name}: {done} done, {refused} refused"));
            // What was acknowledged meanwhile is no promise of this process alone.
            server.kill()?;
            server = Server::start(program, &storage, scratch)?;
            client.moved(server.address());
            client
                .compare("after a restart")
                .with_context(|| name.clone())?;
        }
    }
    Ok(summary.join("; "))
}

fn under(fault: &Fault, error: &str, server: &Server, client: &mut Client) -> Result<(u32, u32)> {
    let tracer = Tracer::attach(server.pid(), fault.syscalls, &format!("error={error}"))?;
    let (mut done, mut refused) = (0, 0);
    for attempt in 0..9 {
        let told = if attempt % 3 == 2 {
            client.push_manifest()?
        } else {
            client.push(100 + attempt * 60_000)?
        };
        match told {
            Told::Done => done += 1,
            Told::Refused => refused += 1,
        }
    }
    tracer.detach()?;
    ensure!(
        !fault.vital || done == 0,
        "{done} pushes were acknowledged although {} failed",
        fault.syscalls
    );
    Ok((done, refused))
}

fn recover(client: &mut Client) -> Result<()> {
    let since = Instant::now();
    while client.push(300_000)? != Told::Done {
        ensure!(
            since.elapsed() < RECOVERY,
            "pushes are still refused {RECOVERY:?} after the disk works again"
        );
        pause(Duration::from_millis(200));
    }
    for _ in 0..3 {
        ensure!(
            client.push(50_000)? == Told::Done,
            "a push is refused after others were done again"
        );
    }
    Ok(())
}
