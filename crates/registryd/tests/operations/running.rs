//! The binary with a configuration, and requests to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than any machine needs; only a fault waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A running registry.
pub(crate) struct Running {
    child: Child,
    log: Receiver<String>,
    pub(crate) address: String,
    /// Of the listener for operators, if there is one.
    pub(crate) operators: String,
}

/// A registry with `config` in `dir`, which holds `http.debug.addr` if operators are asked for.
pub(crate) fn start(dir: &Path, config: &str) -> Running {
    Running::new(dir, config, &[])
}

impl Running {
    pub(crate) fn new(dir: &Path, config: &str, variables: &[(&str, &str)]) -> Self {
        std::fs::write(dir.join("config.yml"), config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_registryd"))
            .args(["serve", "config.yml"])
            .current_dir(dir)
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let mut running = Self {
            child,
            log,
            address: String::new(),
            operators: String::new(),
        };
        let last_word = |line: &str, before: &str| {
            let rest = line.split(before).nth(1).unwrap_or_default();
            let end = rest.find([',', '"', ' ']).unwrap_or(rest.len());
            rest[..end].to_owned()
        };
        let line = running.wait_for("listening on ");
        running.address = last_word(&line, "listening on ");
        if config.contains("debug:") {
            let line = running.wait_for("debug server listening ");
            running.operators = last_word(&line, "debug server listening ");
        }
        running
    }

    /// The next line of the log with `text` in it.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no line with {text:?} in {seen:#?}"),
            }
        }
    }

    /// Sends a request without a body.
    pub(crate) fn ask(&self, request: &str) -> Answer {
        exchange(&self.address, request, b"")
    }

    /// Sends a request with a body.
    pub(crate) fn send(&self, request: &str, body: &[u8]) -> Answer {
        exchange(&self.address, request, body)
    }

    /// Asks the listener for operators.
    pub(crate) fn operator(&self, path: &str) -> Answer {
        exchange(&self.operators, &format!("GET {path} HTTP/1.1"), b"")
    }

    /// Asks until the status is `status`.
    pub(crate) fn until(&self, address: &str, path: &str, status: u16) -> Answer {
        let begun = Instant::now();
        loop {
            let answer = exchange(address, &format!("GET {path} HTTP/1.1"), b"");
            if answer.status == status {
                return answer;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{path} is still {answer:?}, not {status}"
            );
        }
    }

    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.wait()
    }

    /// SIGTERM
    pub(crate) fn ask_to_stop(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// SIGHUP
    #[cfg(feature = "pebble")]
    pub(crate) fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }

    /// Pushes an image of one small blob.
    pub(crate) fn push(&self, repository: &str, tag: &str) {
        let blob = self.send(
            &format!("POST /v2/{repository}/blobs/uploads/?digest={BLOB} HTTP/1.1"),
            b"hello",
        );
        assert_eq!(blob.status, 201, "{blob:?}");
        let pushed = self.put(repository, tag, &image(""));
        assert_eq!(pushed.status, 201, "{pushed:?}");
    }

    pub(crate) fn put(&self, repository: &str, tag: &str, manifest: &str) -> Answer {
        let request = format!("PUT /v2/{repository}/manifests/{tag} HTTP/1.1");
        self.send(&request, manifest.as_bytes())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The digest of `hello`.
pub(crate) const BLOB: &str =
    "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

/// An image manifest with these layers.
pub(crate) fn image(layers: &str) -> String {
    format!(
        r#"{{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "{BLOB}", "size": 5}},
            "layers": [{layers}]}}"#
    )
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Every value of a header, whose name is in lower case.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers(name).first().copied().unwrap_or_default()
    }
}

pub(crate) fn exchange(address: &str, request: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    let host = if request.to_lowercase().contains("\r\nhost:") {
        ""
    } else {
        "\r\nHost: x"
    };
    let length = body.len();
    let head = format!("{request}{host}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("no response: {answer:?}")),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}
