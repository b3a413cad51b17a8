//! The names of a registry: what an authority may sign for, and what a certificate is for.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::bail;

use super::super::SubjectName;

/// Reads what was written as `--host`.
///
/// A name that ends in `.svc` is a Kubernetes service, which pods also call with the usual cluster domain. They
/// call it NAME.NAMESPACE too, but that may be a domain of somebody else: `registry.dev.svc` makes nobody the
/// owner of `registry.dev`.
pub(super) fn parse(hosts: &[String]) -> anyhow::Result<BTreeSet<SubjectName>> {
    let mut names = BTreeSet::new();
    for host in hosts {
        let name = named(host)?;
        if let SubjectName::Dns(name) = &name
            && name.strip_suffix(".svc").is_some()
        {
            names.insert(SubjectName::Dns(format!("{name}.cluster.local")));
        }
        names.insert(name);
    }
    Ok(names)
}

/// One host as it was written.
pub(super) fn named(host: &str) -> anyhow::Result<SubjectName> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(SubjectName::Ip(address));
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    if let Some(problem) = problem(&name) {
        bail!(
            "{host:?} is no host: {problem}; write a name such as registry.lan, or an IP address"
        );
    }
    Ok(SubjectName::Dns(name))
}

/// What keeps this from being the name of a host, in lower case.
pub(crate) fn problem(name: &str) -> Option<&'static str> {
    let labels = name.strip_prefix("*.").unwrap_or(name);
    if name.contains("://") || name.contains('/') {
        return Some("it is a URL or a path");
    }
    if name.contains(':') {
        return Some("a certificate is for a host, whatever the port");
    }
    if name.is_empty() || name.len() > 253 {
        return Some("it has no characters, or more than 253");
    }
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !labels.split('.').all(fits) {
        return Some("its labels are not made of letters, digits and inner `-`");
    }
    let last = labels.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return Some("it ends in a number, as addresses do, and is none");
    }
    if labels.len() != name.len() && !labels.contains('.') {
        return Some("the `*` would stand for too much");
    }
    None
}

/// What this machine calls itself, beside what it is called by others.
pub(super) fn own() -> BTreeSet<SubjectName> {
    let mut names = BTreeSet::from([
        SubjectName::Dns("localhost".to_owned()),
        SubjectName::Ip(Ipv4Addr::LOCALHOST.into()),
        SubjectName::Ip(Ipv6Addr::LOCALHOST.into()),
    ]);
    if let Ok(host) = rustix::system::uname().nodename().to_str() {
        // What has no dot is named by whoever wants it: `dev` is the name of machines, and of a TLD.
        let named = named(host).ok();
        names.extend(named.filter(|name| !is_bare(name)));
    }
    names
}

/// Whether it is a single label, which may be a TLD: what lies below it belongs to others. What lies below
/// `localhost` is this machine (RFC 6761).
pub(super) fn is_bare(name: &SubjectName) -> bool {
    matches!(name, SubjectName::Dns(name) if !name.contains('.') && name != "localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(hosts: &[&str]) -> Vec<String> {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let names = parse(&hosts).unwrap();
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn hosts_are_names_addresses_and_services() {
        assert_eq!(parsed(&["Registry.LAN."]), ["registry.lan"]);
        assert_eq!(
            parsed(&["192.168.0.2", "[fd00::1]"]),
            ["192.168.0.2", "fd00::1"]
        );
        assert_eq!(parsed(&["*.apps.lan"]), ["*.apps.lan"]);
        assert_eq!(
            parsed(&["registry.tools.svc"]),
            ["registry.tools.svc", "registry.tools.svc.cluster.local"]
        );
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in [
            "",
            "https://a",
            "a:5000",
            "a b",
            "-a",
            "a..b",
            "*",
            "*.lan",
            "a.*.b",
            "ä.lan",
            "999.1.1.1",
            "10.0.0",
        ] {
            assert!(parse(&[host.to_owned()]).is_err(), "{host:?}");
        }
    }
}
