//! Where each client looks.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::k3s::{self, Rancher};
use super::plan::Plan;
use super::{Client, Remote, marked};
use crate::files;

/// What makes `client` trust a registry whose authority has this certificate.
pub(super) fn trust(
    client: Client,
    registry: &Remote,
    ca: &str,
    root: &Path,
) -> anyhow::Result<Plan> {
    let mut plan = Plan::default();
    let name = registry.to_string();
    let at = |path: &str| root.join(path);
    match client {
        Client::Docker => {
            marked::write(&mut plan, at(&docker(&name)), ca, &name)?;
            plan.say("docker reads it at the next request; no restart is needed");
        }
        Client::Podman => {
            marked::write(&mut plan, at(&podman(&name)), ca, &name)?;
            plan.say("podman, buildah and skopeo read it at the next request");
        }
        Client::Containerd => {
            marked::write(&mut plan, at(&containerd(&name, "ca.crt")), ca, &name)?;
            let hosts = hosts_toml(&name, &format!("/{}", containerd(&name, "ca.crt")));
            marked::write(
                &mut plan,
                at(&containerd(&name, "hosts.toml")),
                &hosts,
                &name,
            )?;
            plan.say(config_path(root)?);
        }
        Client::K3s => {
            rancher(&mut plan, Rancher::K3s, &name, ca, root)?;
            plan.say("k3s reads it when it starts: systemctl restart k3s (or k3s-agent)");
        }
        Client::Rke2 => {
            rancher(&mut plan, Rancher::Rke2, &name, ca, root)?;
            plan.say("RKE2 reads it when it starts: systemctl restart rke2-server (or rke2-agent)");
        }
        Client::System => {
            let (path, command) = system(root, &name);
            marked::write(&mut plan, path, ca, &name)?;
            update(&mut plan, root, command);
            plan.say("programs that run have to be restarted: docker, containerd, kubelet");
        }
    }
    Ok(plan)
}

/// What takes that back.
pub(super) fn untrust(client: Client, registry: &Remote, root: &Path) -> anyhow::Result<Plan> {
    let mut plan = Plan::default();
    let name = registry.to_string();
    let at = |path: &str| root.join(path);
    match client {
        Client::Docker => marked::remove(&mut plan, at(&docker(&name)))?,
        Client::Podman => marked::remove(&mut plan, at(&podman(&name)))?,
        Client::Containerd => {
            marked::remove(&mut plan, at(&containerd(&name, "hosts.toml")))?;
            marked::remove(&mut plan, at(&containerd(&name, "ca.crt")))?;
        }
        Client::K3s => unrancher(&mut plan, Rancher::K3s, &name, root)?,
        Client::Rke2 => unrancher(&mut plan, Rancher::Rke2, &name, root)?,
        Client::System => {
            let (path, command) = system(root, &name);
            marked::remove(&mut plan, path)?;
            update(&mut plan, root, command);
        }
    }
    Ok(plan)
}

fn rancher(plan: &mut Plan, one: Rancher, name: &str, ca: &str, root: &Path) -> anyhow::Result<()> {
    marked::write(plan, root.join(one.certificate(name)), ca, name)?;
    k3s::trust(plan, one, root, name)
}

fn unrancher(plan: &mut Plan, one: Rancher, name: &str, root: &Path) -> anyhow::Result<()> {
    k3s::untrust(plan, one, root, name)?;
    marked::remove(plan, root.join(one.certificate(name)))
}

/// containerd's settings for one registry.
pub(in super::super) fn hosts_toml(registry: &str, ca: &str) -> String {
    format!(
        "server = \"https://{registry}\"\n\n[host.\"https://{registry}\"]\n  \
         capabilities = [\"pull\", \"resolve\", \"push\"]\n  ca = \"{ca}\"\n"
    )
}

fn docker(registry: &str) -> String {
    format!("etc/docker/certs.d/{registry}/ca.crt")
}

fn podman(registry: &str) -> String {
    format!("etc/containers/certs.d/{registry}/ca.crt")
}

fn containerd(registry: &str, file: &str) -> String {
    format!("etc/containerd/certs.d/{registry}/{file}")
}

/// A registry's name as a file, where colons are not welcome.
pub(super) fn file_name(registry: &str) -> String {
    registry.replace([':', '[', ']'], "_")
}

/// Debian's place, or Red Hat's where that is the one there is.
fn system(root: &Path, registry: &str) -> (PathBuf, &'static str) {
    let file = format!("registryd-{}.crt", file_name(registry));
    let debian = root.join("usr/local/share/ca-certificates");
    let red_hat = root.join("etc/pki/ca-trust/source/anchors");
    if !debian.is_dir() && red_hat.is_dir() {
        (red_hat.join(file), "update-ca-trust")
    } else {
        (debian.join(file), "update-ca-certificates")
    }
}

fn update(plan: &mut Plan, root: &Path, command: &'static str) {
    if !plan.changes() {
        return;
    }
    if root == Path::new("/") {
        plan.run(command);
    } else {
        plan.say(format!("{command} has to be run in {}", root.display()));
    }
}

/// Whether containerd's CRI looks into `certs.d`: it does only if its configuration says so.
pub(in crate::cli) fn containerd_looks(root: &Path) -> anyhow::Result<bool> {
    let path = root.join(CONTAINERD_CONFIG);
    let config = files::read_if_there(&path).with_context(|| path.display().to_string())?;
    let config = String::from_utf8_lossy(&config.unwrap_or_default()).into_owned();
    Ok(config.lines().any(|line| {
        let line = line.trim();
        line.starts_with("config_path") && line.contains("/etc/containerd/certs.d")
    }))
}

const CONTAINERD_CONFIG: &str = "etc/containerd/config.toml";

fn config_path(root: &Path) -> anyhow::Result<String> {
    Ok(if containerd_looks(root)? {
        "containerd reads it at the next pull; no restart is needed".to_owned()
    } else {
        format!(
            "{} does not name the directory, so containerd's CRI (Kubernetes) will not look there; add this, then restart containerd:\n  \
             [plugins.\"io.containerd.grpc.v1.cri\".registry]        # containerd 1.x\n  \
             [plugins.\"io.containerd.cri.v1.images\".registry]       # containerd 2.x\n    \
             config_path = \"/etc/containerd/certs.d\"",
            root.join(CONTAINERD_CONFIG).display()
        )
    })
}
