//! A store in a bucket.

use std::pin::Pin;

use oci_core::Registry;
use oci_core::registry::RegistryBuilder;
use oci_storage::object::{Bucket, BucketError, HttpOptions, Trouble, probe};
use oci_storage::records::{Records, RecordsOptions, Spawn};
use tokio::runtime::Handle;

/// The keys of a driver that its mistakes are corrected by.
struct Keys {
    driver: &'static str,
    bucket: &'static str,
    credentials: &'static str,
    endpoint: &'static str,
}

/// A bucket that was asked what it keeps.
pub(crate) struct Connected {
    pub(crate) bucket: Bucket,
    pub(crate) store: Records,
}

impl Connected {
    /// A registry on the bucket, and the bucket's place in words.
    pub(super) fn registry(self) -> (RegistryBuilder, String) {
        let name = self.bucket.name().to_owned();
        (Registry::builder(self.store), name)
    }
}

/// Asks the bucket what it keeps, and makes a store of it.
async fn open(
    bucket: Result<Bucket, BucketError>,
    chunksize: Option<u64>,
    keys: &Keys,
) -> anyhow::Result<Connected> {
    let bucket = bucket.map_err(|error| explain(error, keys))?;
    let verdict = probe(&bucket).await.map_err(|error| explain(error, keys))?;
    if verdict.is_shared() {
        tracing::info!("{}: {verdict}", bucket.name());
    } else {
        tracing::warn!(
            "`{}`: {}: {verdict}; never run a second registryd on it, also not during an update",
            keys.driver,
            bucket.name(),
        );
    }
    let mut options = RecordsOptions::default();
    options.spawn = std::sync::Arc::new(OnRuntime(Handle::current()));
    if let Some(size) = chunksize {
        options.part_size = size.max(5 << 20);
        // One that is filled while two are written.
        options.buffer_bytes = options.buffer_bytes.max(3 * options.part_size);
    }
    let store = bucket.records(&verdict, options);
    Ok(Connected { bucket, store })
}

/// The error with what to do about it.
fn explain(error: BucketError, keys: &Keys) -> anyhow::Error {
    let Keys {
        driver,
        bucket,
        credentials,
        endpoint,
    } = keys;
    let fix = match error.trouble() {
        Trouble::NoSuchBucket => format!("create it, or correct `{bucket}`"),
        Trouble::WrongCredentials => {
            format!("correct {credentials}; if they are right, look at the clock of this host")
        }
        Trouble::NoCredentials => format!("set {credentials}, or give this host or pod a role"),
        Trouble::Forbidden => {
            "allow reading, writing, deleting and listing objects in the bucket".to_owned()
        }
        Trouble::WrongRegion(_) => format!("correct `{driver}.region`"),
        Trouble::Unreachable => format!("correct {endpoint}, or look at the network"),
        Trouble::Certificate => {
            format!("set `{driver}.cafile` or SSL_CERT_FILE to the authority that issued it")
        }
        Trouble::Option(_) => format!("correct the keys of `{driver}`"),
        _ => "the causes say more".to_owned(),
    };
    let what = format!("`{driver}`: {error}: {fix}");
    anyhow::Error::new(error).context(what)
}

/// What goes on after its request has left needs the runtime that the HTTP client lives on.
#[derive(Debug)]
struct OnRuntime(Handle);

impl Spawn for OnRuntime {
    fn spawn(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(work);
    }
}

fn http(user_agent: Option<&String>) -> HttpOptions {
    let mut http = HttpOptions::default();
    http.user_agent = user_agent.cloned();
    http
}

