//! Google Cloud Storage.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::gcp::GoogleCloudStorageBuilder;

use super::bucket::{Bucket, Settings, Tokens};
use super::failure::BucketError;
use super::http::{HttpOptions, Watch, name, root};
use super::service::Cloud;
use crate::records::Guarantees;

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GcsOptions {
    /// The bucket.
    pub bucket: String,
    /// The prefix below which everything is kept.
    pub root: String,
    /// The URL of another service; Google's if there is none.
    pub endpoint: Option<String>,
    /// Who asks.
    pub credentials: GcsCredentials,
    /// How the service is spoken to.
    pub http: HttpOptions,
}

/// Who asks Google Cloud Storage.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum GcsCredentials {
    /// `GOOGLE_APPLICATION_CREDENTIALS` and its like, the credentials of `gcloud`, or those of the instance
    /// or workload, in this order.
    #[default]
    Ambient,
    /// The key file of a service account.
    KeyFile(PathBuf),
    /// The content of such a file.
    Key(String),
}

impl fmt::Debug for GcsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambient => f.write_str("Ambient"),
            Self::KeyFile(path) => write!(f, "KeyFile({})", path.display()),
            Self::Key(_) => f.write_str("Key([redacted])"),
        }
    }
}

impl GcsOptions {
    /// A bucket, everything else as it is found.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            ..Self::default()
        }
    }

    /// Makes a client. Nothing is asked of the service yet.
    ///
    /// # Errors
    /// If an option is missing or cannot be used, such as a key file.
    pub fn open(self) -> Result<Bucket, BucketError> {
        const GOOGLE: &str = "https://storage.googleapis.com";
        let endpoint = self.endpoint.as_deref().unwrap_or(GOOGLE);
        let root = root(&self.root);
        let name = name("gs", &self.bucket, &root, endpoint);
        if self.bucket.is_empty() {
            let what = "the bucket has no name";
            return Err(BucketError::option(&name, what, what.into()));
        }
        let mut builder = match &self.credentials {
            GcsCredentials::Ambient => GoogleCloudStorageBuilder::from_env(),
            GcsCredentials::KeyFile(path) => {
                let path = path.to_string_lossy();
                GoogleCloudStorageBuilder::new().with_service_account_path(path)
            }
            GcsCredentials::Key(key) => {
                GoogleCloudStorageBuilder::new().with_service_account_key(key)
            }
        };
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_base_url(endpoint);
        }
        let counters = Arc::default();
        let finishing = self.http.finishing();
        let service = builder
            .with_bucket_name(&self.bucket)
            .with_retry(self.http.retries())
            .with_client_options(self.http.client(&name, endpoint.starts_with("http://"))?)
            .with_http_connector(Watch {
                counters: Arc::clone(&counters),
                finishing,
            })
            .build()
            .map_err(|error| BucketError::new(&name, error))?;
        let settings = Settings {
            name,
            root,
            tokens: Tokens::Generation,
            storage_class: None,
            guarantees: Guarantees::ALL,
            counters,
            finishing,
            public: None,
        };
        Ok(Bucket::new(Cloud(service), settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown_and_a_missing_file_is_named() {
        let mut options = GcsOptions::new("b");
        options.credentials = GcsCredentials::Key("hidden".to_owned());
        assert!(!format!("{options:?}").contains("hidden"));
        options.credentials = GcsCredentials::KeyFile("/nowhere/key.json".into());
        let error = options.open().unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("/nowhere/key.json"), "{cause}");
    }
}
