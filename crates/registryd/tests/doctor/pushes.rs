//! What a push would meet.

use std::path::Path;

use super::*;

/// The findings about pushes, from a registry with these lines in its configuration and its `http`.
fn look(lines: &str, http: &str, arguments: &[&str]) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::with(folder.path(), lines, http);
    let url = format!("http://127.0.0.1:{}", server.1);
    let mut all = arguments.to_vec();
    all.push(&url);
    examine(folder.path(), &all).0
}

/// A server that answers heads. An empty answer cuts the connection.
pub(super) fn scripted(answer: fn(&str) -> String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<_> = lines
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .collect();
                let answer = answer(&head.join("\n"));
                let _ = stream.write_all(answer.as_bytes());
                if !answer.is_empty() {
                    // Closed with a body unread, a connection would be cut before the answer is heard.
                    let _ = std::io::copy(&mut stream, &mut std::io::sink());
                }
            });
        }
    });
    url
}

pub(super) fn answer(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n")
}

/// As a registry without a login answers, where nothing is wrong.
fn registry(head: &str) -> String {
    if head.contains("expect: 100-continue") {
        return "HTTP/1.1 100 Continue\r\n\r\n".to_owned();
    }
    let to = "Location: /v2/r/blobs/uploads/1\r\nRange: 0-9\r\n";
    let status = match head.split(' ').next().unwrap() {
        "POST" | "PATCH" => "202 Accepted",
        "DELETE" => "204 No Content",
        _ => "200 OK",
    };
    answer(status, to)
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn uploads_are_begun_and_cancelled_and_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let storage = "storage: {filesystem: {rootdirectory: data}}";
    let server = Running::with(folder.path(), storage, "");
    let url = format!("http://127.0.0.1:{}", server.1);
    let data = folder.path().join("data");
    let (findings, code) = examine(folder.path(), &["--no-push", &url]);
    assert_eq!(
        (finding(&findings, "location").0.as_str(), code),
        ("none", 1)
    );
    let (findings, code) = examine(folder.path(), &[&url]);
    for check in ["location", "forwarded", "body-size", "buffering"] {
        assert_eq!(finding(&findings, check).0, "ok", "{check} in {findings}");
    }
    // Only that it is plain HTTP is warned of.
    assert_eq!(code, 1, "{findings}");
    assert!(
        finding(&findings, "buffering").1.contains("at once"),
        "{findings}"
    );
    // Files of the store's own are there, such as locks, and nothing else.
    let own = data.join("docker/registry/v2/_registryd");
    let mut left = files(&data);
    left.retain(|path| !path.starts_with(&own) || path.to_string_lossy().contains("upload"));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_login_is_asked_for_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let user = [
        "user",
        "add",
        "alice",
        "--file",
        "users",
        "--password-stdin",
    ];
    let mut add = registryd(folder.path())
        .args(user)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    add.stdin.take().unwrap().write_all(b"s3cret\n").unwrap();
    assert!(add.wait().unwrap().success());
    let lines = "storage: inmemory\nauth: {htpasswd: {realm: r, path: users}}";
    let server = Running::with(folder.path(), lines, "");
    let url = format!("http://127.0.0.1:{}", server.1);

    let (findings, code) = examine(folder.path(), &[&url]);
    let (severity, what) = finding(&findings, "push");
    assert_eq!((severity.as_str(), code), ("ok", 1), "{findings}");
    assert!(what.contains("--user NAME"), "{what}");
    let (findings, _) = examine_as(folder.path(), &["--user", "alice", &url], "s3cret");
    assert_eq!(finding(&findings, "location").0, "ok", "{findings}");
    let (findings, code) = examine_as(folder.path(), &["--user", "alice", &url], "guess");
    assert_eq!((finding(&findings, "push").0.as_str(), code), ("error", 2));
}

