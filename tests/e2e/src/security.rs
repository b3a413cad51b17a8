//! How a registry is reached: its address, and with TLS its certificate and a user.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// Whether a registry is open or guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Security {
    /// Plain HTTP, no user.
    Plain,
    /// TLS with a certificate of a private authority, and htpasswd users.
    Guarded,
}

impl Security {
    /// Both, in the order the tests go through them.
    pub const BOTH: [Self; 2] = [Self::Plain, Self::Guarded];
}

/// What a client needs to know to use a registry.
#[derive(Debug, Clone)]
pub struct Access {
    authority: String,
    guard: Option<Guard>,
}

/// What a guarded registry asks for.
#[derive(Debug, Clone)]
struct Guard {
    ca: PathBuf,
    password: String,
}

impl Access {
    /// The user of every guarded registry.
    pub const USER: &str = "alice";
    const PASSWORD: &str = "s3cret:with/odd \"signs\"";

    /// Host and port, as in an image's name.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// An image's name at this registry.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.authority)
    }

    /// The name as skopeo wants it.
    pub fn docker(&self, name: &str) -> String {
        format!("docker://{}", self.image(name))
    }

    /// The registry's base URL, without a slash at its end.
    pub fn url(&self) -> String {
        let scheme = if self.is_guarded() { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// Whether it wants TLS and a password.
    pub fn is_guarded(&self) -> bool {
        self.guard.is_some()
    }

    /// The certificate of the authority that signed the registry's, in PEM.
    pub fn ca(&self) -> Option<&Path> {
        self.guard.as_ref().map(|guard| guard.ca.as_path())
    }

    /// The password of [`Self::USER`].
    pub fn password(&self) -> Option<&str> {
        self.guard.as_ref().map(|guard| guard.password.as_str())
    }

    /// The same registry with a password that is not the user's.
    pub fn with_wrong_password(&self) -> Self {
        let guard = self.guard.clone().map(|guard| Guard {
            password: "guessed".to_owned(),
            ..guard
        });
        Self {
            authority: self.authority.clone(),
            guard,
        }
    }

    pub(crate) fn plain(port: u16) -> Self {
        Self {
            authority: format!("127.0.0.1:{port}"),
            guard: None,
        }
    }

    /// Guarded registries are reached by name, so that the certificate's name is checked too.
    pub(crate) fn guarded(port: u16, files: &GuardFiles) -> Self {
        let guard = Guard {
            ca: files.ca.clone(),
            password: Self::PASSWORD.to_owned(),
        };
        Self {
            authority: format!("localhost:{port}"),
            guard: Some(guard),
        }
    }
}

/// The files of a guarded registry: its certificate, key and users, and what clients must trust.
#[derive(Debug)]
pub(crate) struct GuardFiles {
    ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) users: PathBuf,
}

impl GuardFiles {
    /// Writes a private authority, a certificate for the loopback names and one user.
    pub(crate) fn write(directory: &Path) -> Result<Self> {
        let files = Self {
            ca: directory.join("ca.pem"),
            certificate: directory.join("server.pem"),
            key: directory.join("server-key.pem"),
            users: directory.join("htpasswd"),
        };
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.distinguished_name
            .push(DnType::CommonName, "end-to-end test authority");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let ca_key = KeyPair::generate()?;
        let ca_certificate = ca.self_signed(&ca_key)?;
        let issuer = Issuer::new(ca, ca_key);

        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut server = CertificateParams::new(names)?;
        server
            .distinguished_name
            .push(DnType::CommonName, "localhost");
        server.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &issuer)?;

        // The lowest cost that `htpasswd -B` offers by default: hashing is not under test here.
        let hash = bcrypt::hash_with_result(Access::PASSWORD, 5)?;
        let hash = hash.format_for_version(bcrypt::Version::TwoY);
        let write = |path: &Path, text: &str| {
            fs::write(path, text).with_context(|| format!("write {}", path.display()))
        };
        write(&files.ca, &ca_certificate.pem())?;
        write(&files.certificate, &certificate.pem())?;
        write(&files.key, &key.serialize_pem())?;
        write(&files.users, &format!("{}:{hash}\n", Access::USER))?;
        Ok(files)
    }
}
