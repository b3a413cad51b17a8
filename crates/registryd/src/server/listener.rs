//! Listening sockets.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream, lookup_host};

use crate::config::ListenAddr;

/// Binds an address of the configuration. `key` names the key and the variable that it comes from.
///
/// # Errors
/// If it cannot be bound, with what to do about it.
pub async fn bind(addr: &ListenAddr, key: &'static str) -> Result<Listener, BindError> {
    let failed = |source| BindError {
        addr: addr.clone(),
        key,
        source,
    };
    match addr {
        ListenAddr::Tcp { host, port } => {
            let host = host.as_deref().unwrap_or_default();
            let listener = if host.is_empty() {
                // `:5000` is every interface, IPv6 and IPv4 alike; without IPv6, IPv4 alone.
                match listen("::", *port).await {
                    Ok(listener) => listener,
                    Err(_) => listen("0.0.0.0", *port).await.map_err(failed)?,
                }
            } else {
                listen(host, *port).await.map_err(failed)?
            };
            Ok(Listener::Tcp(listener))
        }
        ListenAddr::Unix(path) => {
            // A socket that a killed process left behind refuses connections and can go. So does any file.
            if is_socket(path)
                && UnixStream::connect(path)
                    .await
                    .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
            {
                std::fs::remove_file(path).map_err(failed)?;
            }
            let listener = UnixListener::bind(path).map_err(failed)?;
            Ok(Listener::Unix(listener, path.clone()))
        }
    }
}

fn is_socket(path: &std::path::Path) -> bool {
    use std::os::unix::fs::FileTypeExt;

    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// The socket that systemd, or whatever started this process, holds open for it: `LISTEN_FDS`.
///
/// To be called before there is a second thread, because it reads and clears the environment.
///
/// # Errors
/// If there is not exactly one, or it is no listening TCP or Unix socket.
pub fn inherited() -> io::Result<Option<Inherited>> {
    let mut handed = listenfd::ListenFd::from_env();
    match handed.len() {
        0 => return Ok(None),
        1 => {}
        n => {
            return Err(io::Error::other(format!(
                "{n} sockets were handed over (LISTEN_FDS), but one is served: leave one `ListenStream=` in the socket unit"
            )));
        }
    }
    if let Ok(Some(listener)) = handed.take_tcp_listener(0) {
        return Ok(Some(Inherited::Tcp(listener)));
    }
    match handed.take_unix_listener(0)? {
        Some(listener) => Ok(Some(Inherited::Unix(listener))),
        None => Ok(None),
    }
}

/// A socket that was opened before this process.
#[derive(Debug)]
#[non_exhaustive]
pub enum Inherited {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A Unix domain socket, whose file belongs to whoever made it.
    Unix(std::os::unix::net::UnixListener),
}

impl Inherited {
    /// To accept from, in the runtime.
    pub fn listener(self) -> io::Result<Listener> {
        match self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Listener::Tcp(TcpListener::from_std(listener)?))
            }
            Self::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Listener::Unix(
                    UnixListener::from_std(listener)?,
                    PathBuf::new(),
                ))
            }
        }
    }
}