#[test]
fn a_password_is_not_sent_to_whoever_shows_any_certificate() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), &["localhost"], 4000);
    let server = Running::start(folder.path());
    let url = format!("https://localhost:{}", server.1);
    let (findings, _) = examine_as(folder.path(), &["--user", "alice", &url], "s3cret");
    let (severity, what) = finding(&findings, "push");
    assert_eq!(severity, "warning", "{findings}");
    assert!(what.contains("was not sent"), "{what}");
    let trusting = ["--cacert", "tls.crt", "--user", "alice", &url];
    let (findings, code) = examine_as(folder.path(), &trusting, "s3cret");
    assert_eq!(finding(&findings, "location").0, "ok", "{findings}");
    assert_eq!(code, 0, "{findings}");
}

/// What is wrong with the certificate must not hide that nobody signed it.
#[test]
fn a_password_is_not_sent_to_whoever_shows_an_odd_certificate() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), &["localhost"], 4000);
    std::fs::copy(folder.path().join("tls.crt"), folder.path().join("ca.crt")).unwrap();
    for (until, usage) in [
        (4000, vec![ExtendedKeyUsagePurpose::ClientAuth]),
        (2021, vec![]),
        (2021, vec![ExtendedKeyUsagePurpose::ClientAuth]),
    ] {
        certificate_for(folder.path(), until, usage.clone());
        let server = Running::start(folder.path());
        let url = format!("https://localhost:{}", server.1);
        let trusting = ["--cacert", "ca.crt", "--user", "alice", &url];
        let (findings, code) = examine_as(folder.path(), &trusting, "s3cret");
        assert_eq!(code, 2, "{until} {usage:?}: {findings}");
        assert_eq!(finding(&findings, "trust").0, "error", "{findings}");
        let (_, what) = finding(&findings, "push");
        assert!(what.contains("was not sent"), "{until} {usage:?}: {what}");
    }
}

#[test]
fn a_registry_that_takes_no_pushes() {
    let findings = look(
        "storage: {inmemory: {}, maintenance: {readonly: {enabled: true}}}",
        "",
        &[],
    );
    let (severity, what) = finding(&findings, "push");
    assert_eq!(severity, "ok", "{findings}");
    assert!(what.contains("no pushes"), "{what}");
}

#[test]
fn a_location_that_names_another_host() {
    let findings = look("storage: inmemory", "host: https://registry.invalid:1", &[]);
    let (severity, what) = finding(&findings, "location");
    assert_eq!(severity, "error", "{findings}");
    assert!(
        what.contains("https://registry.invalid:1/v2/") && what.ends_with("no registry answers"),
        "{what}"
    );
    // What is asked next goes to where the registry was found.
    assert_eq!(finding(&findings, "body-size").0, "ok", "{findings}");
}

#[test]
fn clients_that_pose_as_proxies() {
    let findings = look(
        "storage: inmemory",
        "relativeurls: false\n  trustedproxies: [127.0.0.1]",
        &[],
    );
    assert_eq!(finding(&findings, "location").0, "ok", "{findings}");
    assert_eq!(finding(&findings, "forwarded").0, "warning", "{findings}");
}

#[test]
fn a_proxy_that_takes_the_path_away() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("{}/hub", scripted(registry));
    let (severity, what) = finding(&examine(folder.path(), &[&url]).0, "location");
    assert_eq!(severity, "error", "{what}");
    assert!(what.contains("/hub"), "{what}");
}

#[test]
fn a_proxy_that_takes_the_location_away() {
    let folder = tempfile::tempdir().unwrap();
    for (header, says) in [
        ("", "without a Location"),
        ("Location: v2\r\n", "neither a URL nor a path"),
    ] {
        let without: fn(&str) -> String = match header {
            "" => |_| answer("202 Accepted", ""),
            _ => |_| answer("202 Accepted", "Location: v2\r\n"),
        };
        let (findings, code) = examine(folder.path(), &[&scripted(without)]);
        let (severity, what) = finding(&findings, "location");
        assert_eq!(severity, "error", "{findings}");
        assert!(what.contains(says), "{what}");
        assert_eq!(code, 2);
    }
}

