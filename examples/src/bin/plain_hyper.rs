//! A registry on hyper alone: no framework, HTTP/1.1 and HTTP/2 on one port.
//!
//! Shows: the service in hyper's own terms, timeouts that do not break pushes, an end that lets running
//! pushes finish.
//! To change: wrap `stream` in TLS where it is accepted; hand `Registry` another store.
//!
//! ```text
//! cargo run -p registry-examples --bin plain_hyper -- 127.0.0.1:5000
//! docker push 127.0.0.1:5000/app:v1
//! ```

use std::env;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use oci_core::{Registry, memory::MemoryStore};
use oci_http::RegistryService;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let registry = RegistryService::builder(Registry::new(MemoryStore::new()))
        .timer(tokio::time::sleep)
        .build()?;
    let service = TowerToHyperService::new(registry);

    // Headers have to arrive in time and connections have to stay alive. Nothing here limits how long a
    // request takes: a push takes as long as it takes.
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30));
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30));

    let addr = env::args().nth(1).unwrap_or("127.0.0.1:5000".to_owned());
    let listener = TcpListener::bind(addr).await?;
    println!("listening on {}", listener.local_addr()?);

    let running = GracefulShutdown::new();
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // A client that is gone again, or no file descriptor left: a moment later it may do.
                    eprintln!("accepting a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            stop = &mut interrupted => {
                stop?;
                break;
            }
        };
        stream.set_nodelay(true)?;
        let connection = server.serve_connection(TokioIo::new(stream), service.clone());
        let connection = running.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                // Mostly clients that hang up, which is their right.
                eprintln!("serving a connection: {error}");
            }
        });
    }

    drop(listener);
    tokio::select! {
        () = running.shutdown() => {}
        () = tokio::time::sleep(Duration::from_secs(30)) => eprintln!("some requests were cut off"),
    }
    Ok(())
}
