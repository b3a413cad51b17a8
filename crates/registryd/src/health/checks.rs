//! The single checks of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::storage::StorageProbe;
use crate::config::HealthHttp;
use crate::tls::outgoing;

/// One thing to look at.
#[derive(Debug)]
pub(super) enum Check {
    /// `health.storagedriver`
    Storage,
    /// `health.file`: its being there means trouble.
    File(PathBuf),
    /// `health.http`
    Http(HealthHttp),
    /// `health.tcp`
    Tcp(String, Duration),
}

impl Check {
    /// Looks once. An error says what is wrong.
    pub(super) async fn run(&self, probe: &StorageProbe) -> Result<(), String> {
        match self {
            Self::Storage => probe.check().await,
            Self::File(path) => {
                let path = path.clone();
                let looked = tokio::task::spawn_blocking(move || std::fs::metadata(path)).await;
                match looked.map_err(|error| error.to_string())? {
                    Ok(_) => Err("file exists".to_owned()),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                    Err(error) => Err(error.to_string()),
                }
            }
            Self::Http(check) => within(check.timeout, ask(check)).await,
            Self::Tcp(addr, patience) => {
                within(*patience, async {
                    let connected = TcpStream::connect(addr).await;
                    connected.map(drop).map_err(|error| error.to_string())
                })
                .await
            }
        }
    }
}

async fn within(
    patience: Duration,
    check: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    // Zero means that none was given.
    let patience = if patience.is_zero() {
        PATIENCE
    } else {
        patience
    };
    match timeout(patience, check).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {patience:?}")),
    }
}

/// Sends HEAD and compares the status, as Distribution does. Redirects are not followed.
async fn ask(check: &HealthHttp) -> Result<(), String> {
    let uri: Uri = check
        .uri
        .parse()
        .map_err(|error| format!("it is no URL: {error}"))?;
    let host = uri.host().ok_or("the URL has no host")?;
    let https = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let socket = TcpStream::connect((bare, port)).await;
    let socket = socket.map_err(|error| format!("cannot connect: {error}"))?;
    let status = if https {
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| error.to_string())?;
        // Reads a file of some hundred certificates.
        let trusted = tokio::task::spawn_blocking(outgoing::trusting_system).await;
        let trusted = trusted.map_err(|error| error.to_string())?;
        let trusted = trusted.map_err(|error| error.to_string())?;
        let connector = tokio_rustls::TlsConnector::from(trusted);
        let session = connector.connect(name, socket).await;
        head(
            check,
            &uri,
            session.map_err(|error| format!("TLS: {error}"))?,
        )
        .await?
    } else {
        head(check, &uri, socket).await?
    };
    let expected = if check.statuscode == 0 {
        200
    } else {
        check.statuscode
    };
    if status == expected {
        Ok(())
    } else {
        Err(format!("the status is {status}, not {expected}"))
    }
}

async fn head(
    check: &HealthHttp,
    uri: &Uri,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<u16, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::builder()
        .method(Method::HEAD)
        .uri(target)
        .header(USER_AGENT, "registryd-health")
        .body(Empty::<Bytes>::new())
        .map_err(|error| text(&error))?;
    let headers = request.headers_mut();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    headers.insert(
        HOST,
        HeaderValue::from_str(authority).map_err(|error| text(&error))?,
    );
    for (name, values) in &check.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|error| text(&error))?;
        headers.remove(&name);
        for value in values {
            let value = HeaderValue::from_str(value).map_err(|error| text(&error))?;
            headers.append(&name, value);
        }
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| text(&error))?;
    // The connection moves only while it is polled. It may end together with the response.
    let mut response = std::pin::pin!(sender.send_request(request));
    let answered = tokio::select! {
        biased;
        answered = &mut response => answered,
        _ = connection => response.await,
    };
    let answered = answered.map_err(|error| text(&error))?;
    Ok(answered.status().as_u16())
}

/// For checks that have no `timeout`.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use oci_core::Registry;
    use oci_core::memory::MemoryStore;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn run(check: Check) -> Result<(), String> {
        let registry = Registry::new(MemoryStore::new());
        check.run(&StorageProbe::new(registry, None)).await
    }

    #[tokio::test]
    async fn a_file_that_is_there_means_trouble() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("down");
        assert_eq!(run(Check::File(path.clone())).await, Ok(()));
        std::fs::write(&path, "").unwrap();
        assert_eq!(run(Check::File(path)).await, Err("file exists".to_owned()));
    }

    #[tokio::test]
    async fn a_port_has_to_take_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        assert_eq!(run(Check::Tcp(addr.clone(), Duration::ZERO)).await, Ok(()));
        drop(listener);
        assert!(run(Check::Tcp(addr, Duration::ZERO)).await.is_err());
    }

    #[tokio::test]
    async fn a_url_has_to_answer_with_its_status() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                let length = stream.read(&mut head).await.unwrap();
                seen.push(String::from_utf8_lossy(&head[..length]).into_owned());
                let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
            seen
        });
        let check = |status: u16| -> HealthHttp {
            let item = format!(
                r#"{{"uri": "http://{addr}/x?y", "statuscode": {status}, "headers": {{"X-A": ["b"]}}}}"#
            );
            serde_json::from_str(&item).unwrap()
        };
        assert_eq!(run(Check::Http(check(204))).await, Ok(()));
        let wrong = run(Check::Http(check(0))).await.unwrap_err();
        assert_eq!(wrong, "the status is 204, not 200");
        let seen = serving.await.unwrap();
        assert!(seen[0].starts_with("HEAD /x?y HTTP/1.1\r\n"), "{}", seen[0]);
        let lower = seen[0].to_lowercase();
        assert!(lower.contains("x-a: b") && lower.contains(&format!("host: {addr}")));
    }

    #[tokio::test]
    async fn silence_is_a_problem() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let item = format!(r#"{{"uri": "http://{addr}/", "timeout": "50ms"}}"#);
        let problem = run(Check::Http(serde_json::from_str(&item).unwrap())).await;
        assert_eq!(problem, Err("no answer within 50ms".to_owned()));
    }
}