#[cfg(feature = "s3")]
pub(crate) async fn s3(config: &crate::config::S3) -> anyhow::Result<Connected> {
    use oci_storage::object::{S3Encryption, S3Options};

    let secret = |secret: &Option<crate::config::Secret>| {
        secret.as_ref().map(|secret| secret.expose().to_owned())
    };
    let mut options = S3Options::new(&config.bucket);
    options.root.clone_from(&config.rootdirectory);
    options.region.clone_from(&config.region);
    options.endpoint.clone_from(&config.regionendpoint);
    options.public_endpoint.clone_from(&config.redirectendpoint);
    options.path_style = config.forcepathstyle;
    options.access_key = secret(&config.accesskey);
    options.secret_key = secret(&config.secretkey);
    options.session_token = secret(&config.sessiontoken);
    options.encryption = match (config.encrypt, &config.keyid) {
        (false, _) => None,
        (true, None) => Some(S3Encryption::Aes256),
        (true, Some(key)) => Some(S3Encryption::Kms(key.clone())),
    };
    let class = config.storageclass.clone();
    options.storage_class = class.filter(|class| class != "NONE");
    options.dual_stack = config.usedualstack;
    options.accelerate = config.accelerate;
    options.fips = config.usefipsendpoint;
    options.http = http(config.useragent.as_ref());
    options.http.skip_verify = config.skipverify;
    options.http.ca_file.clone_from(&config.cafile);
    let keys = Keys {
        driver: "storage.s3",
        bucket: "storage.s3.bucket",
        credentials: "`storage.s3.accesskey` and `storage.s3.secretkey`, or AWS_ACCESS_KEY_ID and \
                      AWS_SECRET_ACCESS_KEY",
        endpoint: "`storage.s3.regionendpoint` or `storage.s3.region`",
    };
    open(options.open(), config.chunksize, &keys).await
}

#[cfg(feature = "gcs")]
pub(crate) async fn gcs(config: &crate::config::Gcs) -> anyhow::Result<Connected> {
    use std::collections::BTreeMap;

    use oci_storage::object::{GcsCredentials, GcsOptions};

    let mut options = GcsOptions::new(&config.bucket);
    options.root.clone_from(&config.rootdirectory);
    options.credentials = if let Some(path) = &config.keyfile {
        GcsCredentials::KeyFile(path.clone())
    } else if config.credentials.is_empty() {
        GcsCredentials::Ambient
    } else {
        let fields = config.credentials.iter();
        let fields: BTreeMap<_, _> = fields.map(|(name, value)| (name, value.expose())).collect();
        GcsCredentials::Key(serde_json::to_string(&fields)?)
    };
    options.http = http(config.useragent.as_ref());
    let keys = Keys {
        driver: "storage.gcs",
        bucket: "storage.gcs.bucket",
        credentials: "`storage.gcs.keyfile`, or GOOGLE_APPLICATION_CREDENTIALS",
        endpoint: "GOOGLE_BASE_URL",
    };
    open(options.open(), config.chunksize, &keys).await
}

#[cfg(feature = "azure")]
pub(crate) async fn azure(config: &crate::config::Azure) -> anyhow::Result<Connected> {
    use oci_storage::object::{AzureCredentials, AzureOptions};

    use crate::config::AzureIdentityKind;

    let mut options = AzureOptions::new(&config.accountname, &config.container);
    options.root.clone_from(&config.rootdirectory);
    if let Some(realm) = &config.realm {
        options.endpoint = Some(format!("https://{}.blob.{realm}", config.accountname));
    }
    let identity = &config.credentials;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    options.credentials = match (identity.kind, &config.accountkey) {
        (Some(AzureIdentityKind::ClientSecret), _) => AzureCredentials::ClientSecret {
            tenant: text(&identity.tenantid),
            client: text(&identity.clientid),
            secret: identity
                .secret
                .as_ref()
                .map(|secret| secret.expose().to_owned())
                .unwrap_or_default(),
        },
        (None | Some(AzureIdentityKind::SharedKey), Some(key)) => {
            AzureCredentials::AccountKey(key.expose().to_owned())
        }
        _ => AzureCredentials::Ambient,
    };
    options.http = http(None);
    let keys = Keys {
        driver: "storage.azure",
        bucket: "storage.azure.container",
        credentials: "`storage.azure.accountkey` or `storage.azure.credentials`, or AZURE_CLIENT_ID \
                      and its like",
        endpoint: "`storage.azure.accountname` or `storage.azure.realm`",
    };
    open(options.open(), None, &keys).await
}
