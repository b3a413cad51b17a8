//! A registry that does one thing wrong.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The last byte of what is pulled is another.
    Bytes,
    /// A byte of what is pulled is missing, and not announced.
    Short,
    /// The connection closes before the announced end.
    CutOff,
    /// A push is answered with 200.
    PushStatus,
    /// A pull is answered with 206.
    PullStatus,
    /// The digest of what is pulled is another.
    DigestHeader,
    /// No answer has a digest.
    NoDigestHeader,
    /// An upload session has no place.
    NoLocation,
    /// What comes is not HTTP.
    NotHttp,
}

/// Its server, which runs until the test ends.
pub(crate) struct WrongRegistry {
    address: SocketAddr,
}

/// Content by path, with its digest.
type Store = Arc<Mutex<HashMap<String, (Vec<u8>, String)>>>;

impl WrongRegistry {
    pub(crate) fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let store = Store::default();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let store = Arc::clone(&store);
                // A client that found the fault hangs up.
                thread::spawn(move || serve(&stream.unwrap(), fault, &store));
            }
        });
        Self { address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn serve(stream: &TcpStream, fault: Fault, store: &Store) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .ok()
            .filter(|length| *length > 0)?;
        let mut words = line.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            if header == "\r\n" {
                break;
            }
            if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let answer = answer(&method, &target, body, fault, store);
        (&*stream).write_all(&answer).ok()?;
        if fault == Fault::CutOff && method == "GET" && target.contains("/blobs/") {
            return None;
        }
    }
}

fn answer(method: &str, target: &str, body: Vec<u8>, fault: Fault, store: &Store) -> Vec<u8> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut store = store.lock().unwrap();
    match method {
        "POST" if fault == Fault::NotHttp => b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(),
        "POST" if fault == Fault::NoLocation => head("202 Accepted", 0, ""),
        "POST" => head("202 Accepted", 0, &format!("Location: {path}session\r\n")),
        "PUT" => {
            let digest = match query.strip_prefix("digest=") {
                Some(digest) => digest.to_owned(),
                None => format!(
                    "sha256:{}",
                    hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&body))
                ),
            };
            let name = match path.split_once("/uploads/") {
                Some((blobs, _)) => format!("{blobs}/{digest}"),
                None => path.to_owned(),
            };
            let status = if fault == Fault::PushStatus {
                "200 OK"
            } else {
                "201 Created"
            };
            let header = digest_header(&digest, fault);
            if let Some((manifests, _)) = name.split_once("/manifests/") {
                store.insert(
                    format!("{manifests}/manifests/{digest}"),
                    (body.clone(), digest.clone()),
                );
            }
            store.insert(name, (body, digest));
            head(status, 0, &header)
        }
        _ => {
            let Some((content, digest)) = store.get(path) else {
                return head("200 OK", 0, "");
            };
            let mut content = content.clone();
            let mut digest = digest.clone();
            let announced = content.len();
            match fault {
                Fault::Bytes => *content.last_mut().unwrap() ^= 1,
                Fault::Short => content.truncate(announced - 1),
                Fault::DigestHeader => digest = format!("sha256:{}", "0".repeat(64)),
                _ => {}
            }
            let status = if fault == Fault::PullStatus {
                "206 Partial Content"
            } else {
                "200 OK"
            };
            let length = content.len();
            if fault == Fault::CutOff {
                content.truncate(length / 2);
            }
            let mut answer = head(status, length, &digest_header(&digest, fault));
            if method != "HEAD" {
                answer.extend_from_slice(&content);
            }
            answer
        }
    }
}

fn digest_header(digest: &str, fault: Fault) -> String {
    if fault == Fault::NoDigestHeader {
        return String::new();
    }
    format!("Docker-Content-Digest: {digest}\r\n")
}

fn head(status: &str, length: usize, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n").into_bytes()
}
