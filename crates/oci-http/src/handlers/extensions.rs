//! `_oci/ext/discover`: OCI distribution-spec, extensions API.

use serde_json::json;

use crate::response::Reply;

/// The extensions are the same in every repository: there is only the one that lists them.
pub(super) fn discover() -> Reply {
    Reply::json(&json!({
        "extensions": [{
            "name": "_oci",
            "description": "Discovery of extensions",
            "url": "https://github.com/opencontainers/distribution-spec/blob/main/extensions/_oci.md",
            "endpoints": ["_oci/ext/discover"],
        }],
    }))
}
