//! A registry under test, and what it must hold by the rules of OCI distribution-spec, "Pushing
//! Blobs".

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::noop_waker_ref;
use http::header::{CONTENT_RANGE, LOCATION, RANGE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use oci_core::{Algorithm, Digest};
use oci_http::{RegistryBody, RegistryService};
use tower_service::Service;

use crate::body::{Content, End, TestBody};

/// One request.
#[derive(Arbitrary, Clone, Debug)]
pub enum Step {
    /// POST without content.
    Begin { repository: Repository },
    /// POST with a digest and the content.
    PushAtOnce {
        repository: Repository,
        content: Content,
        digest: Named,
    },
    /// PATCH.
    Append {
        session: u8,
        position: Position,
        content: Content,
    },
    /// PUT.
    Finish {
        session: u8,
        position: Position,
        content: Content,
        digest: Named,
    },
    /// GET of a session.
    Status { session: u8 },
    /// DELETE of a session.
    Cancel { session: u8 },
    /// A session under the name of the other repository.
    Trespass { session: u8 },
    /// DELETE of a blob.
    Delete { repository: Repository, blob: u8 },
}

/// One of two repositories, so that content is shared.
#[derive(Arbitrary, Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Repository {
    A,
    B,
}

impl Repository {
    fn name(self) -> &'static str {
        match self {
            Self::A => "fuzz/a",
            Self::B => "b",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// The digest that a client sends.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Named {
    /// That of the content.
    Right,
    /// The same in the algorithm that the session does not hash with.
    Sha512,
    /// Of other content.
    Wrong,
    /// None at all.
    Missing,
    /// Something that is no digest.
    Malformed,
}

/// Where a client believes to be.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Position {
    /// It says nothing.
    Unsaid,
    /// In the location, as the server wrote it.
    State,
    /// In the location, so far from the truth.
    OtherState { by: i8 },
    /// In `Content-Range`, rightly.
    Range,
    /// In `Content-Range`, so far from the truth.
    OtherRange { start: i8, length: i8 },
    /// In a `Content-Range` that cannot be understood.
    Malformed,
}

/// A registry, and what it must hold.
pub struct Oracle {
    service: RegistryService,
    sessions: Vec<Session>,
    blobs: BTreeMap<(Repository, String), Vec<u8>>,
}

struct Session {
    repository: Repository,
    id: String,
    content: Vec<u8>,
    open: bool,
}

struct Answer {
    response: Response<RegistryBody>,
}

impl Oracle {
    /// Tests an empty registry, on a store that leaves no work behind when a request is dropped.
    pub fn new(service: RegistryService) -> Self {
        Self {
            service,
            sessions: Vec::new(),
            blobs: BTreeMap::new(),
        }
    }

