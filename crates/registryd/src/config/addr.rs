//! What to listen on.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// An address to listen on, in the forms Go's `net.Listen` takes: `:5000`, `0.0.0.0:5000`,
/// `[::]:5000`, `localhost:5000`; and a Unix socket, written `unix:/path`.
///
/// ```
/// use registryd::config::ListenAddr;
///
/// let addr: ListenAddr = ":5000".parse()?;
/// assert_eq!(addr, ListenAddr::Tcp { host: None, port: 5000 });
/// assert_eq!("[::1]:80".parse::<ListenAddr>()?.to_string(), "[::1]:80");
/// assert!("5000".parse::<ListenAddr>().is_err());
/// # Ok::<(), registryd::config::ListenAddrError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ListenAddr {
    /// A TCP port.
    Tcp {
        /// A host name or an IP address (IPv6 without brackets); `None` is every interface.
        host: Option<String>,
        /// The port; 0 lets the system choose one.
        port: u16,
    },
    /// A Unix domain socket.
    Unix(PathBuf),
}

/// Why a text is not an address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenAddrError {
    /// Only a host, or only a port without the colon.
    #[error("it has no `:PORT`")]
    NoPort,
    /// Not a number from 0 to 65535.
    #[error("its port is not a number from 0 to 65535")]
    Port,
    /// A URL.
    #[error("it is a URL, not HOST:PORT")]
    Url,
    /// Colons in the host without brackets around it.
    #[error("it has too many colons: an IPv6 address needs brackets, as in `[::]:5000`")]
    Brackets,
    /// A host with characters no host name has.
    #[error("its host is neither a name nor an IP address")]
    Host,
}

impl FromStr for ListenAddr {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if text.contains("://") {
            return Err(ListenAddrError::Url);
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or(ListenAddrError::Brackets)?;
            let port = rest.strip_prefix(':').ok_or(ListenAddrError::NoPort)?;
            // A zone (`fe80::1%eth0`) is no part of the address proper.
            let address = host.split_once('%').map_or(host, |(address, _)| address);
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(ListenAddrError::Host);
            }
            (host, port)
        } else {
            let (host, port) = text.rsplit_once(':').ok_or(ListenAddrError::NoPort)?;
            if host.contains(':') {
                return Err(ListenAddrError::Brackets);
            }
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            if !host.chars().all(fits) {
                return Err(ListenAddrError::Host);
            }
            (host, port)
        };
        if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ListenAddrError::Port);
        }
        Ok(Self::Tcp {
            host: (!host.is_empty()).then(|| host.to_owned()),
            port: port.parse().map_err(|_| ListenAddrError::Port)?,
        })
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host: None, port } => write!(f, ":{port}"),
            Self::Tcp {
                host: Some(host),
                port,
            } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp {
                host: Some(host),
                port,
            } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for ListenAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_forms_go_takes_are_read_and_written_back() {
        for text in [
            ":5000",
            "0.0.0.0:5000",
            "[::]:5000",
            "[::1]:0",
            "[fe80::1%eth0]:5000",
            "localhost:5000",
            "registry_1.internal:65535",
            "unix:/run/registry.sock",
        ] {
            assert_eq!(text.parse::<ListenAddr>().unwrap().to_string(), text);
        }
        assert_eq!(
            "[::]:5000".parse(),
            Ok(ListenAddr::Tcp {
                host: Some("::".to_owned()),
                port: 5000
            })
        );
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        for (text, why) in [
            ("5000", ListenAddrError::NoPort),
            ("localhost", ListenAddrError::NoPort),
            ("[::]", ListenAddrError::NoPort),
            ("::1", ListenAddrError::Brackets),
            ("::1:5000", ListenAddrError::Brackets),
            ("[::1", ListenAddrError::Brackets),
            ("[localhost]:5000", ListenAddrError::Host),
            ("a b:5000", ListenAddrError::Host),
            (":http", ListenAddrError::Port),
            (":+80", ListenAddrError::Port),
            (":65536", ListenAddrError::Port),
            (":", ListenAddrError::Port),
            ("http://0.0.0.0:5000", ListenAddrError::Url),
        ] {
            assert_eq!(text.parse::<ListenAddr>(), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_written_alike(
            text in "\\PC*|[\\[\\]:.0-9a-f%]{0,30}",
        ) {
            if let Ok(addr) = text.parse::<ListenAddr>() {
                prop_assert_eq!(addr.to_string().parse::<ListenAddr>(), Ok(addr));
            }
        }
    }
}
