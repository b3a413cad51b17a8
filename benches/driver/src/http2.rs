//! Pulls over one HTTP/2 connection with TLS.

use std::io;
use std::net::SocketAddr;

use h2::client;
use http::Request;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::{Error, Result};
use crate::tls::{TlsClient, server_name};

/// Large windows: how fast a server sends is to be measured, not how fast we let it.
const WINDOW: u32 = 16 << 20;

/// Pulls `target` `times` times, one after the other on one connection, and returns how many bytes
/// came. Every body must have `length` bytes; with a digest, also that SHA-256.
pub fn pull(
    address: SocketAddr,
    tls: &TlsClient,
    target: &str,
    length: u64,
    digest: Option<&str>,
    times: u32,
) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start a runtime"))?;
    runtime.block_on(pull_all(address, tls, target, length, digest, times))
}

async fn pull_all(
    address: SocketAddr,
    tls: &TlsClient,
    target: &str,
    length: u64,
    digest: Option<&str>,
    times: u32,
) -> Result<u64> {
    let name = format!("GET {target} (HTTP/2)");
    let tcp = TcpStream::connect(address)
        .await
        .map_err(Error::io(format!("connect to {address}")))?;
    tcp.set_nodelay(true)
        .map_err(Error::io("set up a connection"))?;
    let host = server_name().map_err(Error::io("TLS"))?;
    let stream = TlsConnector::from(tls.http2()).connect(host, tcp).await;
    let stream = stream.map_err(Error::io("TLS"))?;
    let failed = |error: h2::Error| Error::io(name.clone())(io::Error::other(error));
    let handshake = client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(1 << 20)
        .handshake::<_, bytes::Bytes>(stream);
    let (mut sender, connection) = handshake.await.map_err(failed)?;
    let driver = tokio::spawn(connection);
    let mut total = 0;
    for _ in 0..times {
        sender = sender.ready().await.map_err(failed)?;
        let request = Request::get(format!("https://localhost:{}{target}", address.port()));
        let request = request
            .body(())
            .map_err(|error| Error::protocol(&name, error.to_string()))?;
        let (response, _) = sender.send_request(request, true).map_err(failed)?;
        let response = response.await.map_err(failed)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(Error::Status {
                request: name,
                expected: 200,
                got: status,
                body: String::new(),
            });
        }
        let mut body = response.into_body();
        let mut got = 0;
        let mut hash = digest.map(|_| Sha256::new());
        while let Some(data) = body.data().await {
            let data = data.map_err(failed)?;
            got += data.len() as u64;
            if let Some(hash) = &mut hash {
                hash.update(&data);
            }
            body.flow_control()
                .release_capacity(data.len())
                .map_err(failed)?;
        }
        crate::connection::check_length(&name, length, got)?;
        if let (Some(hash), Some(digest)) = (hash, digest) {
            let hash = format!("sha256:{}", hex::encode(hash.finalize()));
            if hash != digest {
                return Err(Error::Bytes {
                    request: name,
                    what: format!("they hash to {hash}"),
                });
            }
        }
        total += got;
    }
    driver.abort();
    Ok(total)
}
