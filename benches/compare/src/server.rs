//! The programs that are compared, and how each is started.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use registry_load_driver::{Connection, Request, TlsClient, pause};

use crate::arena::Arena;
use crate::scratch;

const START_LIMIT: Duration = Duration::from_secs(20);

/// How often a starting server is asked.
const POLL: Duration = Duration::from_micros(200);

/// One of the programs.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Started by a command in which placeholders are replaced.
    Registry {
        command: Vec<String>,
        /// What `{config}` holds.
        config: String,
        version: String,
    },
    /// Serves the same content as static files.
    Nginx { path: PathBuf, version: String },
    /// Runs already.
    Attached(SocketAddr),
}

/// In which way a server is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) tls: bool,
    pub(crate) password: bool,
    /// A directory that stays, with content; otherwise an empty one that is removed.
    pub(crate) root: Option<PathBuf>,
    /// A cgroup that it joins before it starts.
    pub(crate) cgroups: Vec<PathBuf>,
}

/// A server that answers. Dropping it ends it and removes its data.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) nginx: bool,
    pub(crate) root: PathBuf,
    pub(crate) ready_after: Duration,
    pub(crate) tls: Option<TlsClient>,
    child: Option<Child>,
    remove: Vec<PathBuf>,
    scratch: Arc<scratch::Scratch>,
}

/// Distribution's configuration, which registryd reads too.
pub(crate) const DISTRIBUTION: &str = "version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: {root}}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http:
  addr: {addr}
  net: tcp
{tls}{auth}";

impl Program {
    pub(crate) fn is_registry(&self) -> bool {
        !matches!(self.kind, Kind::Nginx { .. })
    }

    /// The program's file, if it is one that was started.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Registry { command, .. } => command.first().map(Path::new),
            Kind::Nginx { path, .. } => Some(path),
            Kind::Attached(_) => None,
        }
    }

    pub(crate) fn version(&self) -> &str {
        match &self.kind {
            Kind::Registry { version, .. } | Kind::Nginx { version, .. } => version,
            Kind::Attached(_) => "was running",
        }
    }

    pub(crate) fn start(&self, arena: &Arena, setup: &Setup) -> Result<Server> {
        let scratch = &arena.scratch;
        let mut remove = Vec::new();
        let root = if let Some(root) = &setup.root {
            root.clone()
        } else {
            let root = scratch.subdirectory("root")?;
            remove.push(root.clone());
            root
        };
        let mut server = Server {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            nginx: matches!(self.kind, Kind::Nginx { .. }),
            root,
            ready_after: Duration::ZERO,
            tls: setup.tls.then(|| arena.tls.client.clone()),
            child: None,
            remove: Vec::new(),
            scratch: Arc::clone(scratch),
        };
        if let Kind::Attached(address) = &self.kind {
            if setup.tls || setup.password || setup.root.is_some() {
                bail!(
                    "{} runs already: it cannot be started in another way",
                    self.name
                );
            }
            server.address = *address;
            server.remove = remove;
            return Ok(server);
        }
        let own = scratch.subdirectory("server")?;
        remove.push(own.clone());
        server.remove = remove;
        server.address = free_address()?;
        let log = File::create(own.join("log")).context("create a log file")?;
        let mut command = self.command(arena, setup, &server, &own)?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .current_dir(&own);
        let started = Instant::now();
        let child = scratch
            .spawn(&mut command)
            .with_context(|| format!("start {}", self.name))?;
        server.child = Some(child);
        server.wait_until_ready(self, &own, started, setup)?;
        Ok(server)
    }

    /// The program's own collection of what lies in `root`, with a configuration in `own`.
    pub(crate) fn collector(&self, root: &Path, own: &Path) -> Result<Command> {
        let name = &self.name;
        let Kind::Registry {
            command, config, ..
        } = &self.kind
        else {
            bail!("{name} was not started here, and so is not collected");
        };
        let root = root.display().to_string();
        let text = config
            .replace("{root}", &root)
            .replace("{addr}", "127.0.0.1:0")
            .replace("{tls}", "")
            .replace("{auth}", "");
        let path = own.join("config");
        fs::write(&path, text).context("write a configuration")?;
        let path = path.display().to_string();
        let mut words = command.iter().map(|word| match word.as_str() {
            "serve" => "garbage-collect".to_owned(),
            _ => word.replace("{config}", &path).replace("{root}", &root),
        });
        let program = words
            .next()
            .with_context(|| format!("{name} has no command"))?;
        let mut collector = Command::new(program);
        collector
            .args(words)
            .env("OTEL_TRACES_EXPORTER", "none")
            .current_dir(own);
        Ok(collector)
    }

    fn command(
        &self,
        arena: &Arena,
        setup: &Setup,
        server: &Server,
        own: &Path,
    ) -> Result<Command> {
        let (address, root) = (
            server.address.to_string(),
            server.root.display().to_string(),
        );
        let fill = |text: &str| {
            text.replace("{addr}", &address)
                .replace("{port}", &server.address.port().to_string())
                .replace("{root}", &root)
        };
        let config = own.join("config");
        let (text, words) = match &self.kind {
            Kind::Registry {
                command, config, ..
            } => (
                fill(
                    &config
                        .replace("{tls}", &tls(arena, setup))
                        .replace("{auth}", &auth(arena, setup)),
                ),
                command.clone(),
            ),
            Kind::Nginx { path, .. } => {
                let words = [
                    "-c",
                    "{config}",
                    "-p",
                    &own.display().to_string(),
                    "-e",
                    "stderr",
                ];
                let mut all = vec![path.display().to_string()];
                all.extend(words.map(str::to_owned));
                (fill(&nginx(arena, setup, own)), all)
            }
            Kind::Attached(_) => bail!("{} runs already", self.name),
        };
        fs::write(&config, text).context("write a configuration")?;
        let config = config.display().to_string();
        let mut words = words
            .iter()
            .map(|word| fill(word).replace("{config}", &config));
        let program = words
            .next()
            .with_context(|| format!("{} has no command", self.name))?;
        let mut command = if setup.cgroups.is_empty() {
            Command::new(program)
        } else {
            // The shell joins the cgroups and then becomes the server.
            let mut shell = Command::new("/bin/sh");
            let mut join = String::new();
            for group in &setup.cgroups {
                let _ = write!(join, "echo $$ > {}/cgroup.procs && ", group.display());
            }
            shell.args(["-c", &format!("{join}exec \"$@\""), "sh", &program]);
            shell
        };
        command.args(words);
        // Distribution v3 would look for a collector of traces.
        command.env("OTEL_TRACES_EXPORTER", "none");
        Ok(command)
    }
}

