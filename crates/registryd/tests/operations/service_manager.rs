use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use crate::running::{PATIENCE, Running};

#[test]
fn the_service_manager_is_told_and_hands_over_its_socket() {
    let dir = tempfile::tempdir().unwrap();
    let notified = dir.path().join("notify");
    let manager = UnixDatagram::bind(&notified).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
    let descriptor = listener.as_raw_fd().to_string();
    let mut server = Running::new(
        dir.path(),
        // Port 1 could not be bound, and is not what is served.
        "version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:1'}\n",
        &[
            ("NOTIFY_SOCKET", notified.to_str().unwrap()),
            ("LISTEN_FDS", "1"),
            ("LISTEN_FDS_FIRST_FD", &descriptor),
        ],
    );
    let mut message = [0; 128];
    let length = manager.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"READY=1\n");
    assert_eq!(server.address, listener.local_addr().unwrap().to_string());
    assert_eq!(server.ask("GET /v2/ HTTP/1.1").status, 200);
    // The manager keeps its own; here it would take the connections of nobody.
    drop(listener);
    assert_eq!(server.terminate().code(), Some(0));
    let length = manager.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"STOPPING=1\n");
}
