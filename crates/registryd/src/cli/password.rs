//! Where a password comes from: a person at a terminal, or the standard input of a script.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Asks for a password. At a terminal it is not shown.
pub(super) fn ask(prompt: &str) -> io::Result<String> {
    let mut error = io::stderr();
    write!(error, "{prompt}")?;
    error.flush()?;
    let hidden = Hidden::begin();
    let line = line();
    if hidden.is_some() {
        // The line end that was typed was not shown either.
        let _ = writeln!(error);
    }
    line
}

/// The next line of the standard input, without its end.
pub(super) fn line() -> io::Result<String> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}

/// A terminal that does not show what is typed.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> Option<Self> {
        if !io::stdin().is_terminal() {
            return None;
        }
        let before = tcgetattr(io::stdin()).ok()?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &modes).ok()?;
        Some(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
