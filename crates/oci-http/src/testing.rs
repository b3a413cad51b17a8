//! A registry of its own for a test: on an ephemeral port of the loopback interface, gone with the value.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let registry = oci_http::testing::spawn().await?;
//! // Hand this to whatever pushes and pulls: a client library, or a program.
//! let image = registry.reference("app:v1");
//! assert!(image.starts_with("127.0.0.1:") && image.ends_with("/app:v1"));
//! # Ok(())
//! # }
//! ```
//!
//! The server has a thread to itself, so a test may block its own while it runs `docker push`, and
//! tests that use no async runtime call [`spawn_blocking`]. It speaks HTTP/1.1 and HTTP/2 without TLS.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use oci_core::Registry;
use oci_core::memory::MemoryStore;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::service::RegistryService;

/// Starts a registry in memory.
///
/// # Errors
/// If no port can be had, or no thread.
pub async fn spawn() -> io::Result<TestRegistry> {
    builder().spawn().await
}

/// The same, for tests without a runtime.
///
/// # Errors
/// If no port can be had, or no thread.
pub fn spawn_blocking() -> io::Result<TestRegistry> {
    builder().spawn_blocking()
}

/// Starts something other than an empty registry that is open to everybody.
pub fn builder() -> TestRegistryBuilder {
    TestRegistryBuilder { service: None }
}

/// Options of a [`TestRegistry`].
#[derive(Debug)]
#[must_use = "call `spawn` or `spawn_blocking`"]
pub struct TestRegistryBuilder {
    service: Option<RegistryService>,
}

impl TestRegistryBuilder {
    /// Serves `registry`, open to everybody.
    pub fn with_registry(self, registry: Registry) -> Self {
        let service = RegistryService::builder(registry).timer(tokio::time::sleep);
        // Without a base path or origin there is nothing that could be wrong.
        Self {
            service: service.build().ok(),
        }
    }

    /// Serves `service` as it is.
    pub fn with_service(self, service: RegistryService) -> Self {
        Self {
            service: Some(service),
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// If no port can be had, or no thread.
    ///
    /// # Cancel safety
    /// Dropped, nothing is left running.
    pub async fn spawn(self) -> io::Result<TestRegistry> {
        let (starting, ready) = self.start()?;
        ready.await.map_err(|_| died())??;
        Ok(starting)
    }

    /// The same, for tests without a runtime.
    ///
    /// # Errors
    /// If no port can be had, or no thread.
    pub fn spawn_blocking(self) -> io::Result<TestRegistry> {
        let (starting, ready) = self.start()?;
        ready.blocking_recv().map_err(|_| died())??;
        Ok(starting)
    }

    fn start(self) -> io::Result<(TestRegistry, oneshot::Receiver<io::Result<()>>)> {
        let Some(service) = self.service else {
            let memory = Registry::new(MemoryStore::new());
            return self.with_registry(memory).start();
        };
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = oneshot::channel();
        let served = service.clone();
        let thread = std::thread::Builder::new()
            .name("test-registry".to_owned())
            .spawn(move || run(listener, served, ready, stopped))?;
        let registry = TestRegistry {
            addr,
            service,
            stop: Some(stop),
            thread: Some(thread),
        };
        Ok((registry, started))
    }
}

/// A running registry. Dropping it closes its port and breaks off whatever still goes on.
#[derive(Debug)]
pub struct TestRegistry {
    addr: SocketAddr,
    service: RegistryService,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestRegistry {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base URL, without a slash at the end: `http://127.0.0.1:49152`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The full reference of an image in it, for example of `app:v1` or `team/app@sha256:…`.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.addr)
    }

    /// The registry behind it, to look at or change without HTTP.
    pub fn registry(&self) -> &Registry {
        self.service.registry()
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends as soon as it has heard of it; a panic there was printed there.
            let _ = thread.join();
        }
    }
}

fn run(
    listener: std::net::TcpListener,
    service: RegistryService,
    ready: oneshot::Sender<io::Result<()>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            // Nobody waits any more if the starting test was dropped.
            let _ = ready.send(Err(error));
            return;
        }
    };
    runtime.block_on(async move {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        if ready.send(Ok(())).is_err() {
            return;
        }
        let mut accepting = std::pin::pin!(accept(listener, service));
        let mut stopped = stopped;
        std::future::poll_fn(|cx| {
            if std::pin::Pin::new(&mut stopped).poll(cx).is_ready() {
                return std::task::Poll::Ready(());
            }
            accepting.as_mut().poll(cx)
        })
        .await;
    });
    runtime.shutdown_background();
}

async fn accept(listener: TcpListener, service: RegistryService) {
    loop {
        // A client that went away at once, or a moment without file descriptors: the next may do.
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, service.clone()));
            }
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
}

async fn serve(stream: TcpStream, service: RegistryService) {
    // Small answers must not wait for more to send.
    let _ = stream.set_nodelay(true);
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    server.http2().timer(TokioTimer::new());
    let connection =
        server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    // Clients that hang up are normal.
    let _ = connection.await;
}

fn died() -> io::Error {
    io::Error::other("the thread of the test registry ended before it was ready")
}
