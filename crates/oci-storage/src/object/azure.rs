//! Azure Blob Storage.

use std::fmt;
use std::sync::Arc;

use object_store::azure::MicrosoftAzureBuilder;

use super::bucket::{Bucket, Settings, Tokens};
use super::failure::BucketError;
use super::http::{HttpOptions, Watch, name, root};
use super::service::Cloud;
use crate::records::Guarantees;

/// A container of Azure Blob Storage.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AzureOptions {
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// The prefix below which everything is kept.
    pub root: String,
    /// The URL of the account's service; Azure's public one if there is none.
    pub endpoint: Option<String>,
    /// Who asks.
    pub credentials: AzureCredentials,
    /// How the service is spoken to.
    pub http: HttpOptions,
}

/// Who asks Azure.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum AzureCredentials {
    /// `AZURE_CLIENT_ID` and its like, a workload's identity, or the managed identity of the instance, in
    /// this order.
    #[default]
    Ambient,
    /// A key of the account.
    AccountKey(String),
    /// A service principal.
    ClientSecret {
        /// The directory.
        tenant: String,
        /// The application.
        client: String,
        /// Its secret.
        secret: String,
    },
}

impl fmt::Debug for AzureCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambient => f.write_str("Ambient"),
            Self::AccountKey(_) => f.write_str("AccountKey([redacted])"),
            Self::ClientSecret { tenant, client, .. } => f
                .debug_struct("ClientSecret")
                .field("tenant", tenant)
                .field("client", client)
                .finish_non_exhaustive(),
        }
    }
}

impl AzureOptions {
    /// A container, everything else as it is found.
    pub fn new(account: impl Into<String>, container: impl Into<String>) -> Self {
        Self {
            account: account.into(),
            container: container.into(),
            ..Self::default()
        }
    }

    /// Makes a client. Nothing is asked of the service yet.
    ///
    /// # Errors
    /// If an option is missing or cannot be used.
    pub fn open(self) -> Result<Bucket, BucketError> {
        let endpoint = match &self.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://{}.blob.core.windows.net", self.account),
        };
        let root = root(&self.root);
        let name = name("az", &self.container, &root, &endpoint);
        let wrong = |what: &str| BucketError::option(&name, what, what.into());
        if self.container.is_empty() {
            return Err(wrong("the container has no name"));
        }
        if self.account.is_empty() {
            return Err(wrong("the account has no name"));
        }
        let builder = match &self.credentials {
            AzureCredentials::Ambient => MicrosoftAzureBuilder::from_env(),
            AzureCredentials::AccountKey(key) => MicrosoftAzureBuilder::new().with_access_key(key),
            AzureCredentials::ClientSecret {
                tenant,
                client,
                secret,
            } => MicrosoftAzureBuilder::new()
                .with_client_secret_authorization(client, secret, tenant),
        };
        let counters = Arc::default();
        let finishing = self.http.finishing();
        let service = builder
            .with_account(&self.account)
            .with_container_name(&self.container)
            .with_client_options(self.http.client(&name, endpoint.starts_with("http://"))?)
            .with_allow_http(endpoint.starts_with("http://"))
            .with_endpoint(endpoint)
            .with_retry(self.http.retries())
            .with_http_connector(Watch {
                counters: Arc::clone(&counters),
                finishing,
            })
            .build()
            .map_err(|error| BucketError::new(&name, error))?;
        let settings = Settings {
            name,
            root,
            tokens: Tokens::ETag,
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
    fn secrets_are_never_shown_and_the_endpoint_is_named() {
        let mut options = AzureOptions::new("acme", "layers");
        options.credentials = AzureCredentials::AccountKey("aGlkZGVu".to_owned());
        assert!(!format!("{options:?}").contains("aGlkZGVu"));
        assert_eq!(
            options.open().unwrap().name(),
            "az://layers at https://acme.blob.core.windows.net"
        );
    }
}
