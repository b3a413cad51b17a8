//! What an authority may sign for.
//!
//! A permitted DNS name covers every name below it (RFC 5280, section 4.2.1.10), so that `dev` would be all of
//! that TLD. A single label is therefore permitted and what lies below it excluded, as `.dev`: a leading dot is
//! not in the RFC, but OpenSSL, Go, `GnuTLS` and webpki all take it for the names below.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, bail};
use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::super::SubjectName;
use super::super::facts::address;
use super::{first, names};

/// What an authority may sign for: the names and what lies below them, but for what is excluded.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Limits {
    permitted: Vec<SubjectName>,
    /// With a leading dot: what lies below the name, not the name.
    excluded: Vec<String>,
}

impl Limits {
    /// For a new authority.
    pub(super) fn new(names: &BTreeSet<SubjectName>) -> anyhow::Result<Self> {
        let permitted: Vec<_> = names
            .iter()
            .map(|name| match name {
                SubjectName::Dns(name) => {
                    SubjectName::Dns(name.strip_prefix("*.").unwrap_or(name).to_owned())
                }
                SubjectName::Ip(_) => name.clone(),
            })
            .collect();
        let bare = permitted.iter().filter(|name| names::is_bare(name));
        let limits = Self {
            excluded: bare.map(|name| format!(".{name}")).collect(),
            permitted,
        };
        if let Some(name) = names.iter().find(|name| !limits.permit(name)) {
            bail!(
                "{name} cannot be together with the host of its last label alone, or the authority could vouch for \
                 everything that ends in it; go without one of them"
            );
        }
        Ok(limits)
    }

    /// Of an authority that there is.
    pub(super) fn of(pem: &str) -> anyhow::Result<Self> {
        let der = first(pem).context("ca.crt holds no certificate")?;
        let (_, certificate) =
            X509Certificate::from_der(&der).context("ca.crt holds no readable certificate")?;
        let constraints = certificate
            .name_constraints()?
            .context("ca.crt is not limited to the names of a registry, so it was not made here")?;
        let permitted = constraints.value.permitted_subtrees.iter().flatten();
        let excluded = constraints.value.excluded_subtrees.iter().flatten();
        Ok(Self {
            permitted: permitted
                .filter_map(|subtree| match &subtree.base {
                    GeneralName::DNSName(name) => Some(SubjectName::Dns((*name).to_owned())),
                    // The address, then a mask that is all ones.
                    GeneralName::IPAddress(bytes) => bytes
                        .get(..bytes.len() / 2)
                        .and_then(address)
                        .map(SubjectName::Ip),
                    _ => None,
                })
                .collect(),
            excluded: excluded
                .filter_map(|subtree| match &subtree.base {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                })
                .collect(),
        })
    }

    /// As they stand in its certificate.
    pub(super) fn constraints(&self) -> NameConstraints {
        let permitted = self.permitted.iter().map(|name| match name {
            SubjectName::Dns(name) => GeneralSubtree::DnsName(name.clone()),
            SubjectName::Ip(address) => {
                let bits = if address.is_ipv4() { 32 } else { 128 };
                GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*address, bits))
            }
        });
        let excluded = self.excluded.iter().cloned().map(GeneralSubtree::DnsName);
        NameConstraints {
            permitted_subtrees: permitted.collect(),
            excluded_subtrees: excluded.collect(),
        }
    }

    /// Whether it may sign for this name.
    pub(super) fn permit(&self, name: &SubjectName) -> bool {
        match name {
            SubjectName::Ip(_) => self.permitted.contains(name),
            SubjectName::Dns(name) => {
                let base = name.strip_prefix("*.").unwrap_or(name);
                let within = |permitted: &SubjectName| match permitted {
                    SubjectName::Dns(permitted) => base
                        .strip_suffix(permitted.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
                    SubjectName::Ip(_) => false,
                };
                self.permitted.iter().any(within)
                    && !self
                        .excluded
                        .iter()
                        .any(|below| name.ends_with(below.as_str()))
            }
        }
    }

    /// A TLD that it may vouch for as a whole, as those of earlier versions may.
    pub(super) fn too_wide(&self) -> Option<&SubjectName> {
        let open = |name: &&SubjectName| {
            names::is_bare(name) && !self.excluded.contains(&format!(".{name}"))
        };
        self.permitted.iter().find(open)
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.permitted.iter().map(ToString::to_string).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(name: &str) -> SubjectName {
        SubjectName::Dns(name.to_owned())
    }

    fn limits(names: &[&str]) -> anyhow::Result<Limits> {
        Limits::new(&names.iter().map(|name| dns(name)).collect())
    }

    #[test]
    fn a_name_permits_what_is_below_it_and_nothing_beside() {
        let limits = limits(&["registry.lan"]).unwrap();
        assert!(limits.permit(&dns("registry.lan")));
        assert!(limits.permit(&dns("a.registry.lan")));
        assert!(limits.permit(&dns("*.registry.lan")));
        assert!(!limits.permit(&dns("myregistry.lan")));
        assert!(!limits.permit(&dns("lan")));
    }

    #[test]
    fn a_single_label_permits_itself_alone() {
        let limits = limits(&["registry", "localhost"]).unwrap();
        assert!(limits.permit(&dns("registry")));
        for name in ["a.registry", "*.registry", "aregistry"] {
            assert!(!limits.permit(&dns(name)), "{name}");
        }
        assert!(limits.permit(&dns("a.localhost")), "RFC 6761");
        assert_eq!(limits.too_wide(), None);
    }

    #[test]
    fn hosts_that_would_open_a_whole_tld_are_refused_together() {
        assert!(limits(&["dev", "registry.dev"]).is_err());
        assert!(limits(&["dev", "*.apps.dev"]).is_err());
        assert!(limits(&["localhost", "registry.localhost"]).is_ok());
    }
}