    /// Sends one request and compares.
    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Begin { repository } => self.begin(*repository),
            Step::PushAtOnce {
                repository,
                content,
                digest,
            } => {
                self.push_at_once(*repository, content, *digest);
            }
            Step::Append {
                session,
                position,
                content,
            } => {
                if let Some(index) = self.pick(*session) {
                    self.append(index, *position, content);
                    self.check_session(index);
                }
            }
            Step::Finish {
                session,
                position,
                content,
                digest,
            } => {
                if let Some(index) = self.pick(*session) {
                    self.finish(index, *position, content, *digest);
                    self.check_session(index);
                }
            }
            Step::Status { session } => {
                if let Some(index) = self.pick(*session) {
                    self.check_session(index);
                }
            }
            Step::Cancel { session } => {
                if let Some(index) = self.pick(*session) {
                    let answer = self.whole(Method::DELETE, &self.location(index, None));
                    let expected = if self.sessions[index].open { 204 } else { 404 };
                    assert_eq!(answer.status(), expected);
                    self.sessions[index].open = false;
                    self.check_session(index);
                }
            }
            Step::Trespass { session } => {
                if let Some(index) = self.pick(*session) {
                    let session = &self.sessions[index];
                    let path = format!(
                        "/v2/{}/blobs/uploads/{}",
                        session.repository.other().name(),
                        session.id
                    );
                    for method in [Method::GET, Method::DELETE, Method::PATCH] {
                        assert_eq!(self.whole(method, &path).status(), 404);
                    }
                    self.check_session(index);
                }
            }
            Step::Delete { repository, blob } => {
                let own: Vec<_> = self
                    .blobs
                    .keys()
                    .filter(|(own, _)| own == repository)
                    .cloned()
                    .collect();
                if let Some(key) = own.get(usize::from(*blob) % own.len().max(1)) {
                    let path = format!("/v2/{}/blobs/{}", repository.name(), key.1);
                    assert_eq!(self.whole(Method::DELETE, &path).status(), 202);
                    assert_eq!(self.whole(Method::DELETE, &path).status(), 404);
                    self.blobs.remove(key);
                }
            }
        }
    }

    /// Compares everything there is.
    pub fn finally(&mut self) {
        for index in 0..self.sessions.len() {
            self.check_session(index);
        }
        for ((repository, digest), content) in self.blobs.clone() {
            self.check_blob(repository, &digest, Some(&content));
            let other = self
                .blobs
                .get(&(repository.other(), digest.clone()))
                .cloned();
            self.check_blob(repository.other(), &digest, other.as_deref());
        }
    }

    fn begin(&mut self, repository: Repository) {
        let answer = self.whole(
            Method::POST,
            &format!("/v2/{}/blobs/uploads/", repository.name()),
        );
        assert_eq!(answer.status(), 202);
        let location = answer.header(LOCATION);
        let (path, _) = location.split_once('?').unwrap_or((&location, ""));
        let id = path
            .rsplit('/')
            .next()
            .expect("a path has a last component")
            .to_owned();
        self.sessions.push(Session {
            repository,
            id,
            content: Vec::new(),
            open: true,
        });
        self.check_session(self.sessions.len() - 1);
    }

    fn push_at_once(&mut self, repository: Repository, content: &Content, named: Named) {
        let bytes = content.bytes();
        let digest = named.of(&bytes);
        let query = digest
            .as_ref()
            .map(|digest| format!("?digest={digest}"))
            .unwrap_or_default();
        let path = format!("/v2/{}/blobs/uploads/{query}", repository.name());
        let answer = self.send(Method::POST, &path, None, content);
        let Some(answer) = answer else {
            // Nothing is visible that was not verified. A session that it began is nobody's.
            if let Some(digest) = digest {
                let had = self.blobs.get(&(repository, digest.clone())).cloned();
                if !matches!(named, Named::Malformed) {
                    self.check_blob(repository, &digest, had.as_deref());
                }
            }
            return;
        };
        match named {
            Named::Malformed => assert_eq!(answer.status(), 400),
            // A POST without content begins a session, unless it is said to be the empty blob.
            Named::Missing => assert_eq!(answer.status(), 202),
            Named::Wrong if content.announced() == Some(0) => assert_eq!(answer.status(), 202),
            Named::Right | Named::Sha512 if content.end == End::Complete => {
                assert_eq!(answer.status(), 201);
                self.blobs
                    .insert((repository, digest.expect("a digest was named")), bytes);
            }
            _ => assert!(answer.status().is_client_error()),
        }
    }

    fn append(&mut self, index: usize, position: Position, content: &Content) {
        let bytes = content.bytes();
        let before = self.sessions[index].content.len() as u64;
        let place = position.at(before, bytes.len() as u64);
        let location = self.location(index, place.state);
        let answer = self.send(Method::PATCH, &location, place.range.as_deref(), content);
        let session = &self.sessions[index];
        if !session.open {
            if let Some(answer) = answer {
                assert!(answer.status().is_client_error(), "{}", answer.status());
            }
            return;
        }
        // What a range says of the length can be checked against the announced length at once.
        let refused = place.is_malformed
            || place.start.is_some_and(|start| start != before)
            || place
                .length
                .is_some_and(|length| content.announced().is_some_and(|sent| sent != length));
        let fits = place
            .length
            .is_none_or(|length| length == bytes.len() as u64);
        let whole = content.end == End::Complete && fits;
        match answer {
            Some(answer) if !refused && whole => assert_eq!(answer.status(), 202),
            Some(answer) => assert!(answer.status().is_client_error(), "{}", answer.status()),
            None => assert_eq!(content.end, End::Stalled),
        }
        if refused {
            return;
        }
        if whole {
            self.sessions[index].content.extend_from_slice(&bytes);
        } else {
            // What arrived may count, up to some byte; which, only the server can tell.
            let offset = self.offset(index);
            let kept = offset.checked_sub(before).expect("no byte is lost");
            let kept = bytes.get(..kept as usize).expect("no byte is invented");
            self.sessions[index].content.extend_from_slice(kept);
        }
    }

    fn finish(&mut self, index: usize, position: Position, content: &Content, named: Named) {
        let bytes = content.bytes();
        let session = &self.sessions[index];
        let (repository, before) = (session.repository, session.content.len() as u64);
        let result = [session.content.as_slice(), &bytes].concat();
        let digest = named.of(&result);
        let place = position.at(before, bytes.len() as u64);
        let mut location = self.location(index, place.state);
        if let Some(digest) = &digest {
            location.push(if location.contains('?') { '&' } else { '?' });
            location.push_str("digest=");
            location.push_str(digest);
        }
        let open = session.open;
        let answer = self.send(Method::PUT, &location, place.range.as_deref(), content);
        let Some(answer) = answer else {
            assert_eq!(content.end, End::Stalled);
            return;
        };
        if !open {
            let there = digest.is_some_and(|digest| self.blobs.contains_key(&(repository, digest)));
            // Sent again after its answer was lost.
            let replayed = there && answer.status() == 201;
            assert!(
                replayed || answer.status().is_client_error(),
                "{}",
                answer.status()
            );
            return;
        }
        // Without content nothing can be appended twice: then the location's state does not matter.
        let start = place
            .start
            .filter(|_| place.range.is_some() || content.announced() != Some(0));
        let good = content.end == End::Complete
            && !place.is_malformed
            && start.is_none_or(|start| start == before)
            && place
                .length
                .is_none_or(|length| length == bytes.len() as u64)
            && matches!(named, Named::Right | Named::Sha512);
        if good {
            assert_eq!(answer.status(), 201);
            assert_eq!(
                answer.header("docker-content-digest"),
                digest.clone().expect("a digest was named")
            );
            self.sessions[index].open = false;
            self.blobs
                .insert((repository, digest.expect("a digest was named")), result);
        } else {
            assert!(answer.status().is_client_error(), "{}", answer.status());
        }
    }

    /// The session stands where it must.
    fn check_session(&mut self, index: usize) {
        let session = &self.sessions[index];
        if session.open {
            let expected = session.content.len() as u64;
            assert_eq!(self.offset(index), expected);
        } else {
            assert_eq!(
                self.whole(Method::GET, &self.location(index, None))
                    .status(),
                404
            );
        }
    }

    fn offset(&mut self, index: usize) -> u64 {
        let answer = self.whole(Method::GET, &self.location(index, None));
        assert_eq!(answer.status(), 204);
        let range = answer.header(RANGE);
        let end: i64 = range
            .strip_prefix("0-")
            .expect("a range")
            .parse()
            .expect("its end");
        u64::try_from(end + 1).expect("an offset")
    }

    fn check_blob(&mut self, repository: Repository, digest: &str, expected: Option<&[u8]>) {
        let path = format!("/v2/{}/blobs/{digest}", repository.name());
        let head = self.whole(Method::HEAD, &path);
        let pull = self.whole(Method::GET, &path);
        let Some(expected) = expected else {
            assert_eq!(
                (head.status(), pull.status()),
                (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND)
            );
            return;
        };
        assert_eq!(
            (head.status(), pull.status()),
            (StatusCode::OK, StatusCode::OK)
        );
        assert_eq!(head.header("content-length"), expected.len().to_string());
        let body = futures_executor::block_on(pull.response.into_body().collect());
        assert_eq!(
            body.expect("a blob that is there").to_bytes(),
            Bytes::copy_from_slice(expected)
        );
    }

    fn pick(&self, choice: u8) -> Option<usize> {
        (!self.sessions.is_empty()).then(|| usize::from(choice) % self.sessions.len())
    }

    fn location(&self, index: usize, state: Option<u64>) -> String {
        let Session { repository, id, .. } = &self.sessions[index];
        let query = state
            .map(|state| format!("?_state={state}"))
            .unwrap_or_default();
        format!("/v2/{}/blobs/uploads/{id}{query}", repository.name())
    }

    fn whole(&mut self, method: Method, path: &str) -> Answer {
        let body = TestBody::empty();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(body)
            .expect("a request");
        Answer::new(futures_executor::block_on(self.service.call(request)))
    }

    /// `None` if the client hung up before the answer.
    fn send(
        &mut self,
        method: Method,
        path: &str,
        range: Option<&str>,
        content: &Content,
    ) -> Option<Answer> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(range) = range {
            request = request.header(CONTENT_RANGE, range);
        }
        let request = request.body(content.body()).expect("a request");
        let future = self.service.call(request);
        if content.end != End::Stalled {
            return Some(Answer::new(futures_executor::block_on(future)));
        }
        let mut context = Context::from_waker(noop_waker_ref());
        let mut future = pin!(future);
        (0..POLLS).find_map(|_| match future.as_mut().poll(&mut context) {
            Poll::Ready(answer) => Some(Answer::new(answer)),
            Poll::Pending => None,
        })
    }
}

