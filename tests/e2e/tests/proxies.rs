//! Proxies in front of the registry: nginx in the ways people configure it, and what
//! `registryd proxy-config` prints for nginx, Caddy and haproxy.
//!
//! No client of images, but curl: each Location has to be seen, and sent back, as it is.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans protect a server's runtime and memory; nothing here serves requests"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use registry_e2e::server::{Kind, free_port, registryd};
use registry_e2e::{Bench, Lane, digest, tool};

/// What clients call the proxy. curl is told which address that is.
const NAME: &str = "registry.test";

#[test]
fn nginx_in_every_way_pushes_and_pulls() -> Result<()> {
    if Kind::under_test()? != Kind::Registryd {
        return Ok(());
    }
    let bench = Bench::new(Lane::Tools)?;
    let tls = Certificate::write(bench.path())?;
    for urls in [Urls::Relative, Urls::Absolute, Urls::Fixed] {
        let registry = Program::registry(&bench.directory(&format!("{urls:?}"))?, urls)?;
        let mut servers = String::new();
        let mut cells = Vec::new();
        for host in ["$host", "$http_host"] {
            for told in [true, false] {
                for buffering in ["on", "off"] {
                    let listen = free_port()?;
                    let proto = if told {
                        "proxy_set_header X-Forwarded-Proto $scheme;"
                    } else {
                        ""
                    };
                    write!(
                        servers,
                        "server {{ listen 127.0.0.1:{listen} ssl; ssl_certificate {}; ssl_certificate_key {};\n\
                         client_max_body_size 0; proxy_request_buffering {buffering}; proxy_buffering {buffering};\n\
                         location / {{ proxy_pass http://127.0.0.1:{}; proxy_http_version 1.1;\n\
                         proxy_set_header Host {host}; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
                         {proto} }} }}\n",
                        tls.chain.display(),
                        tls.key.display(),
                        registry.port,
                    )?;
                    cells.push((host, told, buffering, listen));
                }
            }
        }
        let nginx = bench.directory(&format!("nginx-{urls:?}"))?;
        let _nginx = Program::nginx(&nginx, &servers, cells[0].3)?;
        for (host, told, buffering, listen) in cells {
            for port in [443, 8443] {
                let cell = format!(
                    "{urls:?}, Host {host}, X-Forwarded-Proto {told}, buffering {buffering}, port {port}"
                );
                // nginx's $host leaves the port out.
                let seen = if host == "$host" { 443 } else { port };
                let origin = match urls {
                    Urls::Relative => String::new(),
                    Urls::Absolute => format!(
                        "{}://{}",
                        if told { "https" } else { "http" },
                        authority(seen)
                    ),
                    Urls::Fixed => format!("https://{}", authority(8443)),
                };
                let client = Client::new(bench.path(), &tls, listen, port);
                // What the client could not follow is why Locations are relative unless that is asked for.
                let followed = origin.is_empty() || origin == client.origin();
                client.push_and_pull(&origin, followed).context(cell)?;
            }
        }
    }
    Ok(())
}

#[test]
fn what_proxy_config_prints_pushes_and_pulls() -> Result<()> {
    if Kind::under_test()? != Kind::Registryd {
        return Ok(());
    }
    let bench = Bench::new(Lane::Tools)?;
    let tls = Certificate::write(bench.path())?;
    let registry = Program::registry(&bench.directory("registry")?, Urls::Absolute)?;
    for proxy in ["nginx", "caddy", "haproxy"] {
        let directory = bench.directory(proxy)?;
        let port = free_port()?;
        let (certificate, key) = if proxy == "haproxy" {
            (&tls.both, &tls.both)
        } else {
            (&tls.chain, &tls.key)
        };
        let printed = Command::new(registryd()?)
            .args(["proxy-config", proxy, "--host", &format!("{NAME}:{port}")])
            .args([
                "--upstream",
                &format!("127.0.0.1:{}", registry.port),
                "--certificate",
            ])
            .arg(certificate)
            .arg("--key")
            .arg(key)
            .output()?;
        ensure!(
            printed.status.success(),
            "proxy-config {proxy}: {printed:?}"
        );
        // Only on this machine; what is printed listens everywhere.
        let printed = String::from_utf8(printed.stdout)?
            .replace(
                &format!("listen {port}"),
                &format!("listen 127.0.0.1:{port}"),
            )
            .replace(&format!("bind :{port}"), &format!("bind 127.0.0.1:{port}"));
        let _running = match proxy {
            "nginx" => Program::nginx(&directory, &printed, port)?,
            "caddy" => Program::caddy(&directory, &printed, port)?,
            _ => Program::haproxy(&directory, &printed, port)?,
        };
        let client = Client::new(bench.path(), &tls, port, port);
        // The registry trusts the proxy, so that it knows what the client asked.
        client
            .push_and_pull(&client.origin(), true)
            .context(proxy)?;
    }
    let log = fs::read_to_string(bench.path().join("registry/log"))?;
    ensure!(
        log.contains("uri=/v2/pushed/blobs/uploads/") && log.contains("remote=127.0.0.1 "),
        "the client's address, as the proxies tell it:\n{log}"
    );
    Ok(())
}

