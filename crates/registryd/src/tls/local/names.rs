//! The names of a registry: what an authority may sign for, and what a certificate is for.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::bail;

use super::super::SubjectName;

/// Reads what was written as `--host`.
///
/// A name that ends in `.svc` is a Kubernetes service, which pods and nodes also call without that ending
/// and with the usual cluster domain.
pub(super) fn parse(hosts: &[String]) -> anyhow::Result<BTreeSet<SubjectName>> {
    let mut names = BTreeSet::new();
    for host in hosts {
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            names.insert(SubjectName::Ip(address));
            continue;
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if let Some(problem) = problem(&name) {
            bail!(
                "{host:?} is no host: {problem}; write a name such as registry.lan, or an IP address"
            );
        }
        if let Some(service) = name.strip_suffix(".svc") {
            names.insert(SubjectName::Dns(service.to_owned()));
            names.insert(SubjectName::Dns(format!("{name}.cluster.local")));
        }
        names.insert(SubjectName::Dns(name));
    }
    Ok(names)
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
        names.extend(parse(&[host.to_owned()]).unwrap_or_default());
    }
    names
}

/// Whether a name lies within one that an authority may sign for: itself, or below it.
pub(super) fn is_within(name: &SubjectName, permitted: &SubjectName) -> bool {
    match (name, permitted) {
        (SubjectName::Dns(name), SubjectName::Dns(permitted)) => {
            let name = name.strip_prefix("*.").unwrap_or(name);
            name == permitted
                || name
                    .strip_suffix(permitted.as_str())
                    .is_some_and(|rest| rest.ends_with('.'))
        }
        (name, permitted) => name == permitted,
    }
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
            [
                "registry.tools",
                "registry.tools.svc",
                "registry.tools.svc.cluster.local"
            ]
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
        ] {
            assert!(parse(&[host.to_owned()]).is_err(), "{host:?}");
        }
    }

    #[test]
    fn a_name_permits_what_is_below_it_and_nothing_beside() {
        let dns = |name: &str| SubjectName::Dns(name.to_owned());
        assert!(is_within(&dns("registry.lan"), &dns("registry.lan")));
        assert!(is_within(&dns("a.registry.lan"), &dns("registry.lan")));
        assert!(is_within(&dns("*.registry.lan"), &dns("registry.lan")));
        assert!(!is_within(&dns("myregistry.lan"), &dns("registry.lan")));
        assert!(!is_within(&dns("lan"), &dns("registry.lan")));
    }
}
