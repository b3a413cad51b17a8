//! The registry under test: one process on the loopback interface.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use registry_object_storage_tests::Moto;
use registry_object_storage_tests::moto::{ACCESS_KEY, BUCKET, SECRET_KEY};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    bench::{target_directory, workspace_directory},
    command::{self, Invocation},
    curl::Api,
    security::{Access, GuardFiles, Security},
    tool,
};

/// Which registry is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The binary of this workspace.
    Registryd,
    /// CNCF Distribution 2.8.2 as Debian packages it: the peer whose volumes we take over.
    DockerRegistry,
}

impl Kind {
    /// The kind named by the environment variable `E2E_SERVER`; `registryd` without it.
    ///
    /// # Errors
    /// When the variable names no registry we know.
    pub fn under_test() -> Result<Self> {
        match std::env::var("E2E_SERVER").as_deref() {
            Err(_) | Ok("registryd") => Ok(Self::Registryd),
            Ok("docker-registry") => Ok(Self::DockerRegistry),
            Ok(other) => bail!(
                "E2E_SERVER is `{other}`: set it to `registryd` or `docker-registry`, or unset it"
            ),
        }
    }

    /// The program to start.
    fn binary(self) -> Result<PathBuf> {
        match self {
            Self::DockerRegistry => tool::find("docker-registry"),
            Self::Registryd => registryd(),
        }
    }
}

/// What keeps the registry's content.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Store {
    /// A directory in Distribution's layout.
    Filesystem(PathBuf),
    /// A database of this process alone.
    Sled(PathBuf),
    /// A prefix of a bucket of moto.
    S3 {
        /// The URL of the service.
        endpoint: String,
        /// The prefix.
        root: String,
    },
}

impl Store {
    /// An empty store of the kind named by the environment variable `E2E_STORE`; a directory without it.
    ///
    /// # Errors
    /// When the variable names no store we know, or there is no directory.
    pub(crate) fn under_test(scratch: &Path) -> Result<Self> {
        let directory = || -> Result<PathBuf> {
            let directory = tempfile::Builder::new()
                .prefix("store-")
                .tempdir_in(scratch)?;
            Ok(directory.keep())
        };
        match std::env::var("E2E_STORE").as_deref() {
            Err(_) | Ok("filesystem") => Ok(Self::Filesystem(directory()?)),
            Ok("sled") => Ok(Self::Sled(directory()?)),
            Ok("s3") => {
                let installed = target_directory().join("tmp");
                fs::create_dir_all(&installed)?;
                let moto = Moto::shared(&installed.to_string_lossy());
                Ok(Self::S3 {
                    endpoint: moto.endpoint(),
                    root: moto.fresh_root(),
                })
            }
            Ok(other) => {
                bail!("E2E_STORE is `{other}`: set it to `filesystem`, `sled` or `s3`, or unset it")
            }
        }
    }
}

/// A running registry. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    child: Option<Child>,
    access: Access,
    log: PathBuf,
}