#[test]
fn doctor_finds_what_nginx_breaks() -> Result<()> {
    if Kind::under_test()? != Kind::Registryd {
        return Ok(());
    }
    let bench = Bench::new(Lane::Tools)?;
    let tls = Certificate::write(bench.path())?;
    let registry = Program::registry(&bench.directory("registry")?, Urls::Absolute)?;
    let right = [
        "client_max_body_size 0;",
        "proxy_request_buffering off;",
        "proxy_set_header Host $http_host;",
        "proxy_set_header X-Forwarded-Proto $scheme;",
    ];
    // What is written instead of one of these lines, and what doctor says about it.
    let faults = [
        (
            0,
            "",
            "body-size",
            "refuses a body of 2 MiB (one of 1 MiB may come) with 413",
        ),
        (1, "", "buffering", "collects bodies"),
        (
            2,
            "proxy_set_header Host $host;",
            "location",
            "https://127.0.0.1/v2/",
        ),
        (3, "", "location", "http://127.0.0.1:"),
    ];
    let mut servers = String::new();
    let mut listens = Vec::new();
    for fault in std::iter::once(None).chain(faults.iter().map(Some)) {
        let mut lines = right;
        if let Some((line, instead, ..)) = fault {
            lines[*line] = instead;
        }
        let listen = free_port()?;
        write!(
            servers,
            "server {{ listen 127.0.0.1:{listen} ssl; ssl_certificate {}; ssl_certificate_key {};\n\
             location / {{ proxy_pass http://127.0.0.1:{}; proxy_http_version 1.1; {} }} }}\n",
            tls.chain.display(),
            tls.key.display(),
            registry.port,
            lines.join(" "),
        )?;
        listens.push((listen, fault));
    }
    let _nginx = Program::nginx(&bench.directory("nginx")?, &servers, listens[0].0)?;
    for (listen, fault) in listens {
        let output = Command::new(registryd()?)
            .args(["doctor", "--json", "--root"])
            .arg(bench.path())
            .arg(format!("https://127.0.0.1:{listen}"))
            .output()?;
        let findings: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)?;
        for check in ["location", "body-size", "buffering"] {
            // What is wrong before hides what comes after it.
            let finding = findings.iter().find(|finding| finding["check"] == check);
            match (fault, finding) {
                (Some((_, _, broken, says)), Some(finding)) if *broken == check => {
                    let what = finding["what"].as_str().unwrap_or_default();
                    ensure!(
                        what.contains(says) && finding["fix"].is_string(),
                        "{finding}"
                    );
                }
                (Some((_, _, "body-size", _)), None) => {}
                (_, Some(finding)) => ensure!(finding["severity"] == "ok", "{fault:?}: {finding}"),
                (_, None) => bail!("{fault:?}: nothing about {check} in {findings:?}"),
            }
        }
    }
    Ok(())
}

/// How the registry writes URLs.
#[derive(Clone, Copy, Debug)]
enum Urls {
    /// As it does by default.
    Relative,
    /// `http.relativeurls: false`: as the client sees the registry.
    Absolute,
    /// `http.host`
    Fixed,
}

fn authority(port: u16) -> String {
    if port == 443 {
        NAME.to_owned()
    } else {
        format!("{NAME}:{port}")
    }
}

/// A process that ends with the test.
struct Program {
    child: Child,
    port: u16,
}

