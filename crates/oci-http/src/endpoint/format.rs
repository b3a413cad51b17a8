//! From an endpoint to path and query.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Endpoint, MountFrom, PageQuery, UploadStart};

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names, digests, tags and ids need no encoding: their grammars leave only what URLs allow.
        let mut query = QueryWriter::default();
        match self {
            Self::Base => f.write_str("/v2/")?,
            Self::Blob { repository, digest } => write!(f, "/v2/{repository}/blobs/{digest}")?,
            Self::Catalog { page } => {
                f.write_str("/v2/_catalog")?;
                query.page(page);
            }
            Self::Extensions { repository: None } => f.write_str("/v2/_oci/ext/discover")?,
            Self::Extensions {
                repository: Some(repository),
            } => write!(f, "/v2/{repository}/_oci/ext/discover")?,
            Self::Manifest {
                repository,
                reference,
                tags,
            } => {
                write!(f, "/v2/{repository}/manifests/{reference}")?;
                for tag in tags {
                    query.pair("tag", tag.as_str());
                }
            }
            Self::Referrers {
                repository,
                subject,
                artifact_types,
                last,
            } => {
                write!(f, "/v2/{repository}/referrers/{subject}")?;
                for artifact_type in artifact_types {
                    query.pair("artifactType", artifact_type);
                }
                query.optional("last", last.as_deref());
            }
            Self::Tags { repository, page } => {
                write!(f, "/v2/{repository}/tags/list")?;
                query.page(page);
            }
            Self::Upload {
                repository,
                id,
                state,
                digest,
            } => {
                write!(f, "/v2/{repository}/blobs/uploads/{id}")?;
                query.display("_state", state.as_ref());
                query.display("digest", digest.as_ref());
            }
            Self::Uploads { repository, start } => {
                write!(f, "/v2/{repository}/blobs/uploads/")?;
                query.upload_start(start);
            }
        }
        f.write_str(&query.text)
    }
}

#[derive(Default)]
struct QueryWriter {
    text: String,
}

impl QueryWriter {
    fn pair(&mut self, key: &str, value: &str) {
        self.text.push(if self.text.is_empty() { '?' } else { '&' });
        self.text.push_str(key);
        self.text.push('=');
        self.text.extend(utf8_percent_encode(value, ENCODED));
    }

    fn optional(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.pair(key, value);
        }
    }

    fn display(&mut self, key: &str, value: Option<&impl fmt::Display>) {
        if let Some(value) = value {
            self.pair(key, &value.to_string());
        }
    }

    fn page(&mut self, page: &PageQuery) {
        self.display("n", page.n.as_ref());
        self.optional("last", page.last.as_deref());
    }

    fn upload_start(&mut self, start: &UploadStart) {
        if let Some(mount) = &start.mount {
            self.display("mount", Some(&mount.digest));
            match &mount.from {
                MountFrom::Anywhere => {}
                MountFrom::Malformed(from) => self.pair("from", from),
                MountFrom::Repository(from) => self.pair("from", from.as_str()),
            }
        }
        self.display("digest", start.digest.as_ref());
        self.display("digest-algorithm", start.algorithm.as_ref());
    }
}

/// Everything but what RFC 3986 calls unreserved, and `:`. A query may have `/` too, but Distribution encodes
/// it, and user interfaces for registries look for `%2F` in the link to the next page of repositories.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');
