use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use crate::running::{BLOB, start};

#[test]
fn a_unix_socket_is_listened_on_and_goes_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.sock");
    let config = format!(
        "version: 0.1\nstorage: inmemory\nhttp: {{net: unix, addr: '{}'}}\n",
        path.display()
    );
    let mut server = start(dir.path(), &config);
    assert_eq!(server.address, path.to_str().unwrap());
    let mut stream = UnixStream::connect(&path).unwrap();
    stream
        .write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(server.terminate().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn draintimeout_is_how_long_a_request_in_flight_may_take_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let config = |time: &str| {
        format!(
            "version: 0.1\nstorage: inmemory\nhttp: {{addr: '127.0.0.1:0', draintimeout: {time}}}\n"
        )
    };
    for (time, shown, ends, code) in [
        // As good as none, and more than anybody waits.
        ("1ms", "timeout=1ms", false, 1),
        ("100h", "timeout=360000s", true, 0),
    ] {
        let mut server = start(dir.path(), &config(time));
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let head = format!(
            "POST /v2/a/blobs/uploads/?digest={BLOB} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\
             Expect: 100-continue\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // The server asks for the body, so the request is in flight.
        let mut go_on = [0; 12];
        stream.read_exact(&mut go_on).unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100");
        server.ask_to_stop();
        let line = server.wait_for("stopping: ");
        assert!(line.contains(shown), "{line}");
        if ends {
            stream.write_all(b"hello").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.contains("HTTP/1.1 201"), "{answer}");
        }
        assert_eq!(server.wait().code(), Some(code), "{time}");
    }
}
