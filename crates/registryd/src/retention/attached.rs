//! Tags that are named after a manifest: the signatures and attestations of cosign, and what clients keep
//! referrers under where a registry has no API for them.

use oci_core::registry::Registry;
use oci_core::store::PageRequest;
use oci_core::{Algorithm, Digest, RegistryError, RepositoryName, StoreError, Tag};

use super::apply::unknown;

/// The manifest that a tag is named after.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Subject {
    algorithm: Algorithm,
    /// As much of the digest as fits into a tag: 64 digits.
    start: String,
}

impl Subject {
    /// Reads tags such as `sha256-<hex>`, `sha256-<hex>.sig` and `sha512-<the first 64 digits>`.
    pub(super) fn of(tag: &Tag) -> Option<Self> {
        let (algorithm, rest) = tag.as_str().split_once('-')?;
        let (start, suffix) = rest.split_at_checked(DIGITS)?;
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let whole = suffix.is_empty() || suffix.starts_with('.');
        (whole && start.bytes().all(hex)).then_some(Self {
            algorithm: algorithm.parse().ok()?,
            start: start.to_owned(),
        })
    }

    /// Whether the manifest is in the repository.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn is_in(
        &self,
        registry: &Registry,
        repository: &RepositoryName,
    ) -> Result<bool, RegistryError> {
        let manifests = registry.manifests();
        if let Ok(digest) = Digest::from_parts(self.algorithm, &self.start) {
            match manifests.read(repository, &digest).await {
                Ok(_) => return Ok(true),
                // Perhaps it is there and damaged: then it heals when it is pushed again.
                Err(StoreError::NotFound) => {}
                Err(error) => return Err(unknown(error)),
            }
        }
        let wanted = format!("{}:{}", self.algorithm, self.start);
        // Whatever begins with it comes next after this.
        let before = wanted.get(..wanted.len() - 1).unwrap_or_default();
        let page = PageRequest::after(before, 1);
        match manifests.manifests(repository, &page).await {
            Ok(page) => {
                let next = page.items.first().map(ToString::to_string);
                Ok(next.is_some_and(|next| next.starts_with(&wanted)))
            }
            // A store that does not list them does not say that it is gone.
            Err(StoreError::Unsupported(_)) => Ok(true),
            Err(error) => Err(unknown(error)),
        }
    }
}

/// The digits of a SHA-256. Of longer digests a tag has no more either.
const DIGITS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_name_a_manifest() {
        let hex = "0123456789abcdef".repeat(4);
        let subject = |text: String| Subject::of(&text.parse().unwrap());
        for suffix in ["", ".sig", ".att", ".sbom", ".cosign.bundle"] {
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let found = subject(format!("{algorithm}-{hex}{suffix}")).unwrap();
                let start = hex.clone();
                assert_eq!(found, Subject { algorithm, start }, "{suffix}");
            }
        }
        for other in [
            hex.clone(),
            format!("sha256-{}", &hex[1..]),
            format!("sha256-{hex}0"),
            format!("sha256-{hex}-sig"),
            format!("sha256-{}", hex.to_uppercase()),
            format!("v1-{hex}"),
            "sha256-".to_owned(),
        ] {
            assert_eq!(subject(other.clone()), None, "{other}");
        }
    }
}
