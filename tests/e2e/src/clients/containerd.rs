//! containerd and its client `ctr`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    command::Invocation,
    machine::{Daemon, Machine},
    security::Access,
};

/// A containerd of its own.
#[derive(Debug)]
pub struct Containerd<'a> {
    machine: &'a Machine,
    socket: PathBuf,
    hosts: PathBuf,
    _daemon: Daemon,
}

impl<'a> Containerd<'a> {
    /// Starts containerd on this machine.
    pub fn start(machine: &'a Machine) -> Result<Self> {
        let socket = machine.socket("containerd.sock");
        let config = machine.path().join("containerd.toml");
        let root = machine.path().join("containerd");
        let text = format!(
            "version = 2\nroot = \"{}\"\nstate = \"/run/containerd\"\ndisabled_plugins = \
             [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{}\"\n",
            root.display(),
            socket.display()
        );
        fs::write(&config, text)?;
        let probe =
            || Ok(socket.exists() && client(machine, &socket, "version").run()?.is_success());
        let daemon = machine.daemon(
            machine.command("containerd").arg("--config").arg(&config),
            probe,
        )?;
        let hosts = machine.path().join("hosts");
        Ok(Self {
            machine,
            socket,
            hosts,
            _daemon: daemon,
        })
    }

    /// Imports an OCI archive and names the image in it.
    pub fn import(&self, archive: &Path, name: &str) -> Result<()> {
        self.images(&["import", "--no-unpack", "--index-name", name])
            .arg(archive)
            .succeed()?;
        Ok(())
    }

    /// Gives an image another name.
    pub fn tag(&self, name: &str, new: &str) -> Result<()> {
        self.images(&["tag", name, new]).succeed()?;
        Ok(())
    }

    /// The push, not yet run.
    pub fn push(&self, access: &Access, name: &str) -> Result<Invocation> {
        let push = self.images(&["push"]).args(self.reach(access)?);
        Ok(push.arg(name).limit(Duration::from_secs(240)))
    }

    /// The pull, not yet run. Layers are unpacked by copying, so that nothing is mounted.
    pub fn pull(&self, access: &Access, name: &str) -> Result<Invocation> {
        let pull = self.images(&["pull", "--snapshotter", "native"]);
        Ok(pull.args(self.reach(access)?).arg(name))
    }

    /// Removes images and waits until their content is gone.
    pub fn remove(&self, names: &[&str]) -> Result<()> {
        self.images(&["rm", "--sync"]).args(names).succeed()?;
        Ok(())
    }

    /// The digest that an image's name points at, if there is one.
    pub fn digest(&self, name: &str) -> Result<Option<String>> {
        let output = self.images(&["ls"]).succeed()?;
        let line = output.text();
        let line = line
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name));
        Ok(line
            .and_then(|line| line.split_whitespace().nth(2))
            .map(str::to_owned))
    }

    /// Every digest in the content store.
    pub fn content(&self) -> Result<Vec<String>> {
        let output = client(self.machine, &self.socket, "content")
            .args(["ls", "-q"])
            .succeed()?;
        Ok(output.text().lines().map(str::to_owned).collect())
    }

    fn images(&self, arguments: &[&str]) -> Invocation {
        client(self.machine, &self.socket, "images").args(arguments)
    }

    /// The options for one registry; `ctr` has no login, it takes the password each time.
    fn reach(&self, access: &Access) -> Result<Vec<String>> {
        let Some(ca) = access.ca() else {
            return Ok(vec!["--plain-http".to_owned()]);
        };
        let folder = self.hosts.join(access.authority());
        fs::create_dir_all(&folder)?;
        let url = access.url();
        let text = format!(
            "server = \"{url}\"\n[host.\"{url}\"]\nca = \"{}\"\n",
            ca.display()
        );
        fs::write(folder.join("hosts.toml"), text)?;
        let password = access
            .password()
            .context("a guarded registry has a password")?;
        Ok(vec![
            "--hosts-dir".to_owned(),
            self.hosts.display().to_string(),
            "--user".to_owned(),
            format!("{}:{password}", Access::USER),
        ])
    }
}

fn client(machine: &Machine, socket: &Path, verb: &str) -> Invocation {
    machine
        .command("ctr")
        .arg("--address")
        .arg(socket)
        .arg(verb)
}
