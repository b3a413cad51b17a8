//! A client machine of its own, made of private mounts and a private process tree.

use std::{
    fmt::Write as _,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    bench::scratch_in,
    command::{self, Invocation},
    security::Access,
    server::signal,
    tool,
};

/// Runs inside the new namespaces, before the client.
///
/// Clients keep state in fixed places as root: containers/storage, its cache of known blobs,
/// logins and locks in `/run`, trusted certificates in `/etc/docker/certs.d`. They stay in those
/// places, only the places are this machine's own.
const ENTER: &str = r#"
set -eu
machine=$1; shift
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
for place in etc/docker var/lib/containers; do
    mkdir -p "/$place"
    mount --bind "$machine/$place" "/$place"
done
while read -r place; do
    mount --bind "$machine/$place" "/$place"
done < "$machine/places"
exec "$@"
"#;

/// One client machine: everything a client writes stays inside, and nothing outlives a command
/// except files below [`Machine::path`].
#[derive(Debug)]
pub struct Machine {
    path: PathBuf,
    /// Socket names have at most 108 bytes, and the checkout may be deep: they live elsewhere.
    sockets: TempDir,
    network: Option<Network>,
}

impl Machine {
    /// A fresh machine below `scratch`.
    pub(crate) fn new(scratch: &Path) -> Result<Self> {
        ensure!(
            fs::metadata("/proc/self")?.uid() == 0,
            "the end-to-end tests must run as root: clients get mount and process namespaces of \
             their own, and dockerd and containerd need root anyway"
        );
        let path = tempfile::Builder::new()
            .prefix("machine-")
            .tempdir_in(scratch)?
            .keep();
        let machine = Self {
            path,
            sockets: scratch_in(&std::env::temp_dir())?,
            network: None,
        };
        fs::write(machine.path.join("places"), "")?;
        for place in ["etc/docker", "var/lib/containers", "tmp"] {
            fs::create_dir_all(machine.path.join(place))?;
        }
        let home = machine.path.join("home/.config/containers");
        fs::create_dir_all(&home)?;
        // No overlay mounts: copying one layer is cheap and works on every file system.
        machine.use_storage("driver = \"vfs\"\n")?;
        fs::write(
            home.join("containers.conf"),
            "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n",
        )?;
        // podman and buildah want the file of logins to exist when its place is given.
        fs::write(machine.home().join("auth.json"), "{}")?;
        fs::write(
            home.join("registries.conf"),
            "unqualified-search-registries = []\n",
        )?;
        Ok(machine)
    }

    /// Tells the clients of this machine that a registry speaks plain HTTP, or which authority
    /// signed its certificate; in the files an administrator would use.
    pub(crate) fn trust(&self, access: &Access) -> Result<()> {
        let authority = access.authority();
        if let Some(ca) = access.ca() {
            let folder = self.path.join("etc/docker/certs.d").join(authority);
            fs::create_dir_all(&folder)?;
            fs::copy(ca, folder.join("ca.crt"))?;
        } else {
            let file = self.home().join(".config/containers/registries.conf");
            let mut text = fs::read_to_string(&file)?;
            writeln!(
                text,
                "\n[[registry]]\nlocation = \"{authority}\"\ninsecure = true"
            )?;
            fs::write(&file, text)?;
        }
        Ok(())
    }

    /// Writes the storage configuration of podman, buildah and skopeo: lines that follow
    /// `[storage]`.
    pub fn use_storage(&self, lines: &str) -> Result<()> {
        let text = format!(
            "[storage]\nrunroot = \"/run/containers/storage\"\ngraphroot = \
             \"/var/lib/containers/storage\"\n{lines}"
        );
        fs::write(self.home().join(".config/containers/storage.conf"), text)
            .context("write storage.conf")
    }

    /// Forgets every image, layer and known blob of podman, buildah and skopeo.
    pub fn forget_images(&self) -> Result<()> {
        let place = self.path.join("var/lib/containers");
        fs::remove_dir_all(&place)?;
        fs::create_dir_all(&place)?;
        Ok(())
    }