#[test]
fn bodies_that_are_too_large() {
    fn announced(head: &str) -> u64 {
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        length.map_or(0, |length| length.parse().unwrap())
    }
    fn limited(head: &str) -> String {
        if announced(head) > 600 << 20 {
            return answer("413 Payload Too Large", "");
        }
        registry(head)
    }
    fn cut(head: &str) -> String {
        if announced(head) > 100 << 20 {
            return String::new();
        }
        registry(head)
    }
    fn counting(head: &str) -> String {
        if head.contains("chunked") {
            return answer("413 Payload Too Large", "");
        }
        registry(head)
    }
    fn own(head: &str) -> String {
        if announced(head) > 0 {
            return answer(
                "413 Payload Too Large",
                "Docker-Distribution-Api-Version: registry/2.0\r\n",
            );
        }
        registry(head)
    }
    let folder = tempfile::tempdir().unwrap();
    for (script, says) in [
        (
            limited as fn(&str) -> String,
            "a proxy before the registry refuses a body of 1 GiB (one of 512 MiB may come)",
        ),
        (
            cut,
            "the connection is cut when a body of 128 MiB (one of 64 MiB may come) is announced",
        ),
        (counting, "refuses a body of 8 MiB with 413"),
        (own, "the registry refuses a body of 1 MiB with 413"),
    ] {
        let (findings, code) = examine(folder.path(), &[&scripted(script)]);
        let (severity, what) = finding(&findings, "body-size");
        assert_eq!((severity.as_str(), code), ("error", 2), "{findings}");
        assert!(what.contains(says), "{what}");
    }
}

#[test]
fn a_proxy_that_collects_bodies() {
    fn collecting(head: &str) -> String {
        // Of a body that does not come to its end, nothing gets through.
        if head.starts_with("PATCH") && head.contains("content-length: 2097152") {
            return "HTTP/1.1 100 Continue\r\n\r\n".to_owned();
        }
        let answer = registry(head).replace("Range: 0-9", "Range: 0--1");
        answer.replace("Connection: close", "Connection: close\r\nServer: nginx")
    }
    let folder = tempfile::tempdir().unwrap();
    let (findings, _) = examine(folder.path(), &[&scripted(collecting)]);
    let (severity, what) = finding(&findings, "buffering");
    assert_eq!(severity, "warning", "{findings}");
    assert!(what.contains("collects bodies"), "{what}");
}

#[test]
fn what_else_stands_between_a_client_and_an_upload() {
    fn forbidden(head: &str) -> String {
        if head.starts_with("POST") {
            answer("403 Forbidden", "")
        } else {
            registry(head)
        }
    }
    fn broken(head: &str) -> String {
        if head.starts_with("POST") {
            answer("502 Bad Gateway", "")
        } else {
            registry(head)
        }
    }
    fn tokens(head: &str) -> String {
        if head.starts_with("POST") {
            answer(
                "401 Unauthorized",
                "WWW-Authenticate: Bearer realm=\"https://t.lan\"\r\n",
            )
        } else {
            registry(head)
        }
    }
    fn kept(head: &str) -> String {
        if head.starts_with("DELETE") {
            answer("405 Method Not Allowed", "")
        } else {
            registry(head)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for (script, severity, says) in [
        (
            forbidden as fn(&str) -> String,
            "warning",
            "may not push to registryd-doctor",
        ),
        (broken, "error", "is answered 502"),
        (tokens, "ok", "tokens of another server"),
        (kept, "warning", "cannot be cancelled"),
    ] {
        let (findings, _) = examine(folder.path(), &[&scripted(script)]);
        let (found, what) = finding(&findings, "push");
        assert_eq!(found, severity, "{findings}");
        assert!(what.contains(says), "{what}");
    }
}