impl Program {
    fn registry(directory: &Path, urls: Urls) -> Result<Self> {
        let port = free_port()?;
        let urls = match urls {
            Urls::Relative => String::new(),
            Urls::Absolute => ", relativeurls: false, trustedproxies: [127.0.0.1]".to_owned(),
            Urls::Fixed => format!(", host: 'https://{}'", authority(8443)),
        };
        let config = directory.join("config.yml");
        fs::write(
            &config,
            format!("version: 0.1\nstorage: inmemory\nhttp: {{addr: '127.0.0.1:{port}'{urls}}}\n"),
        )?;
        let mut command = Command::new(registryd()?);
        command.arg("serve").arg(config);
        Self::start(command, directory, port)
    }

    /// nginx in the foreground, with all its files in `directory`.
    fn nginx(directory: &Path, servers: &str, port: u16) -> Result<Self> {
        let nginx = tool::find("nginx")?;
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind};\n", directory.display()))
            .concat();
        let config = directory.join("nginx.conf");
        fs::write(
            &config,
            format!(
                "daemon off; user root; worker_processes 1; pid {0}/pid; error_log {0}/error.log;\n\
                 events {{ worker_connections 256; }}\nhttp {{ access_log off;\n{temporary}{servers}}}\n",
                directory.display()
            ),
        )?;
        let command = || {
            let mut command = Command::new(&nginx);
            command.arg("-p").arg(directory).arg("-c").arg(&config);
            command
        };
        let checked = command().arg("-t").output()?;
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        ensure!(
            checked.status.success() && !said.contains("[warn]"),
            "nginx -t:\n{said}"
        );
        Self::start(command(), directory, port)
    }

    fn caddy(directory: &Path, site: &str, port: u16) -> Result<Self> {
        let config = directory.join("Caddyfile");
        // Of Caddy's own: no listeners beside the one, and no certificates from anywhere.
        let global =
            "{\n\tadmin off\n\tauto_https disable_redirects\n\tdefault_bind 127.0.0.1\n}\n";
        fs::write(&config, format!("{global}{site}"))?;
        let mut command = Command::new(tool::find("caddy")?);
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(&config);
        command.env("HOME", directory);
        Self::start(command, directory, port)
    }

    fn haproxy(directory: &Path, sections: &str, port: u16) -> Result<Self> {
        let config = directory.join("haproxy.cfg");
        fs::write(
            &config,
            sections.replace(&format!("bind :{port}"), &format!("bind 127.0.0.1:{port}")),
        )?;
        let mut command = Command::new(tool::find("haproxy")?);
        command.args(["-db", "-f"]).arg(&config);
        Self::start(command, directory, port)
    }

    /// Starts it and waits until it takes connections.
    fn start(mut command: Command, directory: &Path, port: u16) -> Result<Self> {
        let log = directory.join("log");
        let output = fs::File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let mut program = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = program.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                bail!(
                    "{command:?} does not listen on {port}: {}",
                    fs::read_to_string(&log)?
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(program)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // nginx and haproxy end their workers on SIGTERM.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for [`NAME`] that signs itself.
struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    both: PathBuf,
}

impl Certificate {
    fn write(directory: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
        let files = Self {
            chain: directory.join("tls.crt"),
            key: directory.join("tls.key"),
            both: directory.join("tls.pem"),
        };
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        fs::write(&files.chain, &certificate)?;
        fs::write(&files.key, &key)?;
        fs::write(&files.both, certificate + &key)?;
        Ok(files)
    }
}

/// curl, for which [`NAME`] and a port are a proxy under test.
struct Client {
    scratch: PathBuf,
    ca: PathBuf,
    port: u16,
    listens: u16,
}

/// Status, Location and body.
struct Answer {
    status: u16,
    location: String,
    body: Vec<u8>,
}

impl Client {
    fn new(scratch: &Path, tls: &Certificate, listens: u16, port: u16) -> Self {
        Self {
            scratch: scratch.to_owned(),
            ca: tls.chain.clone(),
            port,
            listens,
        }
    }

    fn origin(&self) -> String {
        format!("https://{}", authority(self.port))
    }

    /// `target` is a path, or a URL that is taken as it is.
    fn ask(
        &self,
        method: &str,
        target: &str,
        arguments: &[&str],
        body: Option<&[u8]>,
    ) -> Result<Answer> {
        let url = if target.starts_with('/') {
            format!("{}{target}", self.origin())
        } else {
            target.to_owned()
        };
        let (sent, received) = (self.scratch.join("sent"), self.scratch.join("received"));
        fs::write(&received, "")?;
        let mut curl = Command::new(tool::find("curl")?);
        curl.args([
            "-q",
            "--silent",
            "--show-error",
            "--max-time",
            "120",
            "--request",
            method,
        ])
        .args([
            "--connect-to",
            &format!("{NAME}:{}:127.0.0.1:{}", self.port, self.listens),
        ])
        .arg("--cacert")
        .arg(&self.ca)
        .arg("--output")
        .arg(&received)
        .args(["--write-out", "%{http_code}\n%header{location}"])
        .args(arguments);
        if method == "HEAD" {
            curl.arg("--head");
        }
        if let Some(body) = body {
            fs::write(&sent, body)?;
            curl.arg("--data-binary")
                .arg(format!("@{}", sent.display()));
        }
        let output = curl.arg("--").arg(&url).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{method} {url}: {said}");
        let told = String::from_utf8(output.stdout)?;
        let (status, location) = told.split_once('\n').unwrap_or((&told, ""));
        Ok(Answer {
            status: status
                .trim()
                .parse()
                .with_context(|| format!("{method} {url}: {told:?}"))?,
            location: location.trim().to_owned(),
            body: fs::read(&received)?,
        })
    }

    /// Pushes an image with a blob in chunks, and pulls it. Every Location has to begin with `origin`; where
    /// a client could not follow that, nothing more is asked.
    fn push_and_pull(&self, origin: &str, followed: bool) -> Result<()> {
        let next = |answer: &Answer, status: u16, path: &str| -> Result<String> {
            let Answer {
                status: given,
                location,
                body,
            } = answer;
            let said = String::from_utf8_lossy(body);
            ensure!(
                *given == status,
                "the status is {given}, not {status}: {said}"
            );
            ensure!(
                location.starts_with(&format!("{origin}{path}")),
                "the Location is {location:?}, which does not begin with {origin:?} and {path:?}"
            );
            Ok(location.clone())
        };
        let uploads = "/v2/pushed/blobs/uploads/";
        let begun = self.ask("POST", uploads, &[], Some(b""))?;
        let mut at = next(&begun, 202, uploads)?;
        if !followed {
            return Ok(());
        }
        let layer: Vec<u8> = (0..600_000_u32).flat_map(u32::to_le_bytes).collect();
        let (one, two) = layer.split_at(1_000_001);
        let octets = "Content-Type: application/octet-stream";
        // The first in HTTP's own chunks, whose length nobody knows beforehand.
        let chunked = [
            "-H",
            "Transfer-Encoding: chunked",
            "-H",
            "Content-Length:",
            "-H",
            octets,
        ];
        at = next(&self.ask("PATCH", &at, &chunked, Some(one))?, 202, uploads)?;
        let range = format!("Content-Range: {}-{}", one.len(), layer.len() - 1);
        at = next(
            &self.ask("PATCH", &at, &["-H", &range, "-H", octets], Some(two))?,
            202,
            uploads,
        )?;
        let blob = digest::of(&layer);
        let put = format!(
            "{at}{}digest={blob}",
            if at.contains('?') { '&' } else { '?' }
        );
        next(
            &self.ask("PUT", &put, &["-H", octets], Some(b""))?,
            201,
            &format!("/v2/pushed/blobs/{blob}"),
        )?;
        let size = layer.len();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{TYPE}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{blob}","size":{size}}},"layers":[]}}"#
        );
        let content_type = format!("Content-Type: {TYPE}");
        let pushed = self.ask(
            "PUT",
            "/v2/pushed/manifests/v1",
            &["-H", &content_type],
            Some(manifest.as_bytes()),
        )?;
        next(&pushed, 201, "/v2/pushed/manifests/sha256:")?;

        let head = self.ask("HEAD", "/v2/pushed/manifests/v1", &[], None)?;
        ensure!(head.status == 200, "HEAD answers {}", head.status);
        let pulled = self.ask("GET", "/v2/pushed/manifests/v1", &[], None)?;
        ensure!(
            pulled.body == manifest.as_bytes(),
            "another manifest comes back"
        );
        let pulled = self.ask("GET", &format!("/v2/pushed/blobs/{blob}"), &[], None)?;
        ensure!(
            pulled.status == 200 && pulled.body == layer,
            "another blob comes back"
        );
        Ok(())
    }
}

const TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
