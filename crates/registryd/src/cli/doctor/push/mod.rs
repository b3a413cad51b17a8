//! What a push meets on its way: uploads are begun, looked at, and cancelled. Nothing is stored.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION, RANGE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use oci_core::RepositoryName;
use rustls::ClientConfig;

use super::Finding;
use crate::cli::client::{Body, Connection, Target, empty};

mod bodies;
mod location;

/// How uploads are begun.
pub(super) struct Door<'a> {
    pub(super) target: &'a Target,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) login: Option<&'a HeaderValue>,
    pub(super) repository: &'a RepositoryName,
    /// Whether something in front of the registry names itself.
    pub(super) proxied: bool,
}

/// Bodies of some MiB have to come through within this.
const LIMIT: Duration = Duration::from_secs(60);

impl Door<'_> {
    async fn open(&self) -> io::Result<Connection> {
        tokio::time::timeout(LIMIT, Connection::open(self.target, Arc::clone(&self.tls))).await?
    }

    /// A request with the login on it.
    fn request(&self, method: Method, path: &str, body: Body) -> io::Result<Request<Body>> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(io::Error::other)?;
        if let Some(login) = self.login {
            request.headers_mut().insert(AUTHORIZATION, login.clone());
        }
        Ok(request)
    }

    /// One request on a connection of its own.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Body,
    ) -> io::Result<Response<Bytes>> {
        let mut request = self.request(method, path, body)?;
        request.headers_mut().extend(headers);
        let mut connection = self.open().await?;
        tokio::time::timeout(LIMIT, connection.exchange(request)).await?
    }

    async fn begin(&self, headers: HeaderMap) -> io::Result<Response<Bytes>> {
        let path = format!(
            "{}/v2/{}/blobs/uploads/",
            self.target.prefix, self.repository
        );
        self.ask(Method::POST, &path, headers, empty()).await
    }

    /// A new upload, as a path.
    async fn session(&self) -> Option<String> {
        let answer = self.begin(HeaderMap::new()).await.ok()?;
        location::session(self.target, answer.headers())
    }

    /// How many bytes an upload has, if the registry says so. `session` follows its `Location`, which may
    /// tell how far it is.
    async fn received(&self, session: &mut String) -> Option<u64> {
        let answer = self
            .ask(Method::GET, session, HeaderMap::new(), empty())
            .await
            .ok()?;
        if let Some(path) = location::session(self.target, answer.headers()) {
            *session = path;
        }
        let range = answer.headers().get(RANGE)?.to_str().ok()?;
        let last: u64 = range.rsplit_once('-')?.1.parse().ok()?;
        // Of one byte and of none, `0-0` is said alike.
        Some(if last == 0 { 0 } else { last + 1 })
    }

    /// Cancels an upload, whose last request may still be under way.
    async fn cancel(&self, session: &str) -> Result<(), String> {
        const TRIES: u32 = 10;
        let mut said = String::new();
        for _ in 0..TRIES {
            match self
                .ask(Method::DELETE, session, HeaderMap::new(), empty())
                .await
            {
                Ok(answer)
                    if answer.status().is_success() || answer.status() == StatusCode::NOT_FOUND =>
                {
                    return Ok(());
                }
                Ok(answer) => said = format!("it answers {}", answer.status()),
                Err(error) => said = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Err(said)
    }
}

/// Begins uploads, sends them bodies, and cancels them.
pub(super) async fn examine(door: &Door<'_>) -> Vec<Finding> {
    let answer = match door.begin(HeaderMap::new()).await {
        Ok(answer) if answer.status() == StatusCode::ACCEPTED => answer,
        Ok(answer) => return vec![refused(door, &answer)],
        Err(error) => {
            return vec![Finding::error(
                "push",
                format!("an upload cannot be begun: {error}"),
                "look at the log of the registry, or of the proxy before it",
            )];
        }
    };
    let mut found = vec![location::examine(door, answer.headers().get(LOCATION)).await];
    let Some(session) = location::session(door.target, answer.headers()) else {
        return found;
    };
    found.extend(location::forwarded(door).await);
    found.extend(bodies::examine(door, &session).await);
    found.extend(cancelled(door, &session).await);
    found
}

async fn cancelled(door: &Door<'_>, session: &str) -> Option<Finding> {
    let why = door.cancel(session).await.err()?;
    Some(Finding::warning(
        "push",
        format!("the upload that was begun cannot be cancelled: {why}"),
        "let the proxy pass DELETE on; until then `storage.maintenance.uploadpurging` removes what was left",
    ))
}

/// Why no upload was begun.
fn refused(door: &Door<'_>, answer: &Response<Bytes>) -> Finding {
    let basic = |value: &HeaderValue| {
        value
            .to_str()
            .is_ok_and(|value| value.to_ascii_lowercase().starts_with("basic"))
    };
    let status = answer.status();
    match status {
        StatusCode::UNAUTHORIZED
            if !answer.headers().get_all(WWW_AUTHENTICATE).iter().any(basic) =>
        {
            Finding::ok(
                "push",
                "not looked at: the registry takes tokens of another server only",
            )
        }
        StatusCode::UNAUTHORIZED if door.login.is_none() => Finding::ok(
            "push",
            "Locations and limits of bodies were not looked at: name somebody who may push with --user NAME",
        ),
        StatusCode::UNAUTHORIZED => Finding::error(
            "push",
            "the registry does not take this user and password",
            "`registryd user list` names the users; `registryd user add NAME` gives a new password",
        ),
        StatusCode::FORBIDDEN => Finding::warning(
            "push",
            format!("this user may not push to {}", door.repository),
            "name a repository that the user may push to with --repository NAME",
        ),
        StatusCode::METHOD_NOT_ALLOWED => Finding::ok("push", "the registry takes no pushes"),
        StatusCode::PAYLOAD_TOO_LARGE => bodies::too_large(answer.headers(), "even an empty body"),
        status => Finding::error(
            "push",
            format!("the begin of an upload is answered {status}"),
            "look at the log of the registry, or of the proxy before it",
        ),
    }
}

fn header(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
    (
        HeaderName::from_static(name),
        HeaderValue::from_static(value),
    )
}
