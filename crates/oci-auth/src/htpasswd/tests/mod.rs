//! The authenticator as a whole. What it costs is counted in calls of bcrypt, never in time.

mod reload;
mod verify;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::request::Parts;
use oci_core::runtime::{BlockingPool, BlockingTask, Clock};
use oci_core::{Authenticator, ErrorCode, Identity, RegistryError};
use tempfile::TempDir;

use super::verifier::Check;
use super::*;

#[derive(Debug)]
struct ManualClock(Mutex<SystemTime>);

impl ManualClock {
    fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

/// A password file in a directory of its own, a clock, and a record of all that bcrypt did.
struct Lab {
    directory: TempDir,
    clock: Arc<ManualClock>,
    costs: Arc<Mutex<Vec<u32>>>,
    problems: Arc<Mutex<Vec<Problem>>>,
}

impl Lab {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock(Mutex::new(SystemTime::now()))),
            costs: Arc::default(),
            problems: Arc::default(),
        }
    }

    fn with(users: &[(&str, &str, u32)]) -> (Self, HtpasswdAuthenticator) {
        let lab = Self::new();
        lab.write(users);
        let authenticator = lab.open();
        (lab, authenticator)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("users")
    }

    fn write(&self, users: &[(&str, &str, u32)]) {
        std::fs::write(self.path(), file(users)).unwrap();
    }

    /// Puts a new file in its place, as `registryd htpasswd` does.
    #[expect(clippy::disallowed_methods, reason = "nothing here must last")]
    fn replace(&self, users: &[(&str, &str, u32)]) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, file(users)).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    fn options(&self) -> HtpasswdOptions {
        let problems = Arc::clone(&self.problems);
        HtpasswdOptions::new()
            .clock(Arc::clone(&self.clock) as Arc<dyn Clock>)
            .on_problem(move |problem| problems.lock().unwrap().push(problem.clone()))
    }

    fn check(&self) -> Check {
        let costs = Arc::clone(&self.costs);
        Arc::new(move |password, hash| {
            costs.lock().unwrap().push(hash.cost());
            hash.verify(password)
        })
    }

    fn open(&self) -> HtpasswdAuthenticator {
        self.open_with(self.options())
    }

    fn open_with(&self, options: HtpasswdOptions) -> HtpasswdAuthenticator {
        HtpasswdAuthenticator::open_with(&self.path(), options, self.check()).unwrap()
    }

    /// The costs of all calls of bcrypt since the last time.
    fn costs(&self) -> Vec<u32> {
        std::mem::take(&mut *self.costs.lock().unwrap())
    }

    /// The problems since the last time, without those about the low costs of these tests.
    fn problems(&self) -> Vec<ProblemKind> {
        let mut problems = std::mem::take(&mut *self.problems.lock().unwrap());
        problems.retain(|problem| !matches!(problem.kind, ProblemKind::LowCost(_)));
        problems.into_iter().map(|problem| problem.kind).collect()
    }

    /// Lets the authenticator look at the file again with the next request.
    fn tick(&self) {
        self.clock.advance(Duration::from_secs(1));
    }
}

fn file(users: &[(&str, &str, u32)]) -> String {
    let mut file = Vec::new();
    for (user, password, cost) in users {
        let hash = PasswordHash::new(password, *cost).unwrap();
        file = set_user(&file, &user.parse().unwrap(), &hash);
    }
    String::from_utf8(file).unwrap()
}

fn request(authorization: Option<&str>) -> Parts {
    let mut request = http::Request::get("/v2/");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    request.body(()).unwrap().into_parts().0
}

fn basic(user: &str, password: &str) -> Parts {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    request(Some(&format!("Basic {encoded}")))
}

async fn login(
    authenticator: &HtpasswdAuthenticator,
    user: &str,
    password: &str,
) -> Result<Identity, RegistryError> {
    authenticator.authenticate(&basic(user, password)).await
}

#[track_caller]
fn assert_wrong(result: Result<Identity, RegistryError>) {
    let error = result.unwrap_err();
    assert_eq!(error.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(error.code(), ErrorCode::Unauthorized);
    assert_eq!(
        error.to_string(),
        "UNAUTHORIZED: wrong user name or password; run `docker login` again"
    );
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Holds back every verification until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }

    fn in_front_of(&self, check: Check) -> Check {
        let gate = self.clone();
        Arc::new(move |password, hash| {
            gate.pass();
            check(password, hash)
        })
    }
}

#[tokio::test]
async fn passwords_decide() {
    let (_lab, authenticator) = Lab::with(&[("alice", "s3cret", 4), ("bob", "hunter2", 4)]);
    let alice = login(&authenticator, "alice", "s3cret").await.unwrap();
    assert_eq!(alice.name(), Some("alice"));
    assert_wrong(login(&authenticator, "alice", "hunter2").await);
    assert_wrong(login(&authenticator, "Alice", "s3cret").await);
    assert_wrong(login(&authenticator, "eve", "s3cret").await);
    assert_wrong(login(&authenticator, "", "").await);
    let nobody = authenticator.authenticate(&request(None)).await.unwrap();
    assert!(nobody.is_anonymous());
    assert_eq!(
        authenticator.challenge(None).unwrap(),
        r#"Basic realm="Registry""#
    );
}

#[tokio::test]
async fn bad_headers_cost_nothing() {
    let (lab, authenticator) = Lab::with(&[("alice", "s3cret", 4)]);
    for (value, status) in [
        ("Basic !", 400),
        ("Basic YWxpY2U=", 400),
        ("", 400),
        ("Bearer abc", 401),
    ] {
        let error = authenticator
            .authenticate(&request(Some(value)))
            .await
            .unwrap_err();
        assert_eq!(error.status(), status, "{value}");
    }
    assert!(lab.costs().is_empty());
}

/// Everything at once on real threads: nobody hangs, nobody gets a wrong answer.
#[tokio::test]
async fn crowds_get_their_answers() {
    let (lab, authenticator) = Lab::with(&[("alice", "a", 4), ("bob", "b", 4)]);
    let mut tasks = Vec::new();
    for i in 0..600 {
        let authenticator = authenticator.clone();
        let clock = Arc::clone(&lab.clock);
        tasks.push(tokio::spawn(async move {
            if i % 50 == 0 {
                clock.advance(Duration::from_secs(100));
            }
            let (user, password) =
                [("alice", "a"), ("alice", "b"), ("bob", "b"), ("eve", "a")][i % 4];
            for _ in 0..5 {
                let result = login(&authenticator, user, password).await;
                match result {
                    Ok(_) => assert!(i % 2 == 0),
                    Err(error) if error.status() == StatusCode::UNAUTHORIZED => {
                        assert!(i % 2 == 1);
                    }
                    Err(error) => assert_eq!(error.status(), StatusCode::TOO_MANY_REQUESTS),
                }
                tokio::task::yield_now().await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn nothing_shows_a_secret() {
    let (lab, authenticator) = Lab::with(&[("alice", "canary", 4)]);
    let hash = std::fs::read_to_string(lab.path()).unwrap();
    let hash = hash.trim().split(':').next_back().unwrap();
    login(&authenticator, "alice", "canary").await.unwrap();
    let error = login(&authenticator, "alice", "canary2").await.unwrap_err();
    let shown = format!("{authenticator:?} {error:?} {error}");
    assert!(!shown.contains("canary") && !shown.contains(hash));
}