/// More often than a request with the longest body waits.
const POLLS: usize = 32;

impl Answer {
    fn new(result: Result<Response<RegistryBody>, std::convert::Infallible>) -> Self {
        let Ok(response) = result;
        assert!(!response.status().is_server_error(), "{response:?}");
        Self { response }
    }

    fn status(&self) -> StatusCode {
        self.response.status()
    }

    fn header(&self, name: impl http::header::AsHeaderName) -> String {
        let value = self
            .response
            .headers()
            .get(name)
            .expect("a header that is always there");
        value.to_str().expect("headers are ASCII").to_owned()
    }
}

impl Named {
    fn of(self, content: &[u8]) -> Option<String> {
        match self {
            Self::Right => Some(Digest::sha256(content).to_string()),
            Self::Sha512 => Some(Digest::of(Algorithm::Sha512, content).to_string()),
            Self::Wrong => Some(Digest::sha256(&[content, b"!"].concat()).to_string()),
            Self::Missing => None,
            Self::Malformed => Some("sha256:../../x".to_owned()),
        }
    }
}

#[derive(Default)]
struct Place {
    state: Option<u64>,
    range: Option<String>,
    start: Option<u64>,
    length: Option<u64>,
    is_malformed: bool,
}

impl Position {
    fn at(self, offset: u64, length: u64) -> Place {
        let moved = |from: u64, by: i8| from.saturating_add_signed(by.into());
        match self {
            Self::Unsaid => Place::default(),
            Self::State => Place {
                state: Some(offset),
                start: Some(offset),
                ..Place::default()
            },
            Self::OtherState { by } => {
                let state = moved(offset, by);
                Place {
                    state: Some(state),
                    start: Some(state),
                    ..Place::default()
                }
            }
            Self::Range => Self::range(offset, length),
            Self::OtherRange { start, length: by } => {
                Self::range(moved(offset, start), moved(length, by))
            }
            Self::Malformed => Place {
                range: Some(format!("{length}-x")),
                is_malformed: true,
                ..Place::default()
            },
        }
    }

    /// A range cannot say that there is nothing.
    fn range(start: u64, length: u64) -> Place {
        let Some(last) = length.checked_sub(1).map(|length| start + length) else {
            return Place::default();
        };
        Place {
            range: Some(format!("{start}-{last}")),
            start: Some(start),
            length: Some(length),
            ..Place::default()
        }
    }
}
