//! S3, and what speaks like it.

use std::fmt;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

use super::bucket::{Bucket, Settings, Tokens};
use super::failure::BucketError;
use super::http::{HttpOptions, Watch, name, root};
use super::service::{Cloud, SignUrls};
use crate::records::Guarantees;

/// A bucket of S3 or of a service that speaks like it.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct S3Options {
    /// The bucket.
    pub bucket: String,
    /// The prefix below which everything is kept.
    pub root: String,
    /// The region, in any form; `AWS_REGION` if there is none. Needed unless there is an endpoint.
    pub region: Option<String>,
    /// The URL of a service other than Amazon's, with `http://` or `https://`; `AWS_ENDPOINT_URL` if
    /// there is none.
    pub endpoint: Option<String>,
    /// Whether the bucket is part of the path or of the host's name. If not said: of the path for an
    /// endpoint and for buckets with dots in their names, else of the host's.
    pub path_style: Option<bool>,
    /// The access key. Without one: `AWS_ACCESS_KEY_ID` and its like, a web identity (IRSA), the
    /// credentials of a container or pod, those of the instance, in this order.
    pub access_key: Option<String>,
    /// The secret that belongs to it.
    pub secret_key: Option<String>,
    /// The token of a session that they belong to.
    pub session_token: Option<String>,
    /// How the service encrypts what is written, where that is not the bucket's own setting.
    pub encryption: Option<S3Encryption>,
    /// The storage class of content. Records are always in the bucket's own.
    pub storage_class: Option<String>,
    /// Amazon's endpoints for IPv4 and IPv6.
    pub dual_stack: bool,
    /// Amazon's transfer acceleration.
    pub accelerate: bool,
    /// Amazon's endpoints with validated cryptography.
    pub fips: bool,
    /// The URL under which clients reach the service, for addresses that are given out to them, if it is
    /// another than this process uses.
    pub public_endpoint: Option<String>,
    /// How the service is spoken to.
    pub http: HttpOptions,
}

/// How S3 encrypts.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum S3Encryption {
    /// With keys of the service's own.
    Aes256,
    /// With this key of the key management service.
    Kms(String),
}

impl S3Options {
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
    /// If an option is missing or cannot be used.
    pub fn open(self) -> Result<Bucket, BucketError> {
        let mut builder = match &self.access_key {
            // Nothing of an ambient session must be mixed in.
            Some(_) => AmazonS3Builder::new(),
            None => AmazonS3Builder::from_env(),
        };
        let wrong = |what: &str| BucketError::option(&self.bucket, what, what.into());
        if self.bucket.is_empty() {
            return Err(wrong("the bucket has no name"));
        }
        match (&self.access_key, &self.secret_key) {
            (Some(access), Some(secret)) => {
                builder = builder
                    .with_access_key_id(access)
                    .with_secret_access_key(secret);
                if let Some(token) = &self.session_token {
                    builder = builder.with_token(token);
                }
            }
            (None, None) => {}
            (Some(_), None) => return Err(wrong("there is an access key but no secret key")),
            (None, Some(_)) => return Err(wrong("there is a secret key but no access key")),
        }
        let ambient = |key: AmazonS3ConfigKey, variable: &str| {
            let found = builder.get_config_value(&key);
            found.or_else(|| {
                std::env::var(variable)
                    .ok()
                    .filter(|value| !value.is_empty())
            })
        };
        let custom = self
            .endpoint
            .clone()
            .or_else(|| ambient(AmazonS3ConfigKey::Endpoint, "AWS_ENDPOINT_URL"));
        let region = self
            .region
            .clone()
            .or_else(|| ambient(AmazonS3ConfigKey::Region, "AWS_REGION"))
            .or_else(|| custom.as_ref().map(|_| "us-east-1".to_owned()))
            .ok_or_else(|| wrong("there is neither a region nor an endpoint"))?;
        let path_style = self
            .path_style
            .unwrap_or_else(|| custom.is_some() || self.bucket.contains('.'));
        let service = custom.unwrap_or_else(|| self.amazon(&region));
        let addressed = |service: &str| match service.split_once("://") {
            Some((scheme, host)) if !path_style => Ok(format!(
                "{scheme}://{}.{}",
                self.bucket,
                host.trim_end_matches('/')
            )),
            Some(_) => Ok(service.trim_end_matches('/').to_owned()),
            None => Err(wrong(
                "the endpoint does not begin with http:// or https://",
            )),
        };
        let endpoint = addressed(&service)?;
        let root = root(&self.root);
        let name = name("s3", &self.bucket, &root, &service);
        let client = self.http.client(&name, endpoint.starts_with("http://"))?;
        let counters = Arc::default();
        let finishing = self.http.finishing();
        builder = builder
            .with_bucket_name(&self.bucket)
            .with_region(region)
            .with_endpoint(endpoint)
            .with_virtual_hosted_style_request(!path_style)
            // One object at a time is what every service knows.
            .with_disable_bulk_delete(true)
            .with_retry(self.http.retries())
            .with_client_options(client)
            .with_http_connector(Watch {
                counters: Arc::clone(&counters),
                finishing,
            });
        builder = match &self.encryption {
            None => builder,
            Some(S3Encryption::Kms(key)) => builder.with_sse_kms_encryption(key),
            Some(S3Encryption::Aes256) => {
                // The type of this key has no public name.
                let key: AmazonS3ConfigKey = "aws_server_side_encryption"
                    .parse()
                    .map_err(|error| BucketError::new(&name, error))?;
                builder.with_config(key, "AES256")
            }
        };
        let build = |builder: AmazonS3Builder| {
            builder
                .build()
                .map_err(|error| BucketError::new(&name, error))
        };
        // The host is part of what is signed, so no proxy could put another one in.
        let public: Option<Box<dyn SignUrls>> = match &self.public_endpoint {
            Some(public) => Some(Box::new(build(
                builder.clone().with_endpoint(addressed(public)?),
            )?)),
            None => None,
        };
        let service = build(builder)?;
        let settings = Settings {
            name,
            root,
            tokens: Tokens::ETag,
            storage_class: self.storage_class,
            guarantees: Guarantees::ALL,
            counters,
            finishing,
            public,
        };
        Ok(Bucket::new(Cloud(service), settings))
    }

