//! Many connections that are open and mostly idle.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use registry_load_driver::{Connection, Request, process};

use super::Load;
use crate::arena::Arena;
use crate::measure::{Metric, Sample, mib};
use crate::server::Server;

/// Opens them all, then has each ask once.
pub(crate) struct Connections;

impl Load for Connections {
    fn fresh(&self) -> bool {
        true
    }

    fn prepare(&self, _arena: &Arena, _server: &Server) -> Result<()> {
        Ok(())
    }

    fn measure(&self, arena: &Arena, server: &Server) -> Result<Sample> {
        let pid = server
            .pid()
            .context("memory of a server that was not started here")?;
        let wanted = arena.sizes.connections;
        let begun = Instant::now();
        let mut streams = Vec::with_capacity(wanted);
        for opened in 0..wanted {
            let stream = registry_load_driver::connection::connect(server.address);
            streams.push(stream.with_context(|| format!("{opened} connections are open"))?);
        }
        // One answer on the newest connection shows that all before it were accepted.
        let opened = begun.elapsed();
        // A server may let a connection go that sends nothing for long.
        let slow = || format!("{wanted} connections, which took {opened:.1?} to open");
        let Some(newest) = streams.pop() else {
            bail!("no connections");
        };
        let mut newest = Connection::from_stream(newest, server.address);
        newest
            .expect(&Request::new("GET", "/v2/"), 200)
            .with_context(slow)?;
        let before = process::resident(pid)?;
        let mut used = Vec::with_capacity(wanted);
        used.push(newest);
        for stream in streams {
            let mut connection = Connection::from_stream(stream, server.address);
            connection
                .expect(&Request::new("GET", "/v2/"), 200)
                .with_context(slow)?;
            connection.shrink();
            used.push(connection);
        }
        let after = process::resident(pid)?;
        Ok(Sample::default()
            .with(Metric::BeforeFirstByte, mib(before))
            .with(Metric::AfterOneRequest, mib(after)))
    }
}
