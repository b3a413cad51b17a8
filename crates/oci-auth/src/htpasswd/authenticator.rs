//! The authenticator, and taking up changes of its file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use futures_channel::oneshot;
use http::HeaderValue;
use http::request::Parts;
use oci_core::{Access, Authenticator, ErrorCode, Identity, RegistryError};
use sha2::{Digest, Sha256};

use super::error::HtpasswdError;
use super::hash::{PasswordHash, is_verifiable};
use super::options::HtpasswdOptions;
use super::problem::{Problem, ProblemKind};
use super::source::{self, Contents, STEP, Stamp};
use super::table::HtpasswdTable;
use super::verifier::{Check, Generation, Verifier};
use crate::basic::BasicCredentials;

/// Knows users by name and password from an Apache password file (`htpasswd -B`).
///
/// * A request without credentials is anonymous; the [`Authorizer`](oci_core::Authorizer) decides
///   what that is good for.
/// * bcrypt runs on a few threads of its own. One verification serves all requests with the same
///   credentials, and its result is remembered for some minutes, so that a push of fifty layers
///   costs one. When too many wait, further ones are told to come back (429 with `Retry-After`).
/// * The answer to a wrong password takes the same time whether or not the user exists. A password
///   that no hash could match (more than 72 bytes, or a NUL in it) is refused at once, which tells
///   nothing: it depends on nothing but what the client sent.
/// * A change of the file counts within a second, without a restart or a signal: a user that was
///   removed, or whose password was changed, is refused from then on. If the file is gone or is no
///   password file any more, the users read before remain and
///   [`on_problem`](HtpasswdOptions::on_problem) is called once. An empty file is a password file:
///   nobody can log in.
/// * A file in which users are missing may be in the middle of being written, so it counts when it
///   has stayed as it is for two seconds; another file that was put in its place whole (renamed over
///   it) counts within the second, as any change does.
///
/// The file is looked at when a request with credentials comes, and that request waits for it. It
/// belongs on a file system that answers.
///
/// Cloning is cheap; clones share everything.
///
/// ```no_run
/// use oci_auth::{HtpasswdAuthenticator, HtpasswdError, HtpasswdOptions};
///
/// # fn main() -> Result<(), HtpasswdError> {
/// let options = HtpasswdOptions::new().on_problem(|problem| eprintln!("{problem}"));
/// let authenticator = HtpasswdAuthenticator::open("/etc/registry/htpasswd", options)?;
/// # drop(authenticator);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HtpasswdAuthenticator {
    inner: Arc<Inner>,
}

impl HtpasswdAuthenticator {
    /// Reads the file. What is wrong with single lines goes to
    /// [`on_problem`](HtpasswdOptions::on_problem).
    ///
    /// Blocks while it reads; meant for the start of a process.
    ///
    /// # Errors
    /// See [`HtpasswdError`]; [`is_missing`](HtpasswdError::is_missing) tells a missing file from
    /// all else.
    pub fn open(path: impl AsRef<Path>, options: HtpasswdOptions) -> Result<Self, HtpasswdError> {
        let bcrypt: Check = Arc::new(|password: &str, hash: &PasswordHash| hash.verify(password));
        Self::open_with(path.as_ref(), options, bcrypt)
    }

    pub(super) fn open_with(
        path: &Path,
        options: HtpasswdOptions,
        check: Check,
    ) -> Result<Self, HtpasswdError> {
        let mut secret = [0; 64];
        getrandom::fill(&mut secret).map_err(|error| HtpasswdError::Random(error.to_string()))?;
        let now = options.clock.now();
        let contents = source::read_if_changed(path, None, now)?.unwrap_or(Contents {
            bytes: Vec::new(),
            stamp: None,
            seen: None,
            file: None,
        });
        let users = Users::parse(path, &contents.bytes)?;
        for problem in &users.problems {
            (options.on_problem)(problem);
        }
        let state = State {
            generation: Arc::new(Generation::new(users.table, &options)),
            stamp: contents.stamp,
            digest: Sha256::digest(&contents.bytes).into(),
            file: contents.file,
            held: None,
            looked: now,
            looking: None,
            failure: None,
        };
        let inner = Inner {
            path: path.to_owned(),
            challenge: options.realm.basic_challenge(),
            verifier: Verifier::new(&options, &secret, check),
            state: Mutex::new(state),
            options,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}

#[async_trait]
impl Authenticator for HtpasswdAuthenticator {
    /// Cancel safe.
    async fn authenticate(&self, request: &Parts) -> Result<Identity, RegistryError> {
        let Some(credentials) = BasicCredentials::from_headers(&request.headers)? else {
            return Ok(Identity::anonymous());
        };
        if !is_verifiable(credentials.password()) {
            return Err(wrong());
        }
        let user: Arc<str> = credentials.user().into();
        let generation = self.inner.current().await;
        if self.inner.verifier.verify(&generation, credentials).await? {
            Ok(Identity::named(user))
        } else {
            Err(wrong())
        }
    }

    fn challenge(&self, _access: Option<&Access<'_>>) -> Option<HeaderValue> {
        Some(self.inner.challenge.clone())
    }
}

impl fmt::Debug for HtpasswdAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HtpasswdAuthenticator")
            .field("path", &self.inner.path)
            .field("options", &self.inner.options)
            .field("verifier", &self.inner.verifier)
            .finish_non_exhaustive()
    }
}

struct Inner {
    path: PathBuf,
    challenge: HeaderValue,
    verifier: Verifier,
    state: Mutex<State>,
    options: HtpasswdOptions,
}

