//! A connection to a registry, for commands that look at one from outside.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// Where a registry listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) tls: bool,
    pub(super) place: Place,
    /// What its paths begin with; without a slash at the end.
    pub(super) prefix: String,
}

/// The transport's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A name or address, without brackets, and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is no URL of a registry; write it as in `https://registry.lan:5000`")
        };
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self {
            tls,
            place: Place::Tcp(host.to_owned(), port),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        match &self.place {
            Place::Tcp(..) => write!(f, "{scheme}://{}{}", self.authority(), self.prefix),
            Place::Unix(path) => write!(f, "{scheme}+unix:{}{}", path.display(), self.prefix),
        }
    }
}

impl Target {
    /// Host and port as the `Host` header has them.
    fn authority(&self) -> String {
        match &self.place {
            Place::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp(host, port) => format!("{host}:{port}"),
            Place::Unix(_) => "localhost".to_owned(),
        }
    }

    fn server_name(&self) -> io::Result<ServerName<'static>> {
        let host = match &self.place {
            Place::Tcp(host, _) => host.clone(),
            Place::Unix(_) => "localhost".to_owned(),
        };
        ServerName::try_from(host).map_err(io::Error::other)
    }
}

/// A way to send requests to one registry.
#[derive(Debug)]
pub(super) struct Connection {
    authority: String,
    sender: SendRequest<Empty<Bytes>>,
    driver: tokio::task::JoinHandle<()>,
}

impl Connection {
    /// Connects, and shakes hands where the target has TLS.
    pub(super) async fn open(target: &Target, tls: Arc<ClientConfig>) -> io::Result<Self> {
        let stream: Box<dyn Stream> = match &target.place {
            Place::Tcp(host, port) => Box::new(TcpStream::connect((host.as_str(), *port)).await?),
            Place::Unix(path) => Box::new(UnixStream::connect(path).await?),
        };
        let stream: Box<dyn Stream> = if target.tls {
            let connector = TlsConnector::from(tls);
            Box::new(connector.connect(target.server_name()?, stream).await?)
        } else {
            stream
        };
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let driver = tokio::spawn(async move {
            // What goes wrong here is told to the request that waits.
            let _ = connection.await;
        });
        Ok(Self {
            authority: target.authority(),
            sender,
            driver,
        })
    }

    /// One request without a body; of the answer's body, the first 64 KiB.
    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: HeaderMap,
    ) -> io::Result<Response<Bytes>> {
        const MOST: usize = 64 << 10;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.authority)
            .header(
                "user-agent",
                concat!("registryd/", env!("CARGO_PKG_VERSION")),
            )
            .body(Empty::new())
            .map_err(io::Error::other)?;
        request.headers_mut().extend(headers);
        self.sender.ready().await.map_err(io::Error::other)?;
        let answer = self
            .sender
            .send_request(request)
            .await
            .map_err(io::Error::other)?;
        let (head, mut body) = answer.into_parts();
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
                bytes.extend_from_slice(
                    data.get(..data.len().min(MOST - bytes.len()))
                        .unwrap_or(&data),
                );
            }
            if bytes.len() >= MOST {
                break;
            }
        }
        Ok(Response::from_parts(head, bytes.freeze()))
    }

    /// The status of a GET.
    pub(super) async fn status(&mut self, path: &str) -> io::Result<StatusCode> {
        Ok(self
            .send(Method::GET, path, HeaderMap::new())
            .await?
            .status())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_registries() {
        let target = |text: &str| text.parse::<Target>();
        for (text, shown) in [
            ("http://localhost", "http://localhost:80"),
            ("https://registry.lan", "https://registry.lan:443"),
            ("https://registry.lan:5000/", "https://registry.lan:5000"),
            ("http://[::1]:5000/hub/", "http://[::1]:5000/hub"),
        ] {
            assert_eq!(target(text).unwrap().to_string(), shown);
        }
        for text in [
            "registry.lan:5000",
            "registry.lan",
            "ftp://registry.lan",
            "https://",
            "",
        ] {
            assert!(
                target(text)
                    .unwrap_err()
                    .contains("https://registry.lan:5000"),
                "{text}"
            );
        }
    }
}
