//! What commands print, also to somebody who stops reading: `registryd … | head`.
//!
//! Nothing that was asked for is left undone because of that. At the end the exit status says it, as a shell says it
//! of other programs: 128 and the number of SIGPIPE.

use std::fmt::{Arguments, Display};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

const SIGPIPE: u8 = 13;

/// Why something could not be printed; the first time only.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// Standard output, which never fails; what comes after a failure is dropped.
pub(super) struct Out;

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if FAILED.get().is_none()
            && let Err(error) = io::stdout().write_all(bytes)
        {
            let _ = FAILED.set(error);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Err(error) = io::stdout().flush() {
            let _ = FAILED.set(error);
        }
        Ok(())
    }
}

/// `println!`
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::cli::out::line($crate::cli::out::Out, format_args!($($argument)*))
    };
}

/// `eprintln!`
macro_rules! note {
    ($($argument:tt)*) => {
        $crate::cli::out::line(std::io::stderr(), format_args!($($argument)*))
    };
}

pub(super) use {note, say};

/// Writes a line in one piece.
pub(super) fn line(to: impl Write, what: Arguments<'_>) {
    text(to, format_args!("{what}\n"));
}

/// `print!`
pub(super) fn print(what: impl Display) {
    text(Out, what);
}

/// `eprint!`
pub(super) fn eprint(what: impl Display) {
    text(io::stderr(), what);
}

fn text(mut to: impl Write, what: impl Display) {
    // Of what is wrong with standard error there is nobody to tell.
    let _ = to.write_all(what.to_string().as_bytes());
}

/// The exit status of a command that ended with `code`.
pub(super) fn finish(code: ExitCode) -> ExitCode {
    let _ = Out.flush();
    match FAILED.get() {
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            if code == ExitCode::SUCCESS {
                ExitCode::from(128 + SIGPIPE)
            } else {
                code
            }
        }
        Some(error) => {
            note!("error: cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
        None => code,
    }
}
