//! The S3 server.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use anyhow::{Context, bail, ensure};
use oci_storage::object::S3Options;

use crate::client::ask;

const VERSION: &str = "5.2.5";
/// The bucket of both servers.
pub const BUCKET: &str = "layers";
/// Who may use it.
pub const ACCESS_KEY: &str = "tests";
/// The secret of [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "tests-secret";

/// Serves until its input ends, so that it never outlives the tests.
const PROGRAM: &str = "
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
";

/// moto, with one bucket.
#[derive(Debug)]
pub struct Moto {
    address: String,
    _input: ChildStdin,
    _process: Child,
}

impl Moto {
    /// The server of this test program, started when first asked for. `scratch` is
    /// `env!("CARGO_TARGET_TMPDIR")`.
    ///
    /// # Panics
    /// If it cannot be installed or started, with the reason.
    pub fn shared(scratch: &str) -> &'static Self {
        static SHARED: OnceLock<Moto> = OnceLock::new();
        SHARED.get_or_init(|| match Self::start(Path::new(scratch)) {
            Ok(moto) => moto,
            #[expect(clippy::panic, reason = "without a server there is nothing to test")]
            Err(error) => panic!("moto: {error:#}"),
        })
    }

    /// One more server. `scratch` is `env!("CARGO_TARGET_TMPDIR")`.
    ///
    /// # Errors
    /// If it cannot be installed or started.
    pub fn start(scratch: &Path) -> anyhow::Result<Self> {
        let python = installed(scratch)?;
        let mut process = Command::new(python)
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting it")?;
        let input = process.stdin.take().context("its input")?;
        let mut output = BufReader::new(process.stdout.take().context("its output")?);
        let mut line = String::new();
        output.read_line(&mut line).context("reading its address")?;
        let Some((host, port)) = line.trim().split_once(' ') else {
            bail!("it ended without an address: {line:?}");
        };
        let address = format!("{host}:{port}");
        let moto = Self {
            address,
            _input: input,
            _process: process,
        };
        moto.create_bucket(BUCKET)?;
        Ok(moto)
    }

    fn create_bucket(&self, name: &str) -> anyhow::Result<()> {
        let created = ask(&self.address, "PUT", &format!("/{name}"), &[], b"")?;
        ensure!(created.status == 200, "the bucket {name}: {created:?}");
        Ok(())
    }

    /// A bucket that nobody has used. For each page of a listing moto looks at all that is in the bucket.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn fresh_bucket(&self) -> anyhow::Result<String> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{BUCKET}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.create_bucket(&name)?;
        Ok(name)
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A prefix of its bucket that nobody has used.
    pub fn fresh_root(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        format!("root-{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// How a client reaches its bucket, below `root`.
    pub fn options(&self, root: &str) -> S3Options {
        options(self.endpoint(), root)
    }

    /// How registryd reaches its bucket, below `root`.
    pub fn variables(&self, root: &str) -> Vec<(String, String)> {
        variables(&self.endpoint(), BUCKET, root)
    }
}

/// How a client reaches the bucket of a server, below `root`.
pub fn options(endpoint: String, root: &str) -> S3Options {
    let mut options = S3Options::new(BUCKET);
    root.clone_into(&mut options.root);
    options.endpoint = Some(endpoint);
    options.access_key = Some(ACCESS_KEY.to_owned());
    options.secret_key = Some(SECRET_KEY.to_owned());
    options
}

/// The variables that let registryd serve from a bucket.
pub fn variables(endpoint: &str, bucket: &str, root: &str) -> Vec<(String, String)> {
    [
        ("REGISTRY_STORAGE", "s3"),
        ("REGISTRY_STORAGE_S3_BUCKET", bucket),
        ("REGISTRY_STORAGE_S3_ROOTDIRECTORY", root),
        ("REGISTRY_STORAGE_S3_REGIONENDPOINT", endpoint),
        ("REGISTRY_STORAGE_S3_REGION", "eu-test-1"),
        ("REGISTRY_STORAGE_S3_ACCESSKEY", ACCESS_KEY),
        ("REGISTRY_STORAGE_S3_SECRETKEY", SECRET_KEY),
        ("REGISTRY_HTTP_ADDR", "127.0.0.1:0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// The interpreter that has moto, which is installed if it is not there.
fn installed(scratch: &Path) -> anyhow::Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let home = scratch.join(format!("moto-{VERSION}"));
    let python = home.join("bin/python");
    let done = home.join("installed");
    if done.exists() {
        return Ok(python);
    }
    // What an installation that was cut off has left.
    if home.exists() {
        std::fs::remove_dir_all(&home).with_context(|| format!("removing {}", home.display()))?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&home))
        .context("a virtual environment; Debian has it in `python3-venv`")?;
    let package = format!("moto[server]=={VERSION}");
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", &package]))
        .context("installing it; the Python package index must be reachable")?;
    std::fs::write(&done, b"").context("noting that it is installed")?;
    Ok(python)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().context("it cannot be run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    Ok(())
}