    fn amazon(&self, region: &str) -> String {
        // The domain of the Chinese regions is another.
        let domain = if region.starts_with("cn-") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        };
        let stack = if self.dual_stack { ".dualstack" } else { "" };
        match (self.accelerate, self.fips) {
            (true, _) => format!("https://s3-accelerate{stack}.{domain}"),
            (false, true) => format!("https://s3-fips{stack}.{region}.{domain}"),
            (false, false) => format!("https://s3{stack}.{region}.{domain}"),
        }
    }
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither keys nor tokens.
        f.debug_struct("S3Options")
            .field("bucket", &self.bucket)
            .field("root", &self.root)
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Trouble;
    use super::*;

    fn keyed(bucket: &str) -> S3Options {
        S3Options {
            access_key: Some("AKIA".to_owned()),
            secret_key: Some("hidden".to_owned()),
            ..S3Options::new(bucket)
        }
    }

    #[test]
    fn a_bucket_is_called_by_service_bucket_prefix_and_endpoint() {
        let bucket = S3Options {
            region: Some("mars-north-7".to_owned()),
            root: "/team/images/".to_owned(),
            ..keyed("layers")
        };
        assert_eq!(
            bucket.open().unwrap().name(),
            "s3://layers/team/images at https://s3.mars-north-7.amazonaws.com"
        );
        let bucket = S3Options {
            endpoint: Some("http://127.0.0.1:9000/".to_owned()),
            ..keyed("layers")
        };
        assert_eq!(
            bucket.open().unwrap().name(),
            "s3://layers at http://127.0.0.1:9000/"
        );
    }

    #[test]
    fn amazons_endpoints() {
        let plain = S3Options::new("b");
        assert_eq!(
            plain.amazon("eu-west-1"),
            "https://s3.eu-west-1.amazonaws.com"
        );
        assert_eq!(
            plain.amazon("cn-north-1"),
            "https://s3.cn-north-1.amazonaws.com.cn"
        );
        let options = S3Options {
            dual_stack: true,
            fips: true,
            ..S3Options::new("b")
        };
        assert_eq!(
            options.amazon("us-east-1"),
            "https://s3-fips.dualstack.us-east-1.amazonaws.com"
        );
    }

    #[test]
    fn half_a_pair_of_keys_is_refused_and_no_secret_is_shown() {
        let half = S3Options {
            secret_key: None,
            ..keyed("b")
        };
        let error = half.open().unwrap_err();
        assert!(matches!(error.trouble(), Trouble::Option(what) if what.contains("no secret key")));
        assert!(!format!("{:?}", keyed("b")).contains("hidden"));
    }

    #[test]
    fn a_file_of_authorities_that_is_none_is_named() {
        let mut options = keyed("b");
        options.region = Some("eu".to_owned());
        options.http.ca_file = Some("/nowhere/ca.pem".into());
        let error = options.open().unwrap_err().to_string();
        assert!(error.contains("/nowhere/ca.pem"), "{error}");
    }
}
