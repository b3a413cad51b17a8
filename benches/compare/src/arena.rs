//! Everything that all rows share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use registry_load_driver::{Content, Source, TlsClient};

use crate::machine::Machine;
use crate::options::{Options, named};
use crate::scratch::Scratch;
use crate::seed::Garbage;
use crate::server::{DISTRIBUTION, Kind, Program};

pub(crate) const OURS: &str = "registryd";
pub(crate) const DEBIAN: &str = "docker-registry";
pub(crate) const NGINX: &str = "nginx";

/// The name of the user and the password of servers that ask for them.
pub(crate) const USER: (&str, &str) = ("bench", "correct horse battery staple");

/// Programs, content, certificates and sizes.
pub(crate) struct Arena {
    pub(crate) options: Options,
    pub(crate) scratch: Arc<Scratch>,
    pub(crate) machine: Machine,
    pub(crate) programs: Vec<Program>,
    pub(crate) source: Source,
    pub(crate) sizes: Sizes,
    pub(crate) tls: Tls,
    pub(crate) password_file: PathBuf,
    next_seed: AtomicU64,
}

pub(crate) struct Tls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client: TlsClient,
}

/// How large and how long the loads are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// The large blob.
    pub(crate) blob: u64,
    /// One of many that are pushed at once.
    pub(crate) layer: u64,
    pub(crate) chunk: u64,
    pub(crate) pulls: u32,
    pub(crate) requests_time: Duration,
    /// Bounds loops that otherwise end by time.
    pub(crate) most_requests: Option<u64>,
    pub(crate) connections: usize,
    /// Small, medium and large blobs of the mix, as zot's `zb` has them.
    pub(crate) mix: [u64; 3],
    pub(crate) mix_requests: u64,
    pub(crate) limited_pushes: usize,
    pub(crate) garbage: Garbage,
}

impl Sizes {
    fn new(short: bool) -> Self {
        const MB: u64 = 1_000_000;
        if short {
            return Self {
                blob: 16 << 20,
                layer: MB,
                chunk: 10 << 20,
                pulls: 1,
                requests_time: Duration::from_secs(5),
                most_requests: Some(200),
                connections: 200,
                mix: [10_000, 100_000, MB],
                mix_requests: 60,
                limited_pushes: 4,
                garbage: Garbage {
                    images: 120,
                    garbage: 240,
                },
            };
        }
        Self {
            blob: 1 << 30,
            layer: 100 * MB,
            chunk: 10 << 20,
            pulls: 4,
            requests_time: Duration::from_secs(2),
            most_requests: None,
            connections: 10_000,
            mix: [MB, 10 * MB, 100 * MB],
            mix_requests: 400,
            limited_pushes: 32,
            garbage: Garbage {
                images: 4_000,
                garbage: 8_000,
            },
        }
    }
}

impl Arena {
    pub(crate) fn build(options: &Options) -> Result<Self> {
        // Cargo puts programs into a directory of their profile in the target directory.
        let program = std::env::current_exe().context("find the target directory")?;
        let target = program.ancestors().nth(2).unwrap_or(&program).to_owned();
        let below = options
            .scratch
            .clone()
            .unwrap_or_else(|| target.join("compare"));
        let scratch = Arc::new(Scratch::create(&below)?);
        let programs = programs(options, &target)?;
        let sizes = Sizes::new(options.short);
        eprintln!("preparing content");
        let source = Source::create(&scratch.path().join("source"), sizes.blob.max(sizes.mix[2]))
            .context("write the file that blobs are cut from")?;
        Ok(Self {
            options: options.clone(),
            machine: Machine::look(scratch.path()),
            programs,
            source,
            sizes,
            tls: certificate(scratch.path())?,
            password_file: password_file(scratch.path())?,
            next_seed: AtomicU64::new(seed_of_run()),
            scratch,
        })
    }

    /// Content that nobody has seen, in this run or before.
    pub(crate) fn fresh(&self, length: u64) -> Result<Content> {
        let seed = self.next_seed.fetch_add(1, Ordering::Relaxed);
        Ok(self.source.content(length, seed)?)
    }

