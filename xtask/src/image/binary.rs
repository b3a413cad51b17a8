//! The static binary.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Architecture;
use super::elf::StaticProgram;

/// Where cargo puts its output.
pub(super) fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Builds registryd with libc inside.
///
/// Only the last step of the build differs from `cargo build`, so that everything before it is shared.
pub(super) fn build(architecture: Architecture, profile: &str) -> Result<StaticProgram> {
    let target = architecture.target();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(workspace())
        .args([
            "rustc",
            "--quiet",
            "--locked",
            "--package",
            "registryd",
            "--bin",
            "registryd",
        ])
        .args(["--profile", profile]);
    let mut output = target_directory();
    if !architecture.is_native() {
        let (variable, linker) = cross_linker(architecture)?;
        if std::env::var_os(&variable).is_none() {
            cargo.env(variable, linker);
        }
        cargo.args(["--target", target]);
        output.push(target);
    }
    cargo.args(["--", "-C", "target-feature=+crt-static"]);
    let status = cargo.status().context("start cargo")?;
    ensure!(
        status.success(),
        "cargo could not build registryd for {target} ({status})"
    );
    // The one profile whose directory has another name.
    output.push(if profile == "dev" { "debug" } else { profile });
    let path = output.join("registryd");
    let program = StaticProgram::read(&path)?;
    ensure!(
        program.architecture == architecture,
        "cargo built {} for {}",
        path.display(),
        program.architecture.name()
    );
    Ok(program)
}

/// The variable that names the linker for another architecture, and Debian's; what is missing is said before
/// cargo fails with less.
fn cross_linker(architecture: Architecture) -> Result<(String, String)> {
    let target = architecture.target();
    let gnu = target.replace("-unknown-", "-");
    let variable = format!(
        "CARGO_TARGET_{}_LINKER",
        target.replace('-', "_").to_uppercase()
    );
    let compiler = format!("{gnu}-gcc");
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(&compiler).is_file())
    });
    let package = gnu.replace('_', "-");
    ensure!(
        found,
        "there is no `{compiler}`: `apt-get install gcc-{package} libc6-dev-{}-cross` and \
         `rustup target add {target}`",
        architecture.name()
    );
    let library = standard_library(target)?;
    ensure!(
        library.is_dir(),
        "there is no standard library for {target} in {}: `rustup target add {target}`",
        library.display()
    );
    Ok((variable, compiler))
}

/// Where the toolchain that cargo uses keeps what is made for a target.
fn standard_library(target: &str) -> Result<PathBuf> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .current_dir(workspace())
        .args(["--print", "sysroot"])
        .output()
        .context("start rustc")?;
    let sysroot = String::from_utf8(output.stdout).context("what rustc prints")?;
    Ok(Path::new(sysroot.trim()).join(format!("lib/rustlib/{target}/lib")))
}

fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
