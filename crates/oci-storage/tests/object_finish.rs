//! Objects that the service takes long to make of their parts, or whose making is not confirmed.

#![cfg(feature = "s3")]
#![expect(
    clippy::unwrap_used,
    reason = "a failed expectation is how a test reports"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oci_storage::object::{Bucket, ObjectExtents, S3Options, Verdict};
use oci_storage::records::{ExtentError, ExtentStore};

/// What the service does when it is asked to make an object of parts, time after time; the last it does
/// ever after.
#[derive(Clone, Copy)]
enum Finish {
    Done,
    /// Done, and said after this time.
    Late(Duration),
    /// A proxy gives up, the service goes on.
    GatewayTimeout,
    /// The connection ends before there is an answer.
    Broken,
    /// The upload is not known: over, or being finished.
    Unknown,
}

/// Those of the client, where they are not as usual.
#[derive(Clone, Copy, Default)]
struct Timeouts {
    read: Option<Duration>,
    finish: Option<Duration>,
}

/// As much of S3 as it takes, for one object.
#[derive(Clone)]
struct Service {
    address: String,
    script: Arc<[Finish]>,
    /// How often it is still looked for in vain, if it is ever there.
    looks: Arc<Mutex<Option<u32>>>,
    asked: Arc<Mutex<Vec<&'static str>>>,
}

impl Service {
    /// It has the object when it was looked for in vain `looks` times.
    fn start(script: &[Finish], looks: Option<u32>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = Self {
            address: listener.local_addr().unwrap().to_string(),
            script: script.into(),
            looks: Arc::new(Mutex::new(looks)),
            asked: Arc::default(),
        };
        let own = service.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let service = own.clone();
                std::thread::spawn(move || service.answer(stream));
            }
        });
        service
    }

    fn answer(&self, stream: TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).ok()?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).ok()?;
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
        }
        lines.read_exact(&mut vec![0; length]).ok()?;
        let body = if first.starts_with("POST") && first.contains("?uploads") {
            "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        } else if first.starts_with("HEAD") {
            self.asked.lock().unwrap().push("look");
            let mut looks = self.looks.lock().unwrap();
            match &mut *looks {
                Some(0) => "",
                Some(looks) => {
                    *looks -= 1;
                    return reply(stream, "404 Not Found", "");
                }
                None => return reply(stream, "404 Not Found", ""),
            }
        } else if first.starts_with("POST") {
            return self.finish(stream);
        } else {
            ""
        };
        reply(stream, "200 OK", body)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the slow service itself, on a thread of its own"
    )]
    fn finish(&self, stream: TcpStream) -> Option<()> {
        const DONE: &str = "<CompleteMultipartUploadResult><ETag>\"e\"</ETag>\
                            </CompleteMultipartUploadResult>";
        let nth = {
            let mut asked = self.asked.lock().unwrap();
            asked.push("finish");
            asked.iter().filter(|what| **what == "finish").count() - 1
        };
        match self.script.get(nth).or(self.script.last())? {
            Finish::Done => reply(stream, "200 OK", DONE),
            Finish::Late(time) => {
                // That it is slow is what is tested.
                std::thread::sleep(*time);
                reply(stream, "200 OK", DONE)
            }
            Finish::GatewayTimeout => reply(stream, "504 Gateway Timeout", ""),
            Finish::Broken => None,
            Finish::Unknown => reply(
                stream,
                "404 Not Found",
                "<Error><Code>NoSuchUpload</Code></Error>",
            ),
        }
    }

    fn bucket(&self, timeouts: Timeouts) -> Bucket {
        let mut options = S3Options::new("layers");
        options.endpoint = Some(format!("http://{}", self.address));
        options.access_key = Some("tests".to_owned());
        options.secret_key = Some("tests-secret".to_owned());
        options.http.retry_pause = Some(Duration::from_millis(1));
        options.http.read_timeout = timeouts.read;
        options.http.finish_timeout = timeouts.finish;
        options.open().unwrap()
    }

    /// Finishes an extent of one part.
    async fn finishes(&self, timeouts: Timeouts) -> Result<(), ExtentError> {
        let extents = ObjectExtents::new(self.bucket(timeouts), &Verdict::default());
        let upload = extents.begin_parts("data/e").await.unwrap();
        let piece = b"content"[..].into();
        let part = extents.put_part("data/e", &upload, 0, vec![piece]).await;
        extents
            .finish_parts("data/e", &upload, &[part.unwrap()])
            .await
    }

    fn asked(&self) -> Vec<&'static str> {
        self.asked.lock().unwrap().clone()
    }
}

fn reply(mut stream: TcpStream, status: &str, body: &str) -> Option<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\netag: \"e\"\r\nlast-modified: Sun, 01 Jan 2023 00:00:00 GMT\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .ok()
}

#[tokio::test]
async fn a_service_that_takes_long_is_waited_for_and_asked_once() {
    let late = Duration::from_secs(1);
    let service = Service::start(&[Finish::Late(late)], None);
    let timeouts = Timeouts {
        read: Some(late / 4),
        finish: None,
    };
    service.finishes(timeouts).await.unwrap();
    assert_eq!(service.asked(), ["finish"]);
}

#[tokio::test]
async fn a_proxy_that_gives_up_does_not_make_it_fail() {
    let service = Service::start(&[Finish::GatewayTimeout, Finish::Unknown], Some(2));
    service.finishes(Timeouts::default()).await.unwrap();
    assert_eq!(
        service.asked(),
        ["finish", "look", "finish", "look", "finish", "look"]
    );
}

#[tokio::test]
async fn after_a_broken_connection_it_is_asked_again() {
    let service = Service::start(&[Finish::Broken, Finish::Done], None);
    service.finishes(Timeouts::default()).await.unwrap();
    assert_eq!(service.asked(), ["finish", "look", "finish"]);
}

#[tokio::test]
async fn a_plain_refusal_is_one_at_once() {
    let service = Service::start(&[Finish::Unknown], None);
    let refused = service.finishes(Timeouts::default()).await.unwrap_err();
    assert!(matches!(refused, ExtentError::NotFound), "{refused:?}");
    assert_eq!(service.asked(), ["finish", "look"]);
}

#[tokio::test]
async fn what_never_comes_is_given_up() {
    let service = Service::start(&[Finish::GatewayTimeout], None);
    let timeouts = Timeouts {
        read: None,
        finish: Some(Duration::from_millis(300)),
    };
    let given_up = service.finishes(timeouts).await.unwrap_err();
    assert!(
        matches!(given_up, ExtentError::Unavailable(_)),
        "{given_up:?}"
    );
}
