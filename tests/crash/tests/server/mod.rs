//! What the tests of the binary share.

use std::path::Path;

use anyhow::Result;
use registry_crash_tests::{
    options::Scratch,
    program::{Kind, Program},
};

pub(crate) fn program() -> Result<Program> {
    let path = env!("CARGO_BIN_EXE_registryd_under_test");
    Program::at(Kind::Registryd, path.into())
}

pub(crate) fn scratch() -> Result<Scratch> {
    Scratch::below(Path::new(env!("CARGO_TARGET_TMPDIR")))
}
