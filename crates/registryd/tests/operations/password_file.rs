use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use oci_auth::htpasswd::{PasswordHash, line};

use crate::running::{BLOB, PATIENCE, Running, exchange, start};

fn users(names: &[&str]) -> String {
    let lines = names.iter().map(|name| {
        let hash = PasswordHash::new(name, PasswordHash::MIN_COST).unwrap();
        line(&name.parse().unwrap(), &hash) + "\n"
    });
    lines.collect()
}

/// A request of a user whose password is the name.
fn by(user: &str, request: &str) -> String {
    let credentials = BASE64.encode(format!("{user}:{user}"));
    format!("{request} HTTP/1.1\r\nAuthorization: Basic {credentials}")
}

fn until_status(server: &Running, user: &str, status: u16) {
    let begun = Instant::now();
    while server.ask(&by(user, "GET /v2/")).status != status {
        assert!(begun.elapsed() < PATIENCE, "{user}: never {status}");
    }
}

fn replace(dir: &Path, text: &str) {
    std::fs::write(dir.join("new"), text).unwrap();
    std::fs::rename(dir.join("new"), dir.join("users")).unwrap();
}

#[test]
fn no_pull_fails_while_the_password_file_is_replaced_or_rewritten_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    std::fs::write(&path, users(&["first", "puller"])).unwrap();
    let server = start(
        dir.path(),
        "version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0'}\nauth: {htpasswd: {path: users}}\n",
    );
    let push = by(
        "puller",
        &format!("POST /v2/a/blobs/uploads/?digest={BLOB}"),
    );
    assert_eq!(server.send(&push, b"hello").status, 201);

    let address = server.address.as_str();
    let (stop, pulls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let pull = || {
        let request = by("puller", &format!("GET /v2/a/blobs/{BLOB}"));
        let mut failed = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let answer = exchange(address, &request, b"");
            if answer.status != 200 || answer.body != "hello" {
                failed.push(answer.status);
            }
            pulls.fetch_add(1, Ordering::Relaxed);
        }
        failed
    };
    let more_pulls = |n| {
        // Not for long: a file that stays empty for two seconds is meant to be empty.
        let (before, begun) = (pulls.load(Ordering::Relaxed), Instant::now());
        while pulls.load(Ordering::Relaxed) < before + n && begun.elapsed() < SHORT {
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        let pullers: Vec<_> = (0..2).map(|_| scope.spawn(pull)).collect();
        // Whatever fails here, the others must end.
        let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for new in ["second", "third"] {
                replace(dir.path(), &users(&[new, "puller"]));
                until_status(&server, new, 200);
                until_status(&server, "first", 401);
            }
            // Long enough for some looks at the file, one each second, to find it empty or half written.
            let begun = Instant::now();
            let whole = users(&["third", "fourth", "puller"]);
            while begun.elapsed() < Duration::from_secs(4) {
                let mut file = std::fs::File::create(&path).unwrap();
                more_pulls(4);
                let (half, rest) = whole.split_at(whole.len() / 2);
                file.write_all(half.as_bytes()).unwrap();
                more_pulls(4);
                file.write_all(rest.as_bytes()).unwrap();
                more_pulls(1);
            }
            until_status(&server, "fourth", 200);
            // Who is taken out in place is refused all the same.
            std::fs::write(&path, users(&["puller"])).unwrap();
            until_status(&server, "fourth", 401);
        }));
        stop.store(true, Ordering::Relaxed);
        for puller in pullers {
            assert_eq!(puller.join().unwrap(), [0_u16; 0]);
        }
        changed.unwrap();
    });
}

const SHORT: Duration = Duration::from_millis(200);