    /// The same content for all servers.
    pub(crate) fn fixed(&self, length: u64) -> Result<Content> {
        Ok(self.source.content(length, 1)?)
    }

    /// A number that was not used before.
    pub(crate) fn number(&self) -> u64 {
        self.next_seed.fetch_add(1, Ordering::Relaxed)
    }
}

fn seed_of_run() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or_default()) << 8 >> 8
}

fn programs(options: &Options, target: &Path) -> Result<Vec<Program>> {
    let mut programs: Vec<Program> = options
        .attached()?
        .into_iter()
        .map(|(name, address)| Program {
            name,
            kind: Kind::Attached(address),
        })
        .collect();
    if options.wants_program(OURS) && !programs.iter().any(|program| program.name == OURS) {
        let path = match &options.registryd {
            Some(path) => path
                .canonicalize()
                .with_context(|| format!("--registryd {}", path.display()))?,
            None => build_registryd(target)?,
        };
        programs.insert(
            0,
            registry(
                OURS,
                &format!("{} serve {{config}}", path.display()),
                DISTRIBUTION,
            ),
        );
    }
    if options.wants_program(DEBIAN)
        && let Some(path) = find(DEBIAN)
    {
        let command = format!("{} serve {{config}}", path.display());
        programs.push(registry(DEBIAN, &command, DISTRIBUTION));
    }
    for peer in &options.peer {
        let (name, command) = named(peer)?;
        let mut config = DISTRIBUTION.to_owned();
        for text in &options.peer_config {
            let (of, file) = named(text)?;
            if of == name {
                config =
                    fs::read_to_string(file).with_context(|| format!("--peer-config {text}"))?;
            }
        }
        programs.push(registry(name, command, &config));
    }
    if options.wants_program(NGINX)
        && let Some(path) = find(NGINX)
    {
        let version = version(&path, "-v");
        programs.push(Program {
            name: NGINX.into(),
            kind: Kind::Nginx { path, version },
        });
    }
    if programs.is_empty() {
        bail!("nothing to measure: --without leaves no program");
    }
    Ok(programs)
}

fn registry(name: &str, command: &str, config: &str) -> Program {
    let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    let version = command
        .first()
        .map_or_else(String::new, |path| version(Path::new(path), "--version"));
    Program {
        name: name.into(),
        kind: Kind::Registry {
            command,
            config: config.into(),
            version,
        },
    }
}

/// What a program says of itself, if that looks like a version.
fn version(path: &Path, flag: &str) -> String {
    let output = Command::new(path).arg(flag).output();
    let Ok(output) = output else {
        return "unknown version".into();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let word = text
        .lines()
        .next()
        .unwrap_or_default()
        .split([' ', '/'])
        .find(|word| {
            word.trim_start_matches('v')
                .starts_with(|c: char| c.is_ascii_digit())
        });
    word.unwrap_or("unknown version").to_owned()
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

fn build_registryd(target: &Path) -> Result<PathBuf> {
    eprintln!("building registryd");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "-p", OURS, "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .context("run cargo")?;
    if !status.success() {
        bail!("cargo could not build registryd; name one that is built with --registryd");
    }
    Ok(target.join("release").join(OURS))
}

fn certificate(directory: &Path) -> Result<Tls> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
        .context("make a certificate")?;
    let (certificate, key) = (directory.join("tls.crt"), directory.join("tls.key"));
    fs::write(&certificate, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    Ok(Tls {
        certificate,
        key,
        client: TlsClient::new(made.cert.der().to_vec())?,
    })
}

fn password_file(directory: &Path) -> Result<PathBuf> {
    let path = directory.join("htpasswd");
    // Cost 10 is what `htpasswd -B` and the guides have.
    let hash = bcrypt::hash(USER.1, 10).context("hash a password")?;
    fs::write(&path, format!("{}:{hash}\n", USER.0))?;
    Ok(path)
}
