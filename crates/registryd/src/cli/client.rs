//! A connection to a registry, for commands that look at one from outside.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use clap::Args;
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::files;
use crate::tls::{Identity, Seen, certificates, identity};

/// Who asks, where a registry has `clientauth`.
#[derive(Debug, Default, Args)]
pub(super) struct ClientCertificate {
    /// The certificate to show to a registry that asks clients for one, in PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of that certificate.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

impl ClientCertificate {
    /// Reads both files, if they were named.
    pub(super) fn load(&self) -> anyhow::Result<Option<Identity>> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
            return Ok(None);
        };
        let named = |option: &str, path: &PathBuf| format!("`{option} {}`", path.display());
        let bytes = files::read(cert).with_context(|| named("--cert", cert))?;
        let chain = certificates(&bytes, cert, "--cert")?;
        let bytes = files::read(key).with_context(|| named("--key", key))?;
        let der = PrivateKeyDer::from_pem_slice(&bytes)
            .with_context(|| format!("{} holds no private key in PEM", named("--key", key)))?;
        let identity = identity(chain, der)
            .with_context(|| format!("{} does not fit", named("--key", key)))?;
        Ok(Some(identity))
    }
}

/// Whether a connection failed because this side showed no certificate, or not the right one.
///
/// The server says so with an alert; but it closes the connection right after it, which may be all that a
/// client which is still writing hears.
pub(super) fn wants_a_certificate(seen: &Seen, error: &io::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut told = false;
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        told |= matches!(error.downcast_ref(), Some(rustls::Error::AlertReceived(_)))
            || io.is_some_and(|error| CLOSED.contains(&error.kind()))
            || error
                .downcast_ref::<hyper::Error>()
                .is_some_and(|error| error.is_incomplete_message() || error.is_canceled());
        // An `io::Error` is transparent: its source is that of what it holds.
        cause = match io {
            Some(error) => error.get_ref().map(|inner| inner as _),
            None => error.source(),
        };
    }
    seen.asked() && told
}

/// Where a registry listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) tls: bool,
    pub(super) place: Place,
    /// Whether the URL left the port out, as the names of its images do then.
    pub(super) implied_port: bool,
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
        let written = uri.port_u16();
        let port = written.unwrap_or(if tls { 443 } else { 80 });
        Ok(Self {
            tls,
            implied_port: written.is_none(),
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
    pub(super) fn authority(&self) -> String {
        match &self.place {
            Place::Tcp(host, port) => image_name(host, *port, false),
            Place::Unix(_) => "localhost".to_owned(),
        }
    }

    /// As images name it, and clients their settings for it.
    pub(super) fn name(&self) -> String {
        match &self.place {
            Place::Tcp(host, port) => image_name(host, *port, self.implied_port),
            Place::Unix(_) => self.authority(),
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

/// A registry as images name it, without the port if that is `implied` and can be left out.
pub(super) fn image_name(host: &str, port: u16, implied: bool) -> String {
    let bracketed = bracketed(host);
    if implied && goes_without_port(host) {
        bracketed
    } else {
        format!("{bracketed}:{port}")
    }
}

/// Whether images can name a registry by its host alone: a name without a dot would be the first word of an image
/// of Docker Hub.
pub(super) fn goes_without_port(host: &str) -> bool {
    host.contains(['.', ':']) || host == "localhost"
}

/// A host as it stands before a port.
pub(super) fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// The ways in which a peer's end of a connection shows.
const CLOSED: [io::ErrorKind; 3] = [
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::BrokenPipe,
    io::ErrorKind::UnexpectedEof,
];

/// What is sent with a request.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Nothing.
pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A way to send requests to one registry.
#[derive(Debug)]
pub(super) struct Connection {
    authority: String,
    sender: SendRequest<Body>,
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
        let mut request = Request::new(empty());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(io::Error::other)?;
        *request.headers_mut() = headers;
        self.exchange(request).await
    }

    /// One request to a path; of the answer's body, the first 64 KiB.
    pub(super) async fn exchange(
        &mut self,
        mut request: Request<Body>,
    ) -> io::Result<Response<Bytes>> {
        const MOST: usize = 64 << 10;
        let headers = request.headers_mut();
        let host = HeaderValue::try_from(&self.authority).map_err(io::Error::other)?;
        headers.insert(HOST, host);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
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

const AGENT: &str = concat!("registryd/", env!("CARGO_PKG_VERSION"));

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
    fn images_leave_the_port_of_https_out_where_they_can() {
        for (host, port, named) in [
            ("registry.lan", 5000, "registry.lan:5000"),
            ("registry.lan", 443, "registry.lan"),
            ("registry", 443, "registry:443"),
            ("localhost", 443, "localhost"),
            ("fd00::1", 5000, "[fd00::1]:5000"),
            ("fd00::1", 443, "[fd00::1]"),
        ] {
            assert_eq!(image_name(host, port, port == 443), named);
            // What is printed here is read by `registryd trust`.
            let remote = named.parse::<crate::cli::trust::Remote>().unwrap();
            assert_eq!(remote.to_string(), named);
        }
    }

    #[test]
    fn urls_of_registries() {
        let target = |text: &str| text.parse::<Target>();
        for (text, shown, name) in [
            ("http://localhost", "http://localhost:80", "localhost"),
            (
                "https://registry.lan",
                "https://registry.lan:443",
                "registry.lan",
            ),
            (
                "https://registry.lan:443",
                "https://registry.lan:443",
                "registry.lan:443",
            ),
            (
                "https://registry.lan:5000/",
                "https://registry.lan:5000",
                "registry.lan:5000",
            ),
            (
                "http://[::1]:5000/hub/",
                "http://[::1]:5000/hub",
                "[::1]:5000",
            ),
            ("https://registry", "https://registry:443", "registry:443"),
            ("https://[fd00::1]", "https://[fd00::1]:443", "[fd00::1]"),
        ] {
            let target = target(text).unwrap();
            assert_eq!(
                (target.to_string(), target.name()),
                (shown.to_owned(), name.to_owned())
            );
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