struct State {
    generation: Arc<Generation>,
    stamp: Option<Stamp>,
    /// SHA-256 of the file: a file that was only touched keeps what was learned.
    digest: [u8; 32],
    /// Which file it was.
    file: Option<(u64, u64)>,
    /// What may be half of a file, and since when it is like that. Not by its content: who writes over and
    /// over is met with the same half more than once.
    held: Option<(Option<Stamp>, SystemTime)>,
    /// When the last look at the file began.
    looked: SystemTime,
    /// Who waits for the look that is under way, if one is.
    looking: Option<Vec<oneshot::Sender<()>>>,
    /// What was last reported as a failure, so that it is not reported every second.
    failure: Option<String>,
}

impl Inner {
    /// The users by a look at the file that is not older than the check interval.
    async fn current(self: &Arc<Self>) -> Arc<Generation> {
        let (sender, receiver) = oneshot::channel();
        let first = {
            let mut state = self.state();
            let age = self.options.clock.now().duration_since(state.looked);
            if age.is_ok_and(|age| age < self.options.check_interval) {
                return Arc::clone(&state.generation);
            }
            match &mut state.looking {
                Some(waiting) => {
                    waiting.push(sender);
                    false
                }
                none => {
                    *none = Some(vec![sender]);
                    true
                }
            }
        };
        if first {
            // It publishes what it finds by itself: this request may be gone by then.
            let look = Look(Arc::clone(self));
            self.options.pool.execute(Box::new(move || look.0.look()));
        }
        // If the look got lost, the users read before remain, as if the file could not be read.
        let _ = receiver.await;
        Arc::clone(&self.state().generation)
    }

    /// Takes up the file if it changed. Blocks.
    fn look(&self) {
        let now = self.options.clock.now();
        let (stamp, digest) = {
            let state = self.state();
            (state.stamp.clone(), state.digest)
        };
        let found = self.read(stamp.as_ref(), digest, now);
        let mut problems = Vec::new();
        let mut state = self.state();
        state.looked = now;
        match found {
            Ok(found) => {
                state.failure = None;
                if found.is_none() {
                    state.held = None;
                }
                let found = found.filter(|found| state.takes(found, now));
                if let Some(found) = found {
                    state.stamp = found.stamp;
                    state.digest = found.digest;
                    state.file = found.file;
                    state.held = None;
                    if let Some(users) = found.users {
                        state.generation = Arc::new(Generation::new(users.table, &self.options));
                        problems = users.problems;
                    }
                }
            }
            Err(error) => {
                let text = error.to_string();
                if state.failure.as_ref() != Some(&text) {
                    state.failure = Some(text.clone());
                    problems.push(Problem::new(ProblemKind::NotReloaded(text)));
                }
            }
        }
        drop(state);
        // Last, and unlocked: it is the host's code.
        for problem in &problems {
            (self.options.on_problem)(problem);
        }
    }

    /// What is new, if anything seems to be.
    fn read(
        &self,
        stamp: Option<&Stamp>,
        digest: [u8; 32],
        now: SystemTime,
    ) -> Result<Option<Found>, HtpasswdError> {
        let Some(contents) = source::read_if_changed(&self.path, stamp, now)? else {
            return Ok(None);
        };
        let new: [u8; 32] = Sha256::digest(&contents.bytes).into();
        let users = if new == digest {
            None
        } else {
            Some(Users::parse(&self.path, &contents.bytes)?)
        };
        Ok(Some(Found {
            users,
            digest: new,
            ends: contents.bytes.ends_with(b"\n"),
            file: contents.file,
            stamp: contents.stamp,
            seen: contents.seen,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What belongs together is replaced together, so it is sound after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a file counts, or else is to be looked at again: who rewrites it in place empties it
    /// first, and whoever logs in just then must not be told that there is no such user.
    fn takes(&mut self, found: &Found, now: SystemTime) -> bool {
        let Some(users) = &found.users else {
            return true;
        };
        let replaced = found.file != self.file && found.ends && !users.table.is_empty();
        if replaced || found.stamp.is_some() || !self.generation.loses_users(&users.table) {
            return true;
        }
        match &self.held {
            // The times of the file may be those of another clock.
            Some((seen, since)) if *seen == found.seen => {
                now.duration_since(*since).is_ok_and(|age| age > STEP)
            }
            _ => {
                self.held = Some((found.seen.clone(), now));
                false
            }
        }
    }
}

/// A look under way. However it ends, nobody goes on waiting for it.
struct Look(Arc<Inner>);

impl Drop for Look {
    fn drop(&mut self) {
        let waiting = self.0.state().looking.take();
        // Outside the lock, because it wakes those who wait.
        drop(waiting);
    }
}

/// A file that seems to be new.
struct Found {
    /// Unless it was only touched.
    users: Option<Users>,
    digest: [u8; 32],
    /// Its last line is a whole one.
    ends: bool,
    file: Option<(u64, u64)>,
    /// `None` if it changed only just now.
    stamp: Option<Stamp>,
    /// How it looked.
    seen: Option<Stamp>,
}

/// What the bytes of a file say.
struct Users {
    table: HtpasswdTable,
    problems: Vec<Problem>,
}

impl Users {
    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, HtpasswdError> {
        let (table, problems) = HtpasswdTable::parse(bytes);
        if table.is_foreign() {
            return Err(HtpasswdError::Foreign {
                path: path.to_owned(),
                problems,
            });
        }
        let problems = problems
            .into_iter()
            .map(|problem| problem.in_file(path))
            .collect();
        Ok(Self { table, problems })
    }
}

/// The same words for every reason, so that they tell nothing about which users there are.
fn wrong() -> RegistryError {
    RegistryError::new(
        ErrorCode::Unauthorized,
        "wrong user name or password; run `docker login` again",
    )
}
