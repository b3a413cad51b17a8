//! `referrers/<digest>`: OCI distribution-spec, "Listing Referrers".

use oci_core::registry::ReferrersRequest;
use oci_core::{Digest, ManifestType, RepositoryName};
use serde_json::json;

use super::Exchange;
use crate::endpoint::Endpoint;
use crate::response::{Failure, Reply};

/// Always 200: an unknown subject or repository is an empty list, and clients take 404 to mean that
/// there is no such API.
pub(super) async fn list(
    x: &Exchange<'_>,
    repository: &RepositoryName,
    subject: &Digest,
    artifact_types: &[String],
    last: Option<&str>,
) -> Result<Reply, Failure> {
    let mut request = ReferrersRequest::default();
    request.artifact_types = artifact_types.to_vec();
    request.after = last.map(ToOwned::to_owned);
    let page = x.registry.referrers(repository, subject, &request).await?;
    let next = page.next.map(|last| Endpoint::Referrers {
        repository: repository.clone(),
        subject: *subject,
        artifact_types: artifact_types.to_vec(),
        last: Some(last),
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": ManifestType::OciIndex.as_str(),
        "manifests": page.descriptors,
    });
    Ok(Reply::json(&index)
        .index_type()
        .filtered(!artifact_types.is_empty())
        .next(x.links, next.as_ref()))
}
