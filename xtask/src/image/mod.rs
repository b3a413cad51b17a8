//! `cargo xtask image`
//!
//! One file comes out: an OCI image layout as a tar archive, which holds a `manifest.json` too, so that
//! `docker load` and `podman load` read it as well as `skopeo copy oci-archive:…`. For several architectures its
//! index names one more index, which is the image. The same sources, toolchain and `SOURCE_DATE_EPOCH` give the
//! same bytes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use archive::Platform;
use elf::StaticProgram;

mod archive;
mod binary;
mod elf;
mod layer;
mod push;
mod rootfs;

/// What is built, and where it goes.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// For which machines; `amd64,arm64` makes one image for both.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "amd64")]
    arch: Vec<Architecture>,
    /// As which user, and whether with a shell.
    #[arg(long, value_enum, default_value_t = Variant::Default)]
    variant: Variant,
    /// The cargo profile of the binary.
    #[arg(long, default_value = "release")]
    profile: String,
    /// A static registryd to take instead of building one; once for each architecture that is not to be built.
    #[arg(long, value_name = "FILE")]
    binary: Vec<PathBuf>,
    /// The static busybox that gives the default variant its shell (Debian: busybox-static); once for each architecture.
    #[arg(long, value_name = "FILE", default_value = "/bin/busybox")]
    busybox: Vec<PathBuf>,
    /// The archive to write; by default in `image` below cargo's target directory.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Push it there with skopeo, such as to registry.lan:5000/registryd:latest; may be given several times.
    #[arg(long, value_name = "REGISTRY/NAME:TAG")]
    push: Vec<String>,
    /// Options of `skopeo copy` for --push, after `--`: --dest-cert-dir, --authfile and the like.
    #[arg(last = true, requires = "push")]
    skopeo: Vec<OsString>,
}

/// The architectures there are images for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    /// As OCI images name it.
    fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// What OCI images say beside the name.
    fn variant(self) -> Option<&'static str> {
        match self {
            Self::Amd64 => None,
            Self::Arm64 => Some("v8"),
        }
    }

    /// As rustc names it.
    fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// Whether programs of this machine are of it.
    fn is_native(self) -> bool {
        self.target().starts_with(std::env::consts::ARCH)
    }

    /// As ELF files name it: `e_machine`.
    fn machine(self) -> u16 {
        match self {
            Self::Amd64 => 62,
            Self::Arm64 => 183,
        }
    }
}

/// The two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Variant {
    /// Begins as root and has a shell, as the official image: what it replaces may rely on both.
    Default,
    /// User 65532, no shell, no other program.
    Nonroot,
}

impl Variant {
    fn tags(self) -> [String; 2] {
        let version = env!("CARGO_PKG_VERSION");
        match self {
            Self::Default => ["latest".to_owned(), version.to_owned()],
            Self::Nonroot => ["nonroot".to_owned(), format!("{version}-nonroot")],
        }
    }
}

/// Builds the image and says where it is and what to do with it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut architectures = options.arch.clone();
    architectures.sort_unstable();
    architectures.dedup();
    let binaries = programs(&options.binary)?;
    if let Some(other) = binaries
        .iter()
        .find(|program| !architectures.contains(&program.architecture))
    {
        bail!(
            "one of --binary is for {0}, which --arch does not name",
            other.architecture.name()
        );
    }
    let shells = match options.variant {
        Variant::Default => programs(&options.busybox).context(SHELL)?,
        Variant::Nonroot => Vec::new(),
    };
    let epoch = epoch()?;
    let mut platforms = Vec::new();
    for architecture in architectures {
        let of_it = |program: &&StaticProgram| program.architecture == architecture;
        let shell = shells.iter().find(of_it);
        if options.variant == Variant::Default && shell.is_none() {
            bail!("no --busybox is for {}; {SHELL}", architecture.name());
        }
        let built;
        let binary = if let Some(given) = binaries.iter().find(of_it) {
            given
        } else {
            built = binary::build(architecture, &options.profile)?;
            &built
        };
        let layers = vec![
            rootfs::base(options.variant, shell).pack(epoch)?,
            rootfs::registry(options.variant, binary).pack(epoch)?,
        ];
        platforms.push(Platform {
            architecture,
            layers,
        });
    }
    let image = archive::image(&platforms, options.variant, epoch)?;
    let out = options.out.clone().unwrap_or_else(|| {
        let [_, tag] = options.variant.tags();
        let names: Vec<_> = platforms
            .iter()
            .map(|platform| platform.architecture.name())
            .collect();
        binary::target_directory()
            .join("image")
            .join(format!("registryd-{tag}-{}.tar", names.join("-")))
    });
    write(&out, &image.bytes)?;
    let [tag, _] = options.variant.tags();
    let shown = out.display();
    println!("{shown}\n  digest {}\n", image.digest);
    if options.push.is_empty() {
        println!(
            "  docker load --input {shown}\n  podman load --input {shown}\n  \
             skopeo copy --all oci-archive:{shown} docker://REGISTRY/registryd:{tag}"
        );
    }
    for reference in &options.push {
        push::push(&out, reference, &options.skopeo)?;
        println!("  pushed {reference}");
    }
    Ok(())
}

const SHELL: &str = "the default image has a shell: install busybox-static, name a static busybox with `--busybox`, \
                     or build the one without a shell with `--variant nonroot`";

fn programs(paths: &[PathBuf]) -> Result<Vec<StaticProgram>> {
    paths.iter().map(|path| StaticProgram::read(path)).collect()
}

/// The time that everything in the image carries: reproducible builds set `SOURCE_DATE_EPOCH`.
fn epoch() -> Result<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH is {text:?}, not seconds since 1970")),
        Err(_) => Ok(0),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}
