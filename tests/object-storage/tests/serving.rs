//! registryd on a bucket: by variables alone, several replicas, and what it says when it cannot start.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests say what they expect, as tests do"
)]

use std::io::{Read, Write};
use std::net::TcpListener;

use oci_core::Digest;
use registry_object_storage_tests::moto::variables;
use registry_object_storage_tests::{Moto, Registryd, ask, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_registryd_on_a_bucket");

fn moto() -> &'static Moto {
    Moto::shared(env!("CARGO_TARGET_TMPDIR"))
}

#[test]
fn variables_alone_let_it_serve_and_no_secret_is_in_the_log() {
    let registryd = Registryd::start(BINARY, &moto().variables(&moto().fresh_root())).unwrap();
    assert!(
        registryd
            .said
            .iter()
            .any(|line| line.contains("any number of replicas may use it")),
        "{:#?}",
        registryd.said
    );
    assert!(
        !registryd
            .said
            .iter()
            .any(|line| line.contains("tests-secret"))
    );
    let answer = ask(&registryd.address, "GET", "/v2/", &[], b"").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn the_requests_of_one_upload_go_to_two_replicas_and_survive_one_of_them() {
    let root = moto().fresh_root();
    let mut one = Registryd::start(BINARY, &moto().variables(&root)).unwrap();
    let two = Registryd::start(BINARY, &moto().variables(&root)).unwrap();

    // Small pieces, which are no parts yet, and a large one.
    let lengths = [300_000, 1, 70_000, 6 << 20, 5000, 12 << 20, 400_000, 77];
    let content: Vec<u8> = (0..lengths.iter().sum::<usize>())
        .map(|n| u8::try_from(n / 251 % 256).unwrap())
        .collect();
    let begun = ask(&one.address, "POST", "/v2/a/blobs/uploads/", &[], b"").unwrap();
    assert_eq!(begun.status, 202);
    let mut location = begun.header("location").unwrap().to_owned();
    let mut offset = 0;
    for (n, length) in lengths.into_iter().enumerate() {
        if n == 5 {
            one.kill().unwrap();
        }
        let replica = if n % 2 == 0 && n < 5 { &one } else { &two };
        let range = format!("{offset}-{}", offset + length - 1);
        let piece = &content[offset..offset + length];
        let headers = [("content-range", range.as_str())];
        let answer = ask(&replica.address, "PATCH", &location, &headers, piece).unwrap();
        assert_eq!(answer.status, 202, "{n}: {answer:?}");
        offset += length;
        let accepted = format!("0-{}", offset - 1);
        assert_eq!(answer.header("range"), Some(accepted.as_str()));
        answer.header("location").unwrap().clone_into(&mut location);
    }
    let digest = Digest::sha256(&content);
    let separator = if location.contains('?') { '&' } else { '?' };
    let target = format!("{location}{separator}digest={digest}");
    let third = Registryd::start(BINARY, &moto().variables(&root)).unwrap();
    let closed = ask(&third.address, "PUT", &target, &[], b"").unwrap();
    assert_eq!(closed.status, 201, "{closed:?}");
    let target = format!("/v2/a/blobs/{digest}");
    let pulled = ask(&two.address, "GET", &target, &[], b"").unwrap();
    assert_eq!(pulled.status, 200);
    assert!(pulled.body == content, "{} bytes", pulled.body.len());
    let headers = [("range", "bytes=6370000-6370003")];
    let part = ask(&two.address, "GET", &target, &headers, b"").unwrap();
    assert_eq!(part.status, 206);
    assert_eq!(part.body, content[6_370_000..=6_370_003]);
}

#[test]
fn what_keeps_it_from_starting_is_said_with_the_key_and_the_fix() {
    let says = |variables: &[(String, String)], expected: &[&str]| {
        let text = refusal(BINARY, variables).unwrap();
        for expected in expected {
            assert!(text.contains(expected), "no {expected:?} in {text}");
        }
        assert!(!text.contains("tests-secret"), "{text}");
    };
    says(
        &variables(&moto().endpoint(), "nobodys", ""),
        &[
            "s3://nobodys at http://127.0.0.1",
            "there is no such bucket",
            "create it, or correct `storage.s3.bucket`",
        ],
    );
    // A port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    says(
        &variables(&nobody, "layers", ""),
        &[
            "the endpoint cannot be reached",
            "`storage.s3.regionendpoint`",
            &nobody,
        ],
    );
    for (status, body, expected) in [
        (
            "403 Forbidden",
            "<Error><Code>SignatureDoesNotMatch</Code></Error>",
            ["does not accept the credentials", "`storage.s3.secretkey`"],
        ),
        (
            "403 Forbidden",
            "<Error><Code>AccessDenied</Code></Error>",
            [
                "do not allow what the registry needs",
                "allow reading, writing",
            ],
        ),
        (
            "400 Bad Request",
            "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>",
            ["another region: eu-west-3", "`storage.s3.region`"],
        ),
    ] {
        let endpoint = always(status, body);
        says(&variables(&endpoint, "layers", ""), &expected);
    }
}

