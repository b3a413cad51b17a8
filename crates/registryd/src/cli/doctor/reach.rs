//! A registry as a client sees it, one step after the other until one fails.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{DATE, SERVER, VIA, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use oci_core::RepositoryName;
use tokio::net::{TcpStream, lookup_host};

use super::push::{self, Door};
use super::{Finding, Severity, clients, trust};
use crate::cli::client::{Connection, Place, Target, wants_a_certificate};
use crate::tls::{Identity, Seen};

const LIMIT: Duration = Duration::from_secs(10);

/// Differences of clocks up to this long harm nobody.
const CLOCKS: Duration = Duration::from_secs(60);

/// How a registry is to be looked at.
pub(super) struct Look<'a> {
    pub(super) target: &'a Target,
    /// Authorities to trust beside this machine's.
    pub(super) cacert: Option<&'a Path>,
    /// What stands for `/` where the settings of this machine's clients are read.
    pub(super) root: &'a Path,
    /// For registries that ask clients for a certificate.
    pub(super) identity: Option<Identity>,
    /// The `Authorization` of somebody who may push.
    pub(super) login: Option<HeaderValue>,
    /// Where uploads are begun and cancelled, if they may be.
    pub(super) repository: Option<&'a RepositoryName>,
}

pub(super) async fn examine(look: &Look<'_>) -> anyhow::Result<Vec<Finding>> {
    let target = look.target;
    let mut found = Vec::new();
    let Place::Tcp(host, port) = &target.place else {
        return Ok(found);
    };
    let Some(addresses) = connect(host, *port, &mut found).await else {
        return Ok(found);
    };
    let seen = Seen::default();
    let answer = match ask(look, &seen).await {
        Ok(answer) if target.tls || answer.status() != StatusCode::BAD_REQUEST => Some(answer),
        Err(error) if target.tls && wants_a_certificate(&seen, &error) => {
            found.push(certificate_wanted(look));
            None
        }
        _ => {
            found.push(mismatch(look).await);
            return Ok(found);
        }
    };
    let mut vouched = true;
    if target.tls {
        let of_certificate = trust::examine(&seen, look, host)?;
        vouched = of_certificate
            .iter()
            .all(|one| one.severity != Severity::Error);
        found.extend(of_certificate);
    } else {
        found.push(Finding::warning(
            "tls",
            "passwords and images go over the network in plain text",
            "set `http.tls.certificate` and `http.tls.key`; docker and containerd refuse plain HTTP unless they are told otherwise",
        ));
    }
    let client = clients::Asked {
        tls: target.tls,
        host,
        names: clients::names(target),
        addresses: &addresses,
        chain: &seen.chain(),
    };
    found.extend(clients::examine(&client, look.root));
    let Some(answer) = answer else {
        return Ok(found);
    };
    found.push(api(&answer));
    found.extend(clock(answer.headers(), SystemTime::now()));
    if let Some(repository) = look.repository {
        let door = Door {
            target,
            tls: match seen.chain().into_iter().next() {
                Some(leaf) => seen.only(leaf, look.identity.clone())?,
                None => seen.recording(look.identity.clone())?,
            },
            login: look.login.as_ref().filter(|_| vouched),
            repository,
            proxied: [SERVER, VIA]
                .iter()
                .any(|name| answer.headers().contains_key(name)),
        };
        if look.login.is_some() && !vouched {
            found.push(Finding::warning(
                "push",
                "the password was not sent: the certificate is not what it should be",
                "see to the findings about the certificate first, or name its authority with --cacert FILE",
            ));
        } else {
            found.extend(push::examine(&door).await);
        }
    }
    Ok(found)
}

/// The addresses of a host on which something listens; what was found on the way is added.
async fn connect(host: &str, port: u16, found: &mut Vec<Finding>) -> Option<Vec<SocketAddr>> {
    let addresses: Vec<_> = match lookup_host((host, port)).await {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            found.push(Finding::error(
                "dns",
                format!("{host} has no address: {error}"),
                format!(
                    "add it to your DNS, or a line `ADDRESS {host}` to /etc/hosts of each client"
                ),
            ));
            return None;
        }
    };
    let shown: Vec<_> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    found.push(Finding::ok(
        "dns",
        format!("{host} is {}", shown.join(", ")),
    ));
    let why = match tokio::time::timeout(LIMIT, TcpStream::connect(addresses.as_slice())).await {
        Ok(Ok(_)) => {
            found.push(Finding::ok("tcp", format!("port {port} is open")));
            return Some(addresses);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer".to_owned(),
    };
    found.push(Finding::error(
        "tcp",
        format!("cannot connect to port {port}: {why}"),
        "start the registry, publish its port, or open it in the firewall",
    ));
    None
}

/// With `clientauth`, a registry speaks with nobody who has no certificate.
fn certificate_wanted(look: &Look<'_>) -> Finding {
    if look.identity.is_some() {
        return Finding::error(
            "client-certificate",
            "the registry does not take the certificate of `--cert`",
            "show one that an authority of `http.tls.clientcas` has signed for clients, and that is valid now",
        );
    }
    Finding::warning(
        "client-certificate",
        "the registry asks clients for a certificate, so nothing behind it was looked at",
        format!(
            "give one that its `http.tls.clientcas` vouch for: --cert FILE --key FILE; docker takes it from client.cert and client.key in /etc/docker/certs.d/{}",
            look.target.name()
        ),
    )
}

