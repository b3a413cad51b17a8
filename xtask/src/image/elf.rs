//! Programs that run in an image with nothing else in it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use super::Architecture;

/// The bytes of a program that needs no loader and no library.
#[derive(Debug)]
pub(super) struct StaticProgram {
    pub(super) architecture: Architecture,
    pub(super) bytes: Vec<u8>,
}

impl StaticProgram {
    /// Reads a program, and refuses one that would not start in any image.
    #[expect(
        clippy::disallowed_methods,
        reason = "a program of some megabytes, in a tool that builds and ends"
    )]
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let shown = path.display();
        ensure!(
            bytes.starts_with(b"\x7fELF\x02\x01"),
            "{shown} is no 64-bit Linux program"
        );
        let machine = number(&bytes, 18, 2)?;
        let architecture = Architecture::value_variants()
            .iter()
            .find(|architecture| u64::from(architecture.machine()) == machine)
            .with_context(|| {
                format!("{shown} is for an architecture that there is no image for")
            })?;
        if has_interpreter(&bytes)? {
            bail!(
                "{shown} needs a dynamic loader, and the image has none: it must be linked statically"
            );
        }
        Ok(Self {
            architecture: *architecture,
            bytes,
        })
    }
}

/// Whether one of the program headers is `PT_INTERP`.
fn has_interpreter(bytes: &[u8]) -> Result<bool> {
    let (table, size, count) = (
        number(bytes, 32, 8)?,
        number(bytes, 54, 2)?,
        number(bytes, 56, 2)?,
    );
    for index in 0..count {
        let header = index.saturating_mul(size).saturating_add(table);
        if number(bytes, usize::try_from(header)?, 4)? == 3 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A little-endian number of a header.
fn number(bytes: &[u8], offset: usize, length: usize) -> Result<u64> {
    let field = bytes
        .get(offset..)
        .and_then(|rest| rest.get(..length))
        .context("the program's headers are cut off")?;
    Ok(field
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_would_not_start_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let read = |bytes: &[u8]| {
            let path = folder.path().join("program");
            fs::write(&path, bytes).unwrap();
            StaticProgram::read(&path).map(|program| program.architecture)
        };
        let error = read(b"#!/bin/sh\n").unwrap_err().to_string();
        assert!(error.ends_with("is no 64-bit Linux program"), "{error}");

        let mut header = vec![0; 64 + 56];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[18] = 62;
        (header[32], header[54], header[56]) = (64, 56, 1);
        header[64] = 1;
        assert_eq!(read(&header).unwrap(), Architecture::Amd64);
        read(&header[..60]).unwrap_err();
        header[64] = 3;
        let error = read(&header).unwrap_err().to_string();
        assert!(error.contains("linked statically"), "{error}");
        header[64] = 1;
        header[18] = 183;
        assert_eq!(read(&header).unwrap(), Architecture::Arm64);
        header[18] = 3;
        let error = read(&header).unwrap_err().to_string();
        assert!(error.contains("there is no image for"), "{error}");
    }
}
