//! What a proxy before us tells of the client. Only proxies that the configuration names are believed:
//! anybody can send these headers.

use std::net::IpAddr;

use http::HeaderMap;
use http::uri::Authority;
use ipnet::IpNet;
use oci_http::ClientOrigin;

use super::listener::Peer;

/// The proxies whose word counts: `http.trustedproxies`.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// These networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether `peer` is one. Who may open a Unix socket was let in by its permissions, and is a proxy.
    pub(super) fn trusts(&self, peer: &Peer) -> bool {
        match peer.0 {
            Some(addr) => self.contains(addr.ip()),
            None => true,
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        // On a socket for IPv6 and IPv4 alike, an IPv4 peer has an address of both.
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client behind the trusted proxies: in `X-Forwarded-For` each of them has added whom it saw, so
    /// the last that is not one of them is the client. What stands before it the client may have written.
    pub(super) fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let mut furthest = None;
        let lists = headers.get_all("x-forwarded-for").iter().rev();
        let addresses = lists
            .flat_map(|list| list.to_str().unwrap_or_default().rsplit(','))
            .map(str::trim)
            .filter(|text| !text.is_empty());
        for text in addresses.take(HOPS) {
            let Some(address) = address(text) else { break };
            furthest = Some(address);
            if !self.contains(address) {
                break;
            }
        }
        furthest
    }
}

/// The scheme and host that the client used, as `Forwarded` or `X-Forwarded-Proto` and `-Host` tell them.
/// Of several values the first counts: that is the proxy that the client asked.
pub(super) fn origin(headers: &HeaderMap) -> ClientOrigin {
    let first = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        value.split(',').next().map(str::trim)
    };
    let forwarded = |name: &str| {
        first("forwarded")?.split(';').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let value = value.trim().trim_matches('"');
            key.trim().eq_ignore_ascii_case(name).then_some(value)
        })
    };
    let mut origin = ClientOrigin::default();
    origin.scheme = match forwarded("proto").or_else(|| first("x-forwarded-proto")) {
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => Some("https"),
        Some(scheme) if scheme.eq_ignore_ascii_case("http") => Some("http"),
        _ => None,
    };
    origin.authority = forwarded("host")
        .or_else(|| first("x-forwarded-host"))
        .and_then(|host| host.parse::<Authority>().ok())
        .filter(|host| !host.as_str().contains('@'));
    origin
}

/// An address as proxies write it: alone, with a port, in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_matches('"');
    let unbracketed = bare
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map_or(bare, |(address, _)| address);
    let parsed = unbracketed.parse().ok();
    let parsed = parsed.or_else(|| bare.parse::<std::net::SocketAddr>().ok().map(|a| a.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

/// How many proxies in a row are followed.
const HOPS: usize = 32;

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(vec![
            "10.0.0.0/8".parse().unwrap(),
            "::1/128".parse().unwrap(),
        ])
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_str(value).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    #[test]
    fn only_named_networks_are_trusted_also_as_mapped_addresses() {
        let peer = |text: &str| Peer(Some(text.parse().unwrap()));
        for (text, trusted) in [
            ("10.1.2.3:80", true),
            ("[::ffff:10.1.2.3]:80", true),
            ("[::1]:80", true),
            ("127.0.0.1:80", false),
            ("[::ffff:127.0.0.1]:80", false),
            ("192.168.0.1:80", false),
        ] {
            assert_eq!(proxies().trusts(&peer(text)), trusted, "{text}");
        }
        assert!(!TrustedProxies::default().trusts(&peer("127.0.0.1:1")));
        assert!(
            TrustedProxies::default().trusts(&Peer(None)),
            "a Unix socket"
        );
    }

    #[test]
    fn the_client_is_the_last_that_is_no_proxy() {
        for (lines, client) in [
            (&["203.0.113.7"][..], Some("203.0.113.7")),
            (&["1.1.1.1, 203.0.113.7, 10.0.0.9"], Some("203.0.113.7")),
            (&["1.1.1.1", "203.0.113.7", "10.0.0.9"], Some("203.0.113.7")),
            (&["10.0.0.8, 10.0.0.9"], Some("10.0.0.8")),
            (&["203.0.113.7:4711"], Some("203.0.113.7")),
            (&["[2001:db8::1]:4711, 10.0.0.1"], Some("2001:db8::1")),
            (&["1.1.1.1, made up, 10.0.0.1"], Some("10.0.0.1")),
            (&["unknown"], None),
            (&[""], None),
            (&[], None),
        ] {
            let lines: Vec<_> = lines
                .iter()
                .map(|line| ("x-forwarded-for", *line))
                .collect();
            let client = client.map(|text| text.parse().unwrap());
            assert_eq!(proxies().client(&headers(&lines)), client, "{lines:?}");
        }
    }

    #[test]
    fn the_origin_is_what_the_first_proxy_saw() {
        let told = origin(&headers(&[
            ("x-forwarded-proto", "https, http"),
            ("x-forwarded-host", "r.example:8443, inner"),
        ]));
        assert_eq!(told.scheme, Some("https"));
        assert_eq!(told.authority.unwrap(), "r.example:8443");
        let told = origin(&headers(&[
            (
                "forwarded",
                "for=1.1.1.1;Proto=https;host=\"r.example\", for=2.2.2.2;proto=http",
            ),
            ("x-forwarded-proto", "http"),
        ]));
        assert_eq!(told.scheme, Some("https"));
        assert_eq!(told.authority.unwrap(), "r.example");
        let nothing = origin(&headers(&[
            ("x-forwarded-proto", "ftp"),
            ("x-forwarded-host", "a b"),
        ]));
        assert_eq!(nothing, ClientOrigin::default());
    }
}
