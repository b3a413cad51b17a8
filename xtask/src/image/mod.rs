//! `cargo xtask image`
//!
//! One file comes out: an OCI image layout as a tar archive, which holds a `manifest.json` too, so that
//! `docker load` and `podman load` read it as well as `skopeo copy oci-archive:…`. The same sources,
//! toolchain and `SOURCE_DATE_EPOCH` give the same bytes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

mod archive;
mod binary;
mod elf;
mod layer;
mod rootfs;

/// What is built.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// For which machines.
    #[arg(long, value_enum, default_value_t = Architecture::Amd64)]
    arch: Architecture,
    /// As which user, and whether with a shell.
    #[arg(long, value_enum, default_value_t = Variant::Default)]
    variant: Variant,
    /// The cargo profile of the binary.
    #[arg(long, default_value = "release")]
    profile: String,
    /// A static registryd to take instead of building one.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The static busybox that gives the default variant its shell (Debian: busybox-static).
    #[arg(long, value_name = "FILE", default_value = "/bin/busybox")]
    busybox: PathBuf,
    /// The archive to write; by default in `image` below cargo's target directory.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The architectures there are images for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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

    /// As rustc names it.
    fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
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
    let architecture = options.arch;
    let binary = match &options.binary {
        Some(path) => elf::StaticProgram::read(path, architecture)?,
        None => binary::build(architecture, &options.profile)?,
    };
    let shell = match options.variant {
        Variant::Default => Some(
            elf::StaticProgram::read(&options.busybox, architecture).context(
                "the default image has a shell: install busybox-static, name a static busybox with \
                 `--busybox`, or build the one without a shell with `--variant nonroot`",
            )?,
        ),
        Variant::Nonroot => None,
    };
    let epoch = epoch()?;
    let layers = [
        rootfs::base(options.variant, shell.as_ref()).pack(epoch)?,
        rootfs::registry(options.variant, &binary).pack(epoch)?,
    ];
    let image = archive::image(architecture, options.variant, &layers, epoch)?;
    let out = options.out.clone().unwrap_or_else(|| {
        let [_, tag] = options.variant.tags();
        binary::target_directory()
            .join("image")
            .join(format!("registryd-{tag}-{}.tar", architecture.name()))
    });
    write(&out, &image.bytes)?;
    let [tag, _] = options.variant.tags();
    let out = out.display();
    println!(
        "{out}\n  manifest {}\n\n  docker load --input {out}\n  podman load --input {out}\n  \
         skopeo copy oci-archive:{out} docker://REGISTRY/registryd:{tag}",
        image.digest
    );
    Ok(())
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