impl Server {
    /// The process, if this program started it.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// A new connection, with TLS if the server has it.
    pub(crate) fn connect(&self) -> Result<Connection> {
        Ok(Connection::open_with(self.address, self.tls.as_ref())?)
    }

    fn wait_until_ready(
        &mut self,
        program: &Program,
        own: &Path,
        started: Instant,
        setup: &Setup,
    ) -> Result<()> {
        let log = || fs::read_to_string(own.join("log")).unwrap_or_default();
        let name = &program.name;
        // A web server has no API, and one with passwords says 401.
        let wanted: &[u16] = match (self.nginx, setup.password) {
            (true, _) => &[200, 403, 404],
            (false, true) => &[401],
            (false, false) => &[200],
        };
        loop {
            let status = self
                .connect()
                .ok()
                .and_then(|mut connection| connection.ask(&Request::new("GET", "/v2/")).ok())
                .map(|answer| answer.head.status);
            if status.is_some_and(|status| wanted.contains(&status)) {
                self.ready_after = started.elapsed();
                return Ok(());
            }
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("{name} ended ({status}) instead of serving:\n{}", log());
            }
            if started.elapsed() > START_LIMIT {
                bail!(
                    "{name} does not serve after {START_LIMIT:?} (GET /v2/: {status:?}):\n{}",
                    log()
                );
            }
            pause(POLL);
        }
    }
}

impl Server {
    /// Ends the process. What it stored goes with this value.
    pub(crate) fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            self.scratch.end_group(&mut child);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        for path in &self.remove {
            scratch::remove(path);
        }
    }
}

fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?)
}

fn tls(arena: &Arena, setup: &Setup) -> String {
    if !setup.tls {
        return String::new();
    }
    let (certificate, key) = (arena.tls.certificate.display(), arena.tls.key.display());
    format!("  tls: {{certificate: {certificate}, key: {key}}}\n")
}

fn auth(arena: &Arena, setup: &Setup) -> String {
    if !setup.password {
        return String::new();
    }
    let path = arena.password_file.display();
    format!("auth: {{htpasswd: {{realm: bench, path: {path}}}}}\n")
}

fn nginx(arena: &Arena, setup: &Setup, own: &Path) -> String {
    let own = own.display();
    let (listen, tls) = if setup.tls {
        let (certificate, key) = (arena.tls.certificate.display(), arena.tls.key.display());
        let tls = format!(
            "ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;"
        );
        (" ssl http2", tls)
    } else {
        ("", String::new())
    };
    // Workers that run as somebody else could not read the files.
    let user = if rustix::process::getuid().is_root() {
        "user root;"
    } else {
        ""
    };
    format!(
        "daemon off; {user} worker_processes 2; pid {own}/pid; error_log stderr error;
events {{ worker_connections 16384; }}
http {{
  access_log off; sendfile off; output_buffers 2 256k; keepalive_requests 1000000000;
  client_body_temp_path {own}/body; proxy_temp_path {own}/proxy; fastcgi_temp_path {own}/fastcgi;
  uwsgi_temp_path {own}/uwsgi; scgi_temp_path {own}/scgi;
  server {{ listen {{addr}}{listen}; {tls} root {{root}}; }}
}}
"
    )
}
