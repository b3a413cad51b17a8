//! `htpasswd`, as Apache's: scripts and guides for registries call it inside the registry's image.
//!
//! The options, messages and exit codes are Apache's. The differences: bcrypt is the only algorithm and the
//! default one, its usual cost is 10, the password is at most what bcrypt reads, and the file is replaced
//! in one step.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use oci_auth::htpasswd::{
    HtpasswdTable, PasswordError, PasswordHash, UserName, UserNameError, line, remove_user,
    set_user,
};

use self::flags::{Action, Arguments, PasswordFrom, Refused, USAGE};
use super::password;
use crate::cli::out::{self, note, say};
use crate::files;

mod flags;

/// Does what the command line says, and ends as Apache's program would.
pub(super) fn main(arguments: &[OsString]) -> ExitCode {
    let texts: Result<Vec<_>, _> = arguments
        .iter()
        .map(|argument| argument.to_str().map(str::to_owned).ok_or(argument))
        .collect();
    let texts = match texts {
        Ok(texts) => texts,
        Err(argument) => {
            // What it would be taken for is another name, or another password.
            note!(
                "htpasswd: {} is not UTF-8; names, passwords and files have to be",
                argument.display()
            );
            return ExitCode::from(Code::Syntax as u8);
        }
    };
    let failure = match Arguments::parse(&texts) {
        Ok(arguments) => match run(&arguments) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => failure,
        },
        Err(Refused::Usage(why)) => {
            if let Some(why) = why {
                note!("htpasswd: {why}");
            }
            out::eprint(USAGE);
            return ExitCode::from(Code::Syntax as u8);
        }
        Err(Refused::Because(why)) => Failure::new(Code::Syntax, format!("htpasswd: {why}")),
    };
    note!("{}", failure.message);
    ExitCode::from(failure.code as u8)
}

/// Apache's exit codes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Code {
    File = 1,
    Syntax = 2,
    Mismatch = 3,
    Interrupted = 4,
    TooLong = 5,
    BadUser = 6,
    BadFile = 7,
}

#[derive(Debug)]
struct Failure {
    code: Code,
    message: String,
}

impl Failure {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let user = user(&arguments.user)?;
    match &arguments.action {
        Action::Print => {
            let hash = hash(arguments)?;
            // Apache adds an empty line, and scripts have learned to live with it.
            say!("{}\n", line(&user, &hash));
            Ok(())
        }
        Action::Create(path) => {
            let hash = hash(arguments)?;
            let file = set_user(b"", &user, &hash);
            files::lock_beside(path)
                .and_then(|_lock| files::replace(path, &file, MODE))
                .map_err(|error| {
                    failed(&format!("cannot create file {}", path.display()), &error)
                })?;
            note!("Adding password for user {user}");
            Ok(())
        }
        Action::Update(path) => {
            // What is no password file is refused before a password is asked for.
            read(path)?;
            let hash = hash(arguments)?;
            let _lock = lock(path)?;
            let file = read(path)?;
            write(path, &set_user(&file, &user, &hash))?;
            let known = remove_user(&file, &user).is_some();
            let doing = if known { "Updating" } else { "Adding" };
            note!("{doing} password for user {user}");
            Ok(())
        }
        Action::Delete(path) => {
            read(path)?;
            let _lock = lock(path)?;
            let file = read(path)?;
            // Not there is as good as gone: Apache ends with success too.
            match remove_user(&file, &user) {
                Some(file) => {
                    write(path, &file)?;
                    note!("Deleting password for user {user}");
                }
                None => note!("User {user} not found"),
            }
            Ok(())
        }
        Action::Verify(path) => {
            let file = read(path)?;
            let (table, _) = HtpasswdTable::parse(&file);
            if remove_user(&file, &user).is_none() {
                return Err(Failure::new(
                    Code::BadUser,
                    format!("User {user} not found"),
                ));
            }
            if !table.verify(user.as_str(), &password(&arguments.password, false)?) {
                return Err(Failure::new(Code::Mismatch, "password verification failed"));
            }
            note!("Password for user {user} correct.");
            Ok(())
        }
    }
}

fn user(name: &str) -> Result<UserName, Failure> {
    name.parse().map_err(|error| {
        let (code, why) = match error {
            UserNameError::TooLong => (Code::TooLong, "username too long (> 255)".to_owned()),
            UserNameError::Character if name.contains(':') => (
                Code::BadUser,
                "username contains illegal character ':'".to_owned(),
            ),
            other => (Code::BadUser, other.to_string()),
        };
        Failure::new(code, format!("htpasswd: {why}"))
    })
}

fn hash(arguments: &Arguments) -> Result<PasswordHash, Failure> {
    let cost = arguments.cost.unwrap_or(PasswordHash::DEFAULT_COST);
    let password = password(&arguments.password, true)?;
    PasswordHash::new(&password, cost).map_err(|error| {
        let code = match error {
            PasswordError::TooLong => Code::TooLong,
            // What Apache answers to what bcrypt cannot do.
            _ => Code::Mismatch,
        };
        Failure::new(
            code,
            format!("htpasswd: unable to encode with bcrypt: {error}"),
        )
    })
}

fn password(from: &PasswordFrom, twice: bool) -> Result<String, Failure> {
    let interrupted = |error: io::Error| {
        Failure::new(
            Code::Interrupted,
            format!("htpasswd: no password was read: {error}"),
        )
    };
    match from {
        PasswordFrom::Argument(password) => Ok(password.clone()),
        PasswordFrom::Nowhere => Ok(String::new()),
        PasswordFrom::Input => password::line().map_err(interrupted),
        PasswordFrom::Prompt if !twice => password::ask("Enter password: ").map_err(interrupted),
        PasswordFrom::Prompt => {
            let first = password::ask("New password: ").map_err(interrupted)?;
            let again = password::ask("Re-type new password: ").map_err(interrupted)?;
            if first == again {
                return Ok(first);
            }
            let why = "htpasswd: password verification error";
            Err(Failure::new(Code::Mismatch, why))
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let file = files::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            Code::File,
            format!("htpasswd: cannot modify file {shown}; use '-c' to create it"),
        ),
        _ => failed(&format!("cannot open file {shown} for read access"), &error),
    })?;
    // As Apache: a line without a colon means that this is some other file, which is not touched.
    let is_entry = |line: &[u8]| {
        let line = line.trim_ascii();
        line.is_empty() || line.starts_with(b"#") || line.contains(&b':')
    };
    let body = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&file);
    if body.split(|byte| *byte == b'\n').all(is_entry) {
        return Ok(file);
    }
    Err(Failure::new(
        Code::BadFile,
        format!("htpasswd: The file {shown} does not appear to be a valid htpasswd file."),
    ))
}

/// Two that edit the file at once would lose what one of them did.
fn lock(path: &Path) -> Result<std::fs::File, Failure> {
    files::lock_beside(path)
        .map_err(|error| failed(&format!("unable to lock file {}", path.display()), &error))
}

fn write(path: &Path, file: &[u8]) -> Result<(), Failure> {
    files::replace(path, file, MODE)
        .map_err(|error| failed(&format!("unable to update file {}", path.display()), &error))
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(Code::File, format!("htpasswd: {what}: {error}"))
}

/// As Apache's program leaves a new file: registries often run as another user.
const MODE: u32 = 0o644;
