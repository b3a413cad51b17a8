//! Where a registry sends clients on to.

use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use super::{Door, Finding, header};
use crate::cli::client::{Connection, Place, Target};
use crate::tls::Seen;

const RELATIVE: &str = "remove `http.host` and `http.relativeurls: false` from the configuration: relative Locations are right behind every proxy";

/// Whether clients that follow the `Location` come back to where they were.
pub(super) async fn examine(door: &Door<'_>, location: Option<&HeaderValue>) -> Finding {
    let Some(location) = location else {
        return Finding::error(
            "location",
            "an upload is begun without a Location, so no push goes on",
            "let the proxy in front pass that header on",
        );
    };
    let shown = String::from_utf8_lossy(location.as_bytes()).into_owned();
    let Some(parsed) = parse(&shown) else {
        return Finding::error(
            "location",
            format!("the Location of an upload is neither a URL nor a path: {shown}"),
            "look at what the proxy in front makes of that header",
        );
    };
    let (origin, path) = parsed;
    match origin {
        Some(origin) if !same_place(&origin, door.target) => {
            elsewhere(door, &origin, &shown, path).await
        }
        origin if !path.starts_with(&format!("{}/v2/", door.target.prefix)) => Finding::error(
            "location",
            format!(
                "the Location of an upload, {path}, lacks the path that the registry was asked below, {}",
                door.target.prefix
            ),
            format!(
                "set `http.prefix: {}/`, and let the proxy pass paths on unchanged{}",
                door.target.prefix,
                if origin.is_some() {
                    ", or name the path in `http.host` too"
                } else {
                    ""
                }
            ),
        ),
        Some(_) => Finding::ok("location", "uploads go on at the host that was asked"),
        None => Finding::ok(
            "location",
            "the Location of an upload is relative, which is right behind every proxy",
        ),
    }
}

/// The path of an upload's session, to be asked at the target whatever the `Location` says.
pub(super) fn session(target: &Target, headers: &HeaderMap) -> Option<String> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    let (_, path) = parse(location)?;
    Some(if path.starts_with(&format!("{}/v2/", target.prefix)) {
        path.to_owned()
    } else {
        format!("{}{path}", target.prefix)
    })
}

/// Scheme, host and port if there are any, and the path.
fn parse(location: &str) -> Option<(Option<Target>, &str)> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some((None, location));
    }
    let (_, rest) = location.split_once("://")?;
    let slash = rest.find('/')?;
    let path = rest.get(slash..)?;
    let origin = location.strip_suffix(path)?;
    let uri: Uri = path.parse().ok()?;
    uri.path().starts_with('/').then_some(())?;
    Some((Some(origin.parse().ok()?), path))
}

fn same_place(one: &Target, other: &Target) -> bool {
    one.tls == other.tls
        && match (&one.place, &other.place) {
            (Place::Tcp(one, port), Place::Tcp(other, other_port)) => {
                one.eq_ignore_ascii_case(other) && port == other_port
            }
            _ => false,
        }
}

/// The `Location` names another place: whether one gets there, and what makes it right.
async fn elsewhere(door: &Door<'_>, origin: &Target, shown: &str, path: &str) -> Finding {
    let target = door.target;
    let what = format!("an upload begun at {target} is to go on at {shown}");
    let why = match (&target.place, &origin.place) {
        _ if target.tls && !origin.tls => {
            "behind a proxy that ends TLS, the registry is not told so: nginx: `proxy_set_header X-Forwarded-Proto $scheme`, and the proxy's address in `http.trustedproxies`"
        }
        (Place::Tcp(one, _), Place::Tcp(other, _)) if one.eq_ignore_ascii_case(other) => {
            "the proxy leaves out the port: nginx: `proxy_set_header Host $http_host` instead of `$host`, and the proxy's address in `http.trustedproxies`"
        }
        _ => {
            "the proxy hides the host that was asked: nginx: `proxy_set_header Host $http_host`, or X-Forwarded-Host, and the proxy's address in `http.trustedproxies`; or `http.host` names another host"
        }
    };
    let fix = format!("{RELATIVE}; or: {why}");
    if !answers(origin, path).await {
        let what = format!("{what}, where no registry answers");
        return Finding::error("location", what, fix);
    }
    // Passwords follow it there.
    if target.tls && !origin.tls {
        return Finding::error("location", format!("{what}, without TLS"), fix);
    }
    Finding::warning("location", format!("{what}, which answers"), fix)
}

/// Whether a registry is there. It is asked without a password: it may be anybody.
async fn answers(origin: &Target, path: &str) -> bool {
    let asked = async {
        let config = Seen::default().recording(None).ok()?;
        let mut connection = Connection::open(origin, config).await.ok()?;
        let answer = connection.send(Method::GET, path, HeaderMap::new()).await;
        Some(answer.ok()?.status())
    };
    let status = tokio::time::timeout(super::LIMIT / 6, asked).await;
    matches!(
        status,
        Ok(Some(
            StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::UNAUTHORIZED
        ))
    )
}

/// Begins another upload with the headers that only a proxy should send: what a client sends in them must
/// not decide where others are sent.
pub(super) async fn forwarded(door: &Door<'_>) -> Option<Finding> {
    let forged = HeaderMap::from_iter([
        header(
            "x-forwarded-proto",
            if door.target.tls { "http" } else { "https" },
        ),
        header("x-forwarded-host", ELSEWHERE),
        header("x-forwarded-port", "1"),
    ]);
    let answer = door.begin(forged).await.ok()?;
    let location = answer.headers().get(LOCATION)?;
    let believed = String::from_utf8_lossy(location.as_bytes()).contains(ELSEWHERE);
    if let Some(session) = session(door.target, answer.headers()) {
        // That of the first upload tells whether cancelling works.
        let _ = door.cancel(&session).await;
    }
    Some(if believed {
        Finding::warning(
            "forwarded",
            "the X-Forwarded-Host that a client sends decides where its upload goes on",
            "let the proxy overwrite X-Forwarded-Proto and X-Forwarded-Host, and name nobody but it in `http.trustedproxies`",
        )
    } else {
        Finding::ok(
            "forwarded",
            "X-Forwarded-* of clients does not change where uploads go on",
        )
    })
}

/// A host that nobody has.
const ELSEWHERE: &str = "elsewhere.invalid";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_paths_or_urls() {
        assert_eq!(parse("/v2/a").unwrap(), (None, "/v2/a"));
        let (origin, path) = parse("https://r.lan/v2/a/blobs/uploads/1?_state=x").unwrap();
        assert_eq!(origin.unwrap().to_string(), "https://r.lan:443");
        assert_eq!(path, "/v2/a/blobs/uploads/1?_state=x");
        for odd in [
            "",
            "v2/a",
            "//r.lan/v2/",
            "https://r.lan",
            "ftp://r.lan/v2/",
        ] {
            assert!(parse(odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn a_session_is_asked_where_the_registry_is() {
        let target: Target = "https://r.lan/hub".parse().unwrap();
        let at = |location: &'static str| {
            let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(location))]);
            session(&target, &headers).unwrap()
        };
        assert_eq!(at("/hub/v2/a/1"), "/hub/v2/a/1");
        assert_eq!(at("http://other:1/v2/a/1"), "/hub/v2/a/1");
    }
}
