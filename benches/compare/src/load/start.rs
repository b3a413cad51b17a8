//! Starting, doing nothing, and the size of the program.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use registry_load_driver::{pause, process};

use super::Load;
use crate::arena::Arena;
use crate::measure::{Metric, Sample, float, mib};
use crate::server::{Program, Server, Setup};

/// A second server of the same program is started beside one that is idle.
pub(crate) struct Start {
    pub(crate) program: Program,
}

impl Load for Start {
    fn prepare(&self, arena: &Arena, _server: &Server) -> Result<()> {
        // The program's file is read into the page cache.
        drop(self.program.start(arena, &Setup::default())?);
        Ok(())
    }

    fn measure(&self, arena: &Arena, _server: &Server) -> Result<Sample> {
        let server = self.program.start(arena, &Setup::default())?;
        let Some(pid) = server.pid() else {
            bail!("{} was not started here", self.program.name);
        };
        // What is only needed to start is given back meanwhile.
        let settled = if arena.options.short { 100 } else { 1_000 };
        pause(Duration::from_millis(settled));
        let sample = Sample::default()
            .with(Metric::Start, server.ready_after.as_secs_f64() * 1e3)
            .with(Metric::Idle, mib(process::resident(pid)?))
            .with(Metric::Binary, float(self.stripped(arena)?) / 1e6);
        Ok(sample)
    }
}

impl Start {
    fn stripped(&self, arena: &Arena) -> Result<u64> {
        let file = self.program.file().context("no file")?;
        let copy = arena.scratch.path().join("stripped");
        let status = Command::new("strip")
            .arg("-o")
            .arg(&copy)
            .arg(file)
            .status();
        let stripped = status.is_ok_and(|status| status.success());
        let size = fs::metadata(if stripped { &copy } else { file })?.len();
        let _ = fs::remove_file(copy);
        Ok(size)
    }
}
