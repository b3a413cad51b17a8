//! `registryd proxy-config`: what a proxy in front of the registry needs, to be pasted.

use std::fmt;
use std::net::IpAddr;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use http::uri::Authority;

use crate::cli::out;
use crate::tls::host_name_problem;

/// Arguments of `registryd proxy-config`.
#[derive(Debug, Args)]
pub(super) struct ProxyConfig {
    /// The proxy.
    proxy: Proxy,
    /// The name clients use; with a port, if it is not 443.
    #[arg(
        long,
        value_name = "HOST[:PORT]",
        default_value = "registry.example.com",
        value_parser = host
    )]
    host: Authority,
    /// Where the proxy reaches this registry, over plain HTTP.
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:5000",
        value_parser = host
    )]
    upstream: Authority,
    /// The certificate with its chain, in PEM. For haproxy, with the private key behind it.
    #[arg(long, value_name = "FILE", value_parser = path)]
    certificate: Option<String>,
    /// The private key, in PEM.
    #[arg(long, value_name = "FILE", value_parser = path)]
    key: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Proxy {
    Nginx,
    Caddy,
    Traefik,
    Haproxy,
}

pub(super) fn run(arguments: &ProxyConfig) -> ExitCode {
    out::print(arguments);
    ExitCode::SUCCESS
}

/// A host, with or without a port. What URLs allow there besides means something else in each of the files.
fn host(text: &str) -> Result<Authority, String> {
    let authority: Authority = text.parse().map_err(|error| format!("{error}"))?;
    let host = authority.host();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let problem = host_name_problem(&host.trim_end_matches('.').to_ascii_lowercase());
    match problem {
        Some(problem) if !address => Err(format!("it is no host: {problem}")),
        _ if text.contains('@') => Err("it is no host, for it has an `@`".to_owned()),
        _ => Ok(authority),
    }
}

/// A path that can stand in any of the files as it is.
fn path(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_alphanumeric() || "/._-+@".contains(c);
    if !text.is_empty() && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err(
            "use a path of letters, digits and `/._-+@`, which needs no quotes in any of the files"
                .to_owned(),
        )
    }
}

impl fmt::Display for ProxyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let template = match self.proxy {
            Proxy::Nginx => NGINX,
            Proxy::Caddy => CADDY,
            Proxy::Traefik => TRAEFIK,
            Proxy::Haproxy => HAPROXY,
        };
        let name = self.host.host();
        let port = self.host.port_u16().unwrap_or(443).to_string();
        let (folder, ends) = match self.proxy {
            Proxy::Haproxy => ("/etc/haproxy", (".pem", ".pem")),
            Proxy::Nginx => ("/etc/nginx/tls", (".crt", ".key")),
            Proxy::Caddy | Proxy::Traefik => ("/etc/ssl/registry", (".crt", ".key")),
        };
        let file = |given: &Option<String>, end: &str| {
            given
                .clone()
                .unwrap_or_else(|| format!("{folder}/{name}{end}"))
        };
        let certificate = file(&self.certificate, ends.0);
        let key = file(&self.key, ends.1);
        // Caddy gets certificates itself, unless it is told of one.
        let tls = if self.certificate.is_some() {
            format!("tls {certificate} {key}")
        } else {
            "# Caddy requests a certificate for this name and renews it. With your own: tls CERTIFICATE KEY".to_owned()
        };
        let text = [
            ("@name@", name),
            ("@port@", &port),
            ("@upstream@", self.upstream.as_str()),
            ("@certificate@", &certificate),
            ("@key@", &key),
            ("@tls@", &tls),
        ]
        .into_iter()
        .fold(template.to_owned(), |text, (from, to)| {
            text.replace(from, to)
        });
        f.write_str(&text)
    }
}

const NGINX: &str = include_str!("proxy_config/nginx.conf");
const CADDY: &str = include_str!("proxy_config/Caddyfile");
const TRAEFIK: &str = include_str!("proxy_config/traefik.yml");
const HAPROXY: &str = include_str!("proxy_config/haproxy.cfg");

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: ProxyConfig,
    }

    fn printed(words: &[&str]) -> Result<String, String> {
        let line = Line::try_parse_from([&["x"], words].concat());
        line.map(|line| line.arguments.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_blank_is_filled() {
        for proxy in ["nginx", "caddy", "traefik", "haproxy"] {
            for more in [
                &[][..],
                &[
                    "--host",
                    "r.lan:8443",
                    "--upstream",
                    "10.0.0.5:5000",
                    "--certificate",
                    "/c.pem",
                    "--key",
                    "/k.pem",
                ],
            ] {
                let text = printed(&[&[proxy], more].concat()).unwrap();
                assert!(!text.contains('@'), "{text}");
                let (host, upstream) = if more.is_empty() {
                    ("registry.example.com", "127.0.0.1:5000")
                } else {
                    ("r.lan", "10.0.0.5:5000")
                };
                assert!(text.contains(upstream), "{text}");
                assert!(text.contains(host) || proxy == "haproxy", "{text}");
            }
        }
    }

    #[test]
    fn what_would_need_quotes_is_refused() {
        assert!(printed(&["nginx", "--certificate", "/a b"]).is_err());
        assert!(printed(&["nginx", "--certificate", "/a;}"]).is_err());
        assert!(printed(&["nginx", "--host", "a b"]).is_err());
        for host in ["x;evil", "x'y", "user@x", "999.1.1.1", "a$b.lan"] {
            assert!(printed(&["nginx", "--host", host]).is_err(), "{host}");
            assert!(printed(&["nginx", "--upstream", host]).is_err(), "{host}");
        }
        for host in ["r.lan:8443", "10.0.0.5", "[fd00::1]:5000", "registry"] {
            assert!(printed(&["nginx", "--host", host]).is_ok(), "{host}");
        }
        assert!(printed(&["apache"]).is_err());
    }

    #[test]
    fn the_file_for_traefik_is_yaml() {
        let text = printed(&["traefik", "--host", "r.lan"]).unwrap();
        let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let rule = &read["http"]["routers"]["registry"]["rule"];
        assert_eq!(rule.as_str(), Some("Host(`r.lan`)"));
    }
}
