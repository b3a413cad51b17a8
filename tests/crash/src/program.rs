//! Which registry is under test and how it is started.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// The kind of program, for the few settings that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `registryd serve CONFIG`.
    Registryd,
    /// CNCF Distribution, `docker-registry serve CONFIG`: a check of the harness.
    Distribution,
}

/// A registry binary with the environment it gets.
#[derive(Debug, Clone)]
pub struct Program {
    kind: Kind,
    path: PathBuf,
    environment: Vec<(OsString, OsString)>,
    store: Store,
    collecting: bool,
}

/// Where the server keeps its content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
#[non_exhaustive]
pub enum Store {
    /// `storage.filesystem`.
    #[default]
    Filesystem,
    /// `storage.sled`.
    Sled,
}

impl Program {
    /// The `registryd` under test: `$REGISTRYD_BIN`, or the one cargo built beside this program.
    ///
    /// # Errors
    /// When there is none; the message holds the command that builds it.
    pub fn registryd() -> Result<Self> {
        if let Some(path) = std::env::var_os("REGISTRYD_BIN") {
            return Self::at(Kind::Registryd, PathBuf::from(path));
        }
        let own = std::env::current_exe().context("find out where this program lies")?;
        let mut directory = own.parent().unwrap_or(Path::new("."));
        if directory.file_name() == Some(OsStr::new("deps")) {
            directory = directory.parent().unwrap_or(directory);
        }
        let path = directory.join("registryd");
        if !path.is_file() {
            let release = if directory.ends_with("release") {
                "--release "
            } else {
                ""
            };
            bail!(
                "{} is missing, and this test needs the real binary: run `cargo build {release}-p \
                 registryd` first, or name one in $REGISTRYD_BIN",
                path.display()
            );
        }
        Self::at(Kind::Registryd, path)
    }

    /// The registry at a path.
    ///
    /// # Errors
    /// When there is no file.
    pub fn at(kind: Kind, path: PathBuf) -> Result<Self> {
        if !path.is_file() {
            bail!("{} is not a file", path.display());
        }
        Ok(Self {
            kind,
            path,
            environment: Vec::new(),
            store: Store::default(),
            collecting: false,
        })
    }

    /// Keeps content in another store.
    #[must_use]
    pub fn store(mut self, store: Store) -> Self {
        self.store = store;
        self
    }

    /// Whether garbage is collected all the time, without grace.
    #[must_use]
    pub fn collecting(mut self, collecting: bool) -> Self {
        self.collecting = collecting;
        self
    }

    /// Sets an environment variable of the server.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The kind of registry.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The command that serves `config`; the kernel ends it with the thread that starts it, where
    /// the tool for that exists.
    pub(crate) fn command(&self, config: &Path) -> Command {
        let tie = Path::new("/usr/bin/setpriv");
        let mut command = if tie.is_file() {
            let mut command = Command::new(tie);
            command.args(["--pdeathsig", "KILL"]).arg(&self.path);
            command
        } else {
            Command::new(&self.path)
        };
        command
            .arg("serve")
            .arg(config)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The configuration file's text.
    pub(crate) fn config(&self, storage: &Path, address: &str, tls: Option<&Tls>) -> String {
        let storage = storage.display();
        let store = match self.store {
            Store::Filesystem => format!("filesystem:\n    rootdirectory: {storage}"),
            Store::Sled => format!("sled:\n    path: {storage}/sled"),
        };
        let collection = if self.collecting {
            "  gc:\n    enabled: true\n    interval: 100ms\n    grace: 0s\n    maxshare: 100\n"
        } else {
            ""
        };
        let mut text = format!(
            "version: 0.1\nlog:\n  level: warn\n  accesslog:\n    disabled: true\nstorage:\n  {store}\n  \
             delete:\n    enabled: true\n{collection}http:\n  addr: {address}\n"
        );
        if self.kind == Kind::Distribution {
            // Its upload locations are signed: sessions would not outlive the process.
            text.push_str("  secret: the-same-after-every-restart\n");
        }
        if let Some(tls) = tls {
            let (certificate, key) = (tls.certificate.display(), tls.key.display());
            text = format!("{text}  tls:\n    certificate: {certificate}\n    key: {key}\n");
        }
        text
    }
}

/// A self-signed certificate on disk.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
}

impl Tls {
    /// Makes a certificate for the loopback address.
    pub fn generate(directory: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .context("make a certificate")?;
        let tls = Self {
            certificate: directory.join("cert.pem"),
            key: directory.join("key.pem"),
        };
        std::fs::write(&tls.certificate, made.cert.pem())?;
        std::fs::write(&tls.key, made.signing_key.serialize_pem())?;
        Ok(tls)
    }
}
