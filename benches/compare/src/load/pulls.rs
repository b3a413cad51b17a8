//! Pulls of a large blob: by one or many clients, with TLS, over HTTP/2, beside slow readers.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use registry_load_driver::connection::connect;
use registry_load_driver::registry::Client;
use registry_load_driver::{Connection, Content, Error, Request, http2, pause};

use super::{Load, provide, together, verify};
use crate::arena::Arena;
use crate::measure::{Sample, metered};
use crate::server::{Server, Setup};

const REPOSITORY: &str = "bench/pull";

/// How a blob is pulled.
pub(crate) struct Pulls {
    pub(crate) size: u64,
    pub(crate) clients: usize,
    /// How often each client pulls it.
    pub(crate) times: u32,
    pub(crate) over: Over,
    /// Clients that read 10 KiB/s of the same blob meanwhile.
    pub(crate) slow_readers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Tcp,
    Tls,
    Http2,
}

impl Load for Pulls {
    fn setup(&self, _arena: &Arena) -> Result<Setup> {
        Ok(Setup {
            tls: self.over != Over::Tcp,
            ..Setup::default()
        })
    }

    fn prepare(&self, arena: &Arena, server: &Server) -> Result<()> {
        let content = arena.fixed(self.size)?;
        provide(server, REPOSITORY, &content)?;
        verify(server, REPOSITORY, &content)?;
        self.pull(server, &content, 1)
    }

    fn measure(&self, arena: &Arena, server: &Server) -> Result<Sample> {
        let content = arena.fixed(self.size)?;
        self.verify(arena, server, &content)?;
        let stop = AtomicBool::new(false);
        let ((), used) = std::thread::scope(|scope| -> Result<_> {
            for _ in 0..self.slow_readers {
                let stream = begin_slowly(server, &content)?;
                let stop = &stop;
                scope.spawn(move || read_slowly(stream, stop));
            }
            let result = metered(server, || self.pull(server, &content, self.times));
            stop.store(true, Ordering::Relaxed);
            result
        })?;
        let bytes = self.size * self.clients as u64 * u64::from(self.times);
        Ok(Sample::transfer(bytes, &used))
    }
}

impl Pulls {
    fn pull(&self, server: &Server, content: &Content, times: u32) -> Result<()> {
        let target = target(content);
        let length = content.length();
        if let (Over::Http2, Some(tls)) = (self.over, &server.tls) {
            together(vec![(); self.clients], |_, ()| {
                http2::pull(server.address, tls, &target, length, None, times)
            })?;
            return Ok(());
        }
        let mut connections = Vec::new();
        for _ in 0..self.clients {
            connections.push(server.connect()?);
        }
        if server.nginx {
            // A static file has no digest header.
            together(connections, |_, mut connection: Connection| {
                for _ in 0..times {
                    connection.discard(&Request::new("GET", &target), length)?;
                }
                Ok(())
            })?;
            return Ok(());
        }
        let clients = connections.into_iter().map(Client::new).collect();
        together(clients, |_, mut client| {
            for _ in 0..times {
                client.pull(REPOSITORY, content)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    fn verify(&self, arena: &Arena, server: &Server, content: &Content) -> Result<()> {
        if let (Over::Http2, Some(tls)) = (self.over, &server.tls) {
            let digest = Some(content.digest());
            let target = target(content);
            http2::pull(server.address, tls, &target, content.length(), digest, 1)?;
            return Ok(());
        }
        let times = if arena.options.short { self.clients } else { 1 };
        for _ in 0..times {
            verify(server, REPOSITORY, content)?;
        }
        Ok(())
    }
}

fn target(content: &Content) -> String {
    format!("/v2/{REPOSITORY}/blobs/{}", content.digest())
}

/// A reader with a small receive buffer, so that the server notices how slow it is.
fn begin_slowly(server: &Server, content: &Content) -> Result<TcpStream> {
    use std::io::Write as _;
    let mut stream = connect(server.address)?;
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 16 * 1024)?;
    let target = target(content);
    let request = Request::new("GET", &target);
    stream
        .write_all(request.head(server.address).as_bytes())
        .map_err(Error::io(request.name()))?;
    Ok(stream)
}

fn read_slowly(mut stream: TcpStream, stop: &AtomicBool) {
    let mut piece = [0; 1024];
    while !stop.load(Ordering::Relaxed) {
        // 1 KiB ten times a second. That it is cut off in the end is no failure.
        if !matches!(stream.read(&mut piece), Ok(1..)) {
            return;
        }
        pause(Duration::from_millis(100));
    }
}
