//! `/v2/`: OCI distribution-spec, "Determining Support".

use crate::response::Reply;

/// Yes, this is a registry. That the caller may use it was decided before.
pub(super) fn probe() -> Reply {
    Reply::json(&serde_json::Map::new())
}