/// Listens on the first address of `host` that can be had.
async fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut failed = io::ErrorKind::AddrNotAvailable.into();
    for addr in lookup_host((host, port)).await? {
        let listening = (|| {
            let socket = if addr.is_ipv6() {
                TcpSocket::new_v6()?
            } else {
                TcpSocket::new_v4()?
            };
            // A server that restarts must not wait for connections of the one before.
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            socket.listen(BACKLOG)
        })();
        match listening {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// How many connections may wait to be accepted: a whole cluster may come at once, and who finds no room
/// tries again only after seconds. The kernel cuts it to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// A bound socket.
#[derive(Debug)]
#[non_exhaustive]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix domain socket and its path.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// The address in the form registry:2 logs it: with the port that was chosen.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| "unknown".to_owned(), |addr| addr.to_string()),
            Self::Unix(_, path) => path.display().to_string(),
        }
    }

    /// Where a client on this machine connects to.
    pub fn local_authority(&self) -> Option<String> {
        let Self::Tcp(listener) = self else {
            return None;
        };
        let addr = listener.local_addr().ok()?;
        let host = if addr.ip().is_unspecified() || addr.ip().is_loopback() {
            "localhost".to_owned()
        } else {
            addr.ip().to_string()
        };
        Some(format!("{host}:{}", addr.port()))
    }

    /// Whether only this machine can reach it over the network.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .is_ok_and(|addr| addr.ip().is_loopback()),
            Self::Unix(..) => false,
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, addr) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Socket::Tcp(stream), Peer(Some(addr))))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), Peer(None)))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A socket that was handed over has no path here, and stays.
        if let Self::Unix(_, path) = self
            && !path.as_os_str().is_empty()
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    addr: ListenAddr,
    key: &'static str,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.addr, self.source)?;
        match self.source.kind() {
            io::ErrorKind::AddrInUse => {
                f.write_str("; another program uses the address: ")?;
                match &self.addr {
                    ListenAddr::Tcp { port, .. } => {
                        write!(f, "`ss -ltnp 'sport = :{port}'` names it; ")?;
                    }
                    ListenAddr::Unix(path) => {
                        write!(f, "`ss -lxp src {}` names it; ", path.display())?;
                    }
                }
                write!(f, "stop it, or choose another address with {}", self.key)
            }
            io::ErrorKind::PermissionDenied => match &self.addr {
                ListenAddr::Tcp { .. } => write!(
                    f,
                    "; ports below 1024 need CAP_NET_BIND_SERVICE, which this process (uid {}) lacks: \
                     choose a higher port with {}, or let systemd open the socket",
                    rustix::process::geteuid().as_raw(),
                    self.key,
                ),
                ListenAddr::Unix(_) => write!(
                    f,
                    "; the process runs as uid {}, which has to own the directory of the socket; or \
                     choose another with {}",
                    rustix::process::geteuid().as_raw(),
                    self.key,
                ),
            },
            io::ErrorKind::AddrNotAvailable => {
                write!(
                    f,
                    "; no interface of this machine has it: use `:PORT` for all of them"
                )
            }
            kind => match &self.addr {
                ListenAddr::Unix(path) if kind == io::ErrorKind::NotFound => write!(
                    f,
                    "; the directory of the socket, {}, is not there: make it, or choose another path with {}",
                    path.parent().unwrap_or(path).display(),
                    self.key,
                ),
                // The resolver's failures have no number.
                ListenAddr::Tcp {
                    host: Some(host), ..
                } if self.source.raw_os_error().is_none() => {
                    write!(
                        f,
                        "; nothing here knows an address of the name {host}: use `:PORT` for every interface, or \
                         an address of this machine, with {}",
                        self.key,
                    )
                }
                _ => Ok(()),
            },
        }
    }
}

impl std::error::Error for BindError {
    // What the system says is part of the text already.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}

/// Who is at the other end; nobody in particular on a Unix socket.
#[derive(Clone, Debug)]
pub(crate) struct Peer(pub(super) Option<SocketAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(addr) => addr.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

/// An accepted connection.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Whether `first_byte` really waits for one.
    pub(super) fn may_sleep(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Looks at the first byte without taking it; `None` if there will be none.
    pub(super) async fn first_byte(&self) -> io::Result<Option<u8>> {
        match self {
            Self::Tcp(stream) => {
                let mut byte = [0];
                Ok((stream.peek(&mut byte).await? > 0).then_some(byte[0]))
            }
            // Nobody puts TLS on a Unix socket by mistake: that something comes is all there is to know.
            Self::Unix(stream) => {
                stream.ready(Interest::READABLE).await?;
                Ok(Some(0))
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(addr: &str) -> String {
        let error = bind(&addr.parse().unwrap(), "`http.addr`")
            .await
            .unwrap_err();
        format!("{:#}", anyhow::Error::from(error))
    }

    #[tokio::test]
    async fn what_the_system_says_is_said_once_and_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let taken = listener.local_addr().unwrap();
        let missing = format!("unix:{}/no/registry.sock", dir.path().display());
        for (addr, what, fix) in [
            (taken.to_string(), "os error 98", "stop it"),
            (
                missing,
                "os error 2",
                "make it, or choose another path with `http.addr`",
            ),
            (
                "name.invalid:5000".to_owned(),
                "name.invalid:5000",
                "use `:PORT`",
            ),
        ] {
            let said = refused(&addr).await;
            assert_eq!(said.matches(what).count(), 1, "{said}");
            assert!(said.contains(fix), "{said}");
        }
    }
}