/// A service that ignores conditions: one replica, with a warning that says so, and it works.
#[test]
fn a_service_that_keeps_no_conditions_serves_one_replica_with_a_warning() {
    let endpoint = without_conditions(moto().endpoint().trim_start_matches("http://").to_owned());
    let root = moto().fresh_root();
    let registryd = Registryd::start(BINARY, &variables(&endpoint, "layers", &root)).unwrap();
    let warned = registryd.said.iter().any(|line| {
        line.contains("WARN")
            && line.contains("only one replica may use it")
            && line.contains("ignores `If-None-Match: *`")
    });
    assert!(warned, "{:#?}", registryd.said);
    let content = vec![7; 100_000];
    let digest = Digest::sha256(&content);
    let target = format!("/v2/a/blobs/uploads/?digest={digest}");
    let pushed = ask(&registryd.address, "POST", &target, &[], &content).unwrap();
    assert_eq!(pushed.status, 201, "{pushed:?}");
    let target = format!("/v2/a/blobs/{digest}");
    let pulled = ask(&registryd.address, "GET", &target, &[], b"").unwrap();
    assert!(pulled.body == content);
}

/// A server that answers everything the same.
fn always(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut head = [0; 16 << 10];
                let _ = stream.read(&mut head);
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\ncontent-type: application/xml\r\n\
                     content-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
            });
        }
    });
    format!("http://{address}")
}

/// Passes requests on to `address`, without the conditions of writes.
fn without_conditions(address: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let address = address.clone();
            std::thread::spawn(move || pass_on(stream, &address));
        }
    });
    format!("http://{proxy}")
}

fn pass_on(mut client: std::net::TcpStream, address: &str) -> Option<()> {
    let mut request = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let (end, length) = loop {
        let read = client.read(&mut buffer).ok()?;
        request.extend_from_slice(&buffer[..read]);
        if let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .and_then(|length| length.trim().parse::<usize>().ok());
            break (end + 4, length.unwrap_or(0));
        }
        if read == 0 {
            return None;
        }
    };
    while request.len() < end + length {
        let read = client.read(&mut buffer).ok()?;
        request.extend_from_slice(&buffer[..read]);
    }
    let head = String::from_utf8_lossy(&request[..end]).into_owned();
    let kept = head.split_inclusive("\r\n").filter(|line| {
        let line = line.to_ascii_lowercase();
        !line.starts_with("if-none-match:") && !line.starts_with("if-match:")
    });
    let head: String = kept.collect();
    let mut server = std::net::TcpStream::connect(address).ok()?;
    server.write_all(head.as_bytes()).ok()?;
    server.write_all(&request[end..]).ok()?;
    // The server closes after each answer.
    std::io::copy(&mut server, &mut client).ok()?;
    Some(())
}
