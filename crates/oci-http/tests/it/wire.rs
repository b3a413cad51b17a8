//! What only shows on a real connection: answers that come before the body was read.

use std::io;
use std::time::{Duration, Instant};

use oci_http::testing::{self, TestRegistry};
use oci_http::{MemoryStore, Registry, RegistryService};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const MIB: usize = 1024 * 1024;

async fn begin(registry: &TestRegistry) -> String {
    let head = "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let mut stream = TcpStream::connect(registry.addr()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let reply = read_head(&mut stream).await.unwrap();
    let location = reply
        .lines()
        .find_map(|line| line.strip_prefix("location: "));
    location.unwrap().trim().to_owned()
}

/// Up to the end of the headers.
async fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(head).unwrap())
}

/// The whole answer, up to the length it states. An error if the connection is reset before.
async fn read_answer(stream: &mut TcpStream) -> io::Result<(String, String)> {
    let head = read_head(stream).await?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await?;
    Ok((head, String::from_utf8(body).unwrap()))
}

fn patch(location: &str, headers: &str) -> String {
    format!(
        "PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-range: 5-{}\r\n{headers}\r\n\r\n",
        MIB + 4
    )
}

#[tokio::test]
async fn a_refused_mebibyte_does_not_reset_the_connection() {
    let registry = testing::spawn().await.unwrap();
    for _ in 0..20 {
        let location = begin(&registry).await;
        let mut stream = TcpStream::connect(registry.addr()).await.unwrap();
        let head = patch(&location, &format!("content-length: {MIB}"));
        stream.write_all(head.as_bytes()).await.unwrap();
        // The whole body before the first look at the answer.
        stream.write_all(&vec![b'x'; MIB]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (head, body) = read_answer(&mut stream).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 416 "), "{head}");
        assert!(body.contains("RANGE_INVALID"), "{body}");
        // The connection goes on.
        stream
            .write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let (head, _) = read_answer(&mut stream).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
}

#[tokio::test]
async fn the_same_in_chunks_of_unknown_number() {
    let registry = testing::spawn().await.unwrap();
    let location = begin(&registry).await;
    let mut stream = TcpStream::connect(registry.addr()).await.unwrap();
    stream
        .write_all(patch(&location, "transfer-encoding: chunked").as_bytes())
        .await
        .unwrap();
    for _ in 0..16 {
        stream.write_all(b"10000\r\n").await.unwrap();
        stream.write_all(&vec![b'x'; 65536]).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let (head, _) = read_answer(&mut stream).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 416 "), "{head}");
}

#[tokio::test]
async fn a_client_that_waits_for_the_answer_is_not_told_to_send() {
    let registry = testing::spawn().await.unwrap();
    let location = begin(&registry).await;
    let headers = format!("content-length: {MIB}\r\nexpect: 100-continue");
    let mut stream = TcpStream::connect(registry.addr()).await.unwrap();
    stream
        .write_all(patch(&location, &headers).as_bytes())
        .await
        .unwrap();
    let (head, _) = read_answer(&mut stream).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 416 "), "{head}");
    assert!(head.contains("connection: close"), "{head}");

    // One that is welcome is.
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n"
    );
    let mut stream = TcpStream::connect(registry.addr()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(
        read_head(&mut stream)
            .await
            .unwrap()
            .starts_with("HTTP/1.1 100 ")
    );
    stream.write_all(b"abc").await.unwrap();
    let (head, _) = read_answer(&mut stream).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 202 "), "{head}");
}

#[tokio::test]
async fn a_long_body_is_answered_at_once() {
    let registry = testing::spawn().await.unwrap();
    let head = format!(
        "PUT /v2/a/manifests/t HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        1024 * MIB
    );
    let mut stream = TcpStream::connect(registry.addr()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (head, body) = read_answer(&mut stream).await.unwrap();
    assert!(
        head.starts_with("HTTP/1.1 413 ") && head.contains("connection: close"),
        "{head}"
    );
    assert!(body.contains("MANIFEST_INVALID"), "{body}");
}

#[tokio::test]
async fn a_slow_rest_is_given_one_second() {
    let registry = testing::spawn().await.unwrap();
    let location = begin(&registry).await;
    let mut stream = TcpStream::connect(registry.addr()).await.unwrap();
    let started = Instant::now();
    let head = patch(&location, &format!("content-length: {MIB}"));
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"only a little").await.unwrap();
    let (head, _) = read_answer(&mut stream).await.unwrap();
    assert!(
        head.starts_with("HTTP/1.1 416 ") && head.contains("connection: close"),
        "{head}"
    );
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
}

#[tokio::test]
async fn the_limit_of_the_rest_can_be_set() {
    let service = RegistryService::builder(Registry::new(MemoryStore::new()))
        .drain_limit(10)
        .build()
        .unwrap();
    let registry = testing::builder()
        .with_service(service)
        .spawn()
        .await
        .unwrap();
    for (length, kept) in [(10, true), (11, false)] {
        let head = format!("POST /v2/ HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        let mut stream = TcpStream::connect(registry.addr()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; length]).await.unwrap();
        let (head, _) = read_answer(&mut stream).await.unwrap();
        assert_eq!(!head.contains("connection: close"), kept, "{head}");
    }
}

#[test]
fn a_test_registry_ends_with_its_value() {
    let registry = testing::spawn_blocking().unwrap();
    let addr = registry.addr();
    assert_eq!(registry.url(), format!("http://{addr}"));
    assert_eq!(registry.reference("app:v1"), format!("{addr}/app:v1"));
    assert!(std::net::TcpStream::connect(addr).is_ok());
    drop(registry);
    assert!(std::net::TcpStream::connect(addr).is_err());
}
