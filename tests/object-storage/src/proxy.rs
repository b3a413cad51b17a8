//! A proxy before several replicas that sends each request to the next one, whoever asks.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;

/// A proxy without affinity. Each connection carries one request.
#[derive(Clone, Debug)]
pub struct RoundRobin {
    address: String,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug)]
struct Table {
    servers: Vec<String>,
    next: usize,
    log: Vec<Passed>,
}

/// A request that was passed on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Passed {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Which server, by its place in the list.
    pub server: usize,
}

impl RoundRobin {
    /// A proxy before `servers`.
    ///
    /// # Errors
    /// If there is no port.
    pub fn start(servers: Vec<String>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("a port for the proxy")?;
        let proxy = Self {
            address: listener.local_addr()?.to_string(),
            table: Arc::new(Mutex::new(Table {
                servers,
                next: 0,
                log: Vec::new(),
            })),
        };
        let own = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let proxy = own.clone();
                // A request that comes to nothing is the client's to repeat.
                thread::spawn(move || proxy.pass_on(client));
            }
        });
        Ok(proxy)
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A server has another address now.
    pub fn replace(&self, server: usize, address: &str) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = table.servers.get_mut(server) {
            address.clone_into(entry);
        }
    }

    /// What was passed on so far.
    pub fn log(&self) -> Vec<Passed> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.log.clone()
    }

    fn choose(&self, method: &str, target: &str) -> Option<String> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let server = table.next % table.servers.len().max(1);
        table.next = table.next.wrapping_add(1);
        table.log.push(Passed {
            method: method.to_owned(),
            target: target.to_owned(),
            server,
        });
        table.servers.get(server).cloned()
    }

    fn pass_on(&self, mut client: TcpStream) -> anyhow::Result<()> {
        let mut request = Vec::new();
        let mut buffer = vec![0; 16 << 10];
        while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            let read = client.read(&mut buffer)?;
            anyhow::ensure!(read > 0 && request.len() < MOST, "no request");
            request.extend_from_slice(buffer.get(..read).unwrap_or_default());
        }
        let head = String::from_utf8_lossy(&request);
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let server = self.choose(method, target).context("no servers")?;
        let Ok(mut server) = TcpStream::connect(server) else {
            client.write_all(
                b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            )?;
            return Ok(());
        };
        server.write_all(&request)?;
        let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
        let answers = thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
        let _ = std::io::copy(&mut client, &mut server);
        let _ = answers.join();
        Ok(())
    }
}

/// No head of a request is longer.
const MOST: usize = 64 << 10;