    /// Gives the machine a copy of a file or directory of the system, which its commands may change.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn own(&self, place: &str) -> Result<PathBuf> {
        let copy = self.path.join(place);
        if let Some(folder) = copy.parent() {
            fs::create_dir_all(folder)?;
        }
        let original = Path::new("/").join(place);
        Invocation::new("cp")
            .arg("-aT")
            .arg(original)
            .arg(&copy)
            .succeed()?;
        let list = self.path.join("places");
        let mut places = fs::read_to_string(&list)?;
        writeln!(places, "{place}")?;
        fs::write(list, places)?;
        Ok(copy)
    }

    /// Gives the machine a network of its own, in which every port is free and nobody else listens:
    /// loopback, with these addresses beside its own.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn own_network(&mut self, addresses: &[&str]) -> Result<()> {
        self.network = Some(Network::new(&self.path.join("network"))?);
        self.command("ip")
            .args(["link", "set", "lo", "up"])
            .succeed()?;
        for address in addresses {
            self.command("ip")
                .args(["address", "add", &format!("{address}/32"), "dev", "lo"])
                .succeed()?;
        }
        Ok(())
    }

    /// The machine's files.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The home directory of its user.
    pub fn home(&self) -> PathBuf {
        self.path.join("home")
    }

    /// A name for a Unix socket that daemon and client share.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.sockets.path().join(name)
    }

    /// A program on this machine.
    pub fn command(&self, program: impl Into<std::ffi::OsString>) -> Invocation {
        let containers = self.home().join(".config/containers");
        let prefix = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            ENTER,
            "enter",
        ];
        let enter = self
            .network
            .as_ref()
            .map(|network| format!("--net={}", network.0.display()));
        let network: Vec<&str> = match &enter {
            Some(network) => vec!["nsenter", network],
            None => Vec::new(),
        };
        Invocation::new(program)
            .prefix(
                network
                    .into_iter()
                    .chain(prefix)
                    .map(std::ffi::OsStr::new)
                    .chain([self.path.as_os_str()]),
            )
            .env("HOME", self.home())
            .env("TMPDIR", self.path.join("tmp"))
            .env("LANG", "C.UTF-8")
            .env("REGISTRY_AUTH_FILE", self.home().join("auth.json"))
            .env("DOCKER_CONFIG", self.home().join(".docker"))
            .env("CONTAINERS_CONF", containers.join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", containers.join("storage.conf"))
            .env(
                "CONTAINERS_REGISTRIES_CONF",
                containers.join("registries.conf"),
            )
    }

    /// Starts a daemon on this machine and waits until `probe` succeeds.
    ///
    /// # Errors
    /// When it ends, or is not ready within 30 seconds; the message holds its log.
    pub fn daemon(
        &self,
        invocation: Invocation,
        mut probe: impl FnMut() -> Result<bool>,
    ) -> Result<Daemon> {
        for program in ["unshare", "mount", "sh"] {
            tool::find(program)?;
        }
        let name = invocation.shown();
        let log = self.path.join("daemon.log");
        let output = File::create(&log)?;
        let child = invocation.spawn(output.try_clone()?, output)?;
        let mut daemon = Daemon { child, log };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !probe()? {
            if let Some(status) = daemon.child.try_wait()? {
                bail!("`{name}` ended at its start ({status}):\n{}", daemon.tail());
            }
            if Instant::now() > deadline {
                bail!("`{name}` is not ready after 30 s:\n{}", daemon.tail());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(daemon)
    }
}

/// A network namespace that lasts as long as a file that it is mounted on.
#[derive(Debug)]
struct Network(PathBuf);

impl Network {
    fn new(file: &Path) -> Result<Self> {
        File::create(file)?;
        Invocation::new("unshare")
            .arg(format!("--net={}", file.display()))
            .arg("true")
            .succeed()?;
        Ok(Self(file.to_owned()))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(error) = Invocation::new("umount").arg(&self.0).succeed() {
            eprintln!("a network stays: {error:#}");
        }
    }
}

/// A daemon of one machine. Dropping it ends it and every process it started.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    fn tail(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        command::last_lines(&String::from_utf8_lossy(&bytes), 30)
    }

    /// Asks the daemon to go. It is the first process of its namespace: when it is gone the kernel
    /// ends all others there, and their mounts go with them.
    fn stop(&mut self) -> Result<()> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        for first in children.split_whitespace() {
            signal(first.parse()?, Signal::TERM)?;
        }
        if command::wait(&mut self.child, Duration::from_secs(10))?.is_none() {
            eprintln!("a daemon had to be killed");
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("cannot stop a daemon gently: {error:#}");
            // Its parent goes, and the kernel kills it (`--kill-child`).
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        eprintln!("--- end of the daemon's log\n{}\n---", self.tail());
    }
}