/// `GET /v2/`, whatever certificate is shown.
async fn ask(look: &Look<'_>, seen: &Seen) -> io::Result<Response<Bytes>> {
    let exchange = async {
        let config = seen
            .recording(look.identity.clone())
            .map_err(io::Error::other)?;
        let mut connection = Connection::open(look.target, config).await?;
        let path = format!("{}/v2/", look.target.prefix);
        connection.send(Method::GET, &path, HeaderMap::new()).await
    };
    tokio::time::timeout(LIMIT, exchange).await?
}

/// Something listens that does not answer: whether it would in the other scheme.
async fn mismatch(look: &Look<'_>) -> Finding {
    let target = look.target;
    let other = Target {
        tls: !target.tls,
        ..target.clone()
    };
    let seen = Seen::default();
    let again = Look {
        target: &other,
        identity: look.identity.clone(),
        login: None,
        ..*look
    };
    let answers = match ask(&again, &seen).await {
        Ok(answer) => !target.tls || answer.status() != StatusCode::BAD_REQUEST,
        Err(error) => !target.tls && wants_a_certificate(&seen, &error),
    };
    match (answers, target.tls) {
        (true, true) => Finding::error(
            "scheme",
            format!(
                "{target} speaks plain HTTP; docker says `server gave HTTP response to HTTPS client`"
            ),
            format!(
                "set `http.tls.certificate` and `http.tls.key` at the registry, or use {other} and list it under `insecure-registries` of docker's daemon.json"
            ),
        ),
        (true, false) => Finding::error(
            "scheme",
            format!("{target} speaks TLS"),
            format!("use {other}"),
        ),
        (false, _) => Finding::error(
            "scheme",
            format!("what listens at {target} speaks neither HTTP nor TLS"),
            "look at what has the port: it is no registry",
        ),
    }
}

/// Whether it is a registry, and one that clients can log in to.
fn api(answer: &Response<Bytes>) -> Finding {
    let is_registry = answer
        .headers()
        .contains_key("docker-distribution-api-version");
    match answer.status() {
        StatusCode::OK => Finding::ok("api", "a registry; /v2/ needs no login"),
        StatusCode::UNAUTHORIZED if answer.headers().contains_key(WWW_AUTHENTICATE) => {
            Finding::ok("api", "a registry that asks for a login")
        }
        StatusCode::UNAUTHORIZED => Finding::error(
            "api",
            "/v2/ answers 401 without WWW-Authenticate, so no client sends its password",
            "let the proxy in front pass that header on",
        ),
        StatusCode::NOT_FOUND if !is_registry => Finding::error(
            "api",
            "/v2/ is not found: no registry, or one behind a proxy that changes paths",
            "pass the path on unchanged, beginning with /v2/",
        ),
        status => Finding::error(
            "api",
            format!("/v2/ answers {status}"),
            "look at the log of the registry, or of the proxy before it",
        ),
    }
}

/// Certificates and tokens are valid by the clock of whoever looks.
fn clock(headers: &HeaderMap, now: SystemTime) -> Option<Finding> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let Some(theirs) = parse(date) else {
        return Some(Finding::warning(
            "clock",
            format!("the date {date:?} is not HTTP's"),
            "look at the proxy in front",
        ));
    };
    let (apart, who) = match theirs.duration_since(now) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(error) => (error.duration(), "behind"),
    };
    Some(if apart > CLOCKS {
        Finding::warning(
            "clock",
            format!(
                "the registry's clock is {} s {who} this machine's",
                apart.as_secs()
            ),
            "let both take the time from NTP: certificates seem expired or not yet valid",
        )
    } else {
        Finding::ok("clock", "both clocks agree")
    })
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn parse(date: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = date.split_once(", ")?.1.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = u64::try_from(MONTHS.iter().position(|month| *month == name)?).ok()? + 1;
    let year: u64 = words
        .next()?
        .parse()
        .ok()
        .filter(|year| (1970..10_000).contains(year))?;
    let mut time = words
        .next()?
        .split(':')
        .map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years that begin in March have their leap day last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days =
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http() {
        let seconds = |date: &str| {
            parse(date).map(|time| {
                time.duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap()
                    .as_secs()
            })
        };
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(
            seconds("Thu, 29 Feb 2024 23:59:59 GMT"),
            Some(1_709_251_199)
        );
        for bad in [
            "",
            "Sun, 06 Nov 1994",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 18446744073709551615 08:49:37 GMT",
            "Sun, 99 Nov 1994 99:99:99 GMT",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn clocks_that_differ() {
        let mut headers = HeaderMap::new();
        assert!(clock(&headers, SystemTime::now()).is_none());
        headers.insert(DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        let at = |seconds| {
            clock(
                &headers,
                SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            )
            .unwrap()
        };
        assert_eq!(at(784_111_777 + 5).severity, Severity::Ok);
        let behind = at(784_111_777 + 3600);
        assert_eq!(
            behind.what,
            "the registry's clock is 3600 s behind this machine's"
        );
        assert!(at(784_111_777 - 3600).what.contains("3600 s ahead of"));
        headers.insert(DATE, "yesterday".parse().unwrap());
        let odd = clock(&headers, SystemTime::now()).unwrap();
        assert_eq!(odd.severity, Severity::Warning);
    }
}
