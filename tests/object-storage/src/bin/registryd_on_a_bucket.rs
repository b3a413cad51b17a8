//! registryd, built with the tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    registryd::cli::main()
}
