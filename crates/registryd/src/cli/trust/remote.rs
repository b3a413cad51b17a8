//! A registry on the network: what it shows of itself, before it is trusted and after.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use time::OffsetDateTime;

use crate::cli::client::{bracketed, goes_without_port};
use crate::server::app::AUTHORITY_PATH;
use crate::tls::{Facts, Seen, day};

/// A registry as images name it: HOST:PORT, or HOST alone, which stands for port 443.
///
/// Clients look their settings up by that name, letter by letter: HOST and HOST:443 are two.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Remote {
    host: String,
    port: Option<u16>,
}

impl FromStr for Remote {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fix = "write it as images do: registry.lan:5000, or registry.lan for port 443";
        if text.contains('/') {
            return Err(format!("it is a URL or a path; {fix}"));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if port.is_none() && bare.is_none() && !goes_without_port(host) {
            return Err(format!(
                "it has neither a port nor a dot, so images cannot name it; {fix}"
            ));
        }
        let host = bare.unwrap_or(host);
        let port = match port {
            Some(port) => Some(
                port.parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(|| format!("its port is no number from 1 to 65535; {fix}"))?,
            ),
            None => None,
        };
        if ServerName::try_from(host).is_err() || (host.contains(':') && bare.is_none()) {
            return Err(format!("its host is neither a name nor an address; {fix}"));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bracketed(&self.host))?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Remote {
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Whether the port was written: what has none may as well be the name of a file.
    pub(crate) fn has_port(&self) -> bool {
        self.port.is_some()
    }

    /// The certificates that the server shows, its own first. Nothing is checked.
    pub(crate) fn chain(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let seen = Seen::default();
        self.connect(&seen.recording(None)?, |_| Ok(()))?;
        Ok(seen.chain())
    }

    /// What may be the authority's certificate: what lies at the well-known path, then what the server
    /// shows. Nothing is checked; the caller knows a fingerprint.
    pub(super) fn authorities(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let seen = Seen::default();
        let answer = self.connect(&seen.recording(None)?, |stream| {
            // In one piece, as most clients send it.
            let request = format!(
                "GET {AUTHORITY_PATH} HTTP/1.1\r\nHost: {self}\r\nConnection: close\r\n\r\n"
            );
            let mut answer = Vec::new();
            // A certificate is small, and a peer that hangs up has shown one all the same.
            if stream.write_all(request.as_bytes()).is_ok() {
                let _ = stream.take(MOST).read_to_end(&mut answer);
            }
            Ok(answer)
        })?;
        let mut found: Vec<_> = answer
            .starts_with(b"HTTP/1.1 200")
            .then(|| CertificateDer::pem_slice_iter(&answer).filter_map(Result::ok))
            .into_iter()
            .flatten()
            .collect();
        found.extend(seen.chain());
        Ok(found)
    }

    /// Whether a client that trusts this authority, and only it, accepts the server.
    pub(super) fn check(&self, authority: &CertificateDer<'static>) -> anyhow::Result<()> {
        if self.chain()?.first() == Some(authority) {
            return self.check_itself(authority);
        }
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone())?;
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        self.connect(&Arc::new(config), |_| Ok(()))
    }

    /// The same where the server shows what shall be trusted. Go and OpenSSL take it also if it may sign for
    /// others, as `openssl req -x509` makes it; webpki never does, so it cannot be asked.
    fn check_itself(&self, own: &CertificateDer<'static>) -> anyhow::Result<()> {
        let facts = Facts::of(own).context("the certificate cannot be read")?;
        if !facts.covers(&self.host) {
            let names: Vec<_> = facts.names.iter().map(ToString::to_string).collect();
            bail!(
                "its certificate is not for {} but for {}",
                self.host,
                if names.is_empty() {
                    "no name: it has no subjectAltName".to_owned()
                } else {
                    names.join(", ")
                }
            );
        }
        let now = OffsetDateTime::now_utc();
        if now < facts.not_before || facts.not_after < now {
            bail!(
                "its certificate is valid from {} to {} only",
                day(facts.not_before),
                day(facts.not_after)
            );
        }
        if !facts.for_servers {
            bail!("its certificate is not made for servers (extendedKeyUsage)");
        }
        Ok(())
    }

    /// Shakes hands and then does something with the connection.
    fn connect<T>(
        &self,
        config: &Arc<ClientConfig>,
        then: impl FnOnce(&mut Stream<'_, ClientConnection, TcpStream>) -> io::Result<T>,
    ) -> anyhow::Result<T> {
        let addresses: Vec<_> = (self.host.as_str(), self.port.unwrap_or(HTTPS))
            .to_socket_addrs()
            .with_context(|| format!("{} is not known here; check the name", self.host))?
            .collect();
        let mut socket = Err(io::ErrorKind::NotFound.into());
        for address in addresses {
            socket = TcpStream::connect_timeout(&address, PATIENCE);
            if socket.is_ok() {
                break;
            }
        }
        let mut socket = socket.with_context(|| format!("nothing answers at {self}"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(self.host.clone())?;
        let mut session = ClientConnection::new(Arc::clone(config), name)?;
        while session.is_handshaking() {
            session
                .complete_io(&mut socket)
                .with_context(|| format!("no TLS with {self}"))?;
        }
        if session.peer_certificates().is_none_or(<[_]>::is_empty) {
            bail!("{self} shows no certificate");
        }
        Ok(then(&mut Stream::new(&mut session, &mut socket))?)
    }
}

const HTTPS: u16 = 443;
const PATIENCE: Duration = Duration::from_secs(10);
const MOST: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_written_as_images_name_it() {
        for text in [
            "registry.lan:5000",
            "192.168.0.2:443",
            "[fd00::1]:5000",
            "localhost:1",
            "a:1",
            "registry.lan",
            "192.168.0.2",
            "[fd00::1]",
            "localhost",
        ] {
            assert_eq!(text.parse::<Remote>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "a",
            "https://a:1",
            "a:0",
            "a:x",
            "fd00::1:5000",
            "fd00::1",
            "[fd00::1",
            "registry.lan:",
            "a.b:]",
            "a b:1",
            "../a:1",
            ":5000",
        ] {
            assert!(text.parse::<Remote>().is_err(), "{text:?}");
        }
    }
}
