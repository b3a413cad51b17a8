//! The server for this package's tests. Cargo builds a package's own programs before its tests, and
//! not those of another package: with this one the tests never run an old server, or none.

use std::process::ExitCode;

fn main() -> ExitCode {
    registryd::cli::main()
}