impl Server {
    /// Starts a registry on a free port, with its configuration and log in `scratch`, and waits
    /// until it answers.
    ///
    /// # Errors
    /// When its binary is missing, or it ends or stays silent; the message holds its log.
    pub(crate) fn start(
        kind: Kind,
        store: &Store,
        scratch: &Path,
        security: Security,
    ) -> Result<Self> {
        let binary = kind.binary()?;
        let directory = tempfile::Builder::new()
            .prefix("server-")
            .tempdir_in(scratch)?
            .keep();
        let guard = match security {
            Security::Plain => None,
            Security::Guarded => Some(GuardFiles::write(&directory)?),
        };
        // Between choosing the port and binding it somebody else may take it: try again.
        let mut attempts = 3;
        loop {
            attempts -= 1;
            let port = free_port()?;
            let access = match &guard {
                None => Access::plain(port),
                Some(files) => Access::guarded(port, files),
            };
            let config = directory.join("config.yml");
            fs::write(&config, configuration(store, port, guard.as_ref()))?;
            let log = directory.join("log");
            let output = File::create(&log)?;
            let child = Invocation::new(&binary)
                .arg("serve")
                .arg(&config)
                .current_dir(&directory)
                .spawn(output.try_clone()?, output)?;
            let mut server = Self {
                kind,
                child: Some(child),
                access,
                log,
            };
            match server.wait_until_ready(scratch) {
                Ok(()) => return Ok(server),
                Err(_) if attempts > 0 && server.lost_its_port() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// How clients reach it.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Which registry it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        fs::read(&self.log).map_or_else(
            |error| format!("no log: {error}"),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Stops it the way a service manager does, and asks that it goes in time.
    ///
    /// # Errors
    /// When it still runs ten seconds after SIGTERM, or `registryd` ends with a failure.
    pub fn stop(mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        terminate(&child)?;
        let Some(status) = command::wait(&mut child, Duration::from_secs(10))? else {
            bail!("{:?} still ran ten seconds after SIGTERM", self.kind);
        };
        ensure!(
            self.kind != Kind::Registryd || status.success(),
            "registryd answered SIGTERM with {status}, not with success"
        );
        Ok(())
    }

    fn wait_until_ready(&mut self, scratch: &Path) -> Result<()> {
        let api = Api::new(self.access.clone(), scratch);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let ended = match &mut self.child {
                Some(child) => child.try_wait()?,
                None => None,
            };
            if let Some(status) = ended {
                bail!(
                    "{:?} ended at its start ({status}):\n{}",
                    self.kind,
                    self.tail()
                );
            }
            if api.get("/v2/").is_ok_and(|answer| answer.status() == 200) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{:?} does not answer 200 at {}/v2/ after 20 s:\n{}",
                    self.kind,
                    self.access.url(),
                    self.tail()
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn lost_its_port(&self) -> bool {
        let log = self.log().to_lowercase();
        log.contains("address already in use") || log.contains("eaddrinuse")
    }

    fn tail(&self) -> String {
        command::last_lines(&self.log(), 30)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        if terminate(&child).is_err()
            || !matches!(
                command::wait(&mut child, Duration::from_secs(5)),
                Ok(Some(_))
            )
        {
            eprintln!("{:?} had to be killed", self.kind);
        }
        // Shown by the test runner only for a test that failed.
        eprintln!(
            "--- end of the log of {:?}\n{}\n---",
            self.kind,
            self.tail()
        );
    }
}

/// The configuration both registries read.
fn configuration(store: &Store, port: u16, guard: Option<&GuardFiles>) -> String {
    let storage = match store {
        Store::Filesystem(path) => {
            format!("  filesystem:\n    rootdirectory: {}\n", path.display())
        }
        Store::Sled(path) => format!("  sled:\n    path: {}\n", path.display()),
        Store::S3 { endpoint, root } => format!(
            "  s3:\n    region: us-east-1\n    regionendpoint: {endpoint}\n    bucket: {BUCKET}\n    \
             rootdirectory: {root}\n    accesskey: {ACCESS_KEY}\n    secretkey: {SECRET_KEY}\n    \
             secure: false\n  redirect:\n    disable: {}\n",
            // Clients of the guarded one get everything from it, the others go to the bucket.
            guard.is_some()
        ),
    };
    let guard = guard.map(|files| {
        format!(
            "  tls:\n    certificate: {}\n    key: {}\nauth:\n  htpasswd:\n    realm: \
             end-to-end\n    path: {}\n",
            files.certificate.display(),
            files.key.display(),
            files.users.display()
        )
    });
    format!(
        "version: 0.1\nlog:\n  level: warn\nstorage:\n{storage}  delete:\n    enabled: true\nhttp:\n  \
         addr: 127.0.0.1:{port}\n{}",
        guard.unwrap_or_default()
    )
}

/// The binary under test.
///
/// # Errors
/// When it is not built.
pub fn registryd() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("REGISTRYD_BIN") {
        let path = workspace_directory().join(path);
        ensure!(
            path.is_file(),
            "REGISTRYD_BIN is `{}`: there is no such file",
            path.display()
        );
        return Ok(path);
    }
    let candidates =
        ["release/registryd", "debug/registryd"].map(|name| target_directory().join(name));
    match candidates.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => bail!(
            "registryd is not built: run `cargo build --release -p registryd`, or set \
             REGISTRYD_BIN to a binary (looked for {} and {})",
            candidates[0].display(),
            candidates[1].display()
        ),
    }
}

/// A port of the loopback interface that nobody uses now.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

fn terminate(child: &Child) -> Result<()> {
    signal(child.id(), Signal::TERM)
}

/// Sends a signal to one process of our own.
pub(crate) fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("a process id")?;
    kill_process(pid, signal).with_context(|| format!("signal process {}", pid.as_raw_nonzero()))
}
