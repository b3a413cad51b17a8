//! A container registry in one binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    registryd::cli::main()
}
