//! What will go wrong with a certificate that can be served.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use time::{Duration, OffsetDateTime};

use super::Facts;
use super::facts::day;

/// Something about a certificate or its key that clients will stumble over, or that others can misuse.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// It carries a common name only, which clients no longer look at.
    NoNames {
        /// The common name.
        common_name: Option<String>,
    },
    /// It is for other hosts.
    OtherHost {
        /// The host that was expected.
        host: String,
        /// What it is for.
        names: Vec<String>,
    },
    /// Its time has passed.
    Expired(OffsetDateTime),
    /// Its time passes within 30 days.
    ExpiresSoon {
        /// The last day.
        on: OffsetDateTime,
        /// How many days are left.
        days: i64,
    },
    /// Its time has not begun, or the clock is wrong.
    NotYetValid(OffsetDateTime),
    /// The time of a local authority passes soon, or has passed.
    AuthorityEnds {
        /// Where it is kept.
        directory: PathBuf,
        /// Its last day.
        on: OffsetDateTime,
    },
    /// Others on this machine can read the private key.
    ReadableByOthers {
        /// The file of the key.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// What is wrong with a certificate for these hosts at this time.
pub fn about(facts: &Facts, hosts: &[String], now: OffsetDateTime) -> Vec<Warning> {
    let mut found = Vec::new();
    if facts.names.is_empty() {
        found.push(Warning::NoNames {
            common_name: facts.common_name.clone(),
        });
    } else {
        for host in hosts.iter().filter(|host| !facts.covers(host)) {
            found.push(Warning::OtherHost {
                host: host.clone(),
                names: facts.names.iter().map(ToString::to_string).collect(),
            });
        }
    }
    let left = facts.not_after - now;
    if left.is_negative() {
        found.push(Warning::Expired(facts.not_after));
    } else if left < SOON {
        found.push(Warning::ExpiresSoon {
            on: facts.not_after,
            days: left.whole_days(),
        });
    }
    if facts.not_before > now {
        found.push(Warning::NotYetValid(facts.not_before));
    }
    found
}

/// Whether everybody on this machine can read the key. Its group may: Kubernetes gives Secrets to one.
pub(super) fn about_key(path: &Path) -> Option<Warning> {
    let mode = std::fs::metadata(path).ok()?.mode() & 0o777;
    (mode & 0o004 != 0).then(|| Warning::ReadableByOthers {
        path: path.to_owned(),
        mode,
    })
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNames { common_name } => {
                let host = common_name.as_deref().unwrap_or("HOST");
                write!(
                    f,
                    "the certificate has no subjectAltName: docker, containerd and every other client written in Go \
                     reject it; fix: `registryd cert new --host {host}`, or put the names into subjectAltName"
                )
            }
            Self::OtherHost { host, names } => write!(
                f,
                "the certificate is not for {host} but for {}: clients that use {host} reject it; fix: get one whose \
                 subjectAltName has {host}, or make one with `registryd cert new --host {host}`",
                names.join(", ")
            ),
            Self::Expired(on) => write!(
                f,
                "the certificate expired on {}: every client rejects it; fix: replace the files, they are read again \
                 without a restart",
                day(*on)
            ),
            Self::ExpiresSoon { on, days } => write!(
                f,
                "the certificate expires on {}, in {days} days; fix: replace the files in time, they are read again \
                 without a restart",
                day(*on)
            ),
            Self::NotYetValid(from) => write!(
                f,
                "the certificate is valid only from {} on: every client rejects it now; fix: check the clock of this \
                 machine and of the one that made it",
                day(*from)
            ),
            Self::AuthorityEnds { directory, on } => write!(
                f,
                "the local authority ends on {}, and with it the trust of every client; fix: when it suits the \
                 clients, move {} away and restart: a new authority is made, for which `registryd trust` has to be \
                 run on each of them again",
                day(*on),
                directory.display()
            ),
            Self::ReadableByOthers { path, mode } => write!(
                f,
                "everybody on this machine can read the private key {} (mode {mode:04o}); fix: chmod 600 {}, or \
                 `defaultMode: 0440` for a mounted Secret",
                path.display(),
                path.display()
            ),
        }
    }
}

const SOON: Duration = Duration::days(30);
