use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::super::Severity;
use super::*;

const NAME: &str = "registry.lan:5000";
const CLIENTS: [&str; 4] = ["docker", "containerd", "k3s", "rke2"];

/// A machine with clients, and a registry whose authority none of them knows.
struct Machine {
    root: TempDir,
    chain: Vec<CertificateDer<'static>>,
    ca: String,
    address: SocketAddr,
    tls: bool,
    /// As the registry is asked for.
    authority: &'static str,
}

impl Machine {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        let title = (DnType::CommonName, "authority");
        parameters.distinguished_name.push(title.0, title.1);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = parameters.self_signed(&key).unwrap();
        let issuer = Issuer::new(parameters, key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["registry.lan".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let root = tempfile::tempdir().unwrap();
        for client in [
            "docker",
            "containerd/certs.d",
            "rancher/k3s",
            "rancher/rke2",
        ] {
            std::fs::create_dir_all(root.path().join("etc").join(client)).unwrap();
        }
        Self {
            root,
            chain: vec![leaf.der().clone(), authority.der().clone()],
            ca: authority.pem(),
            address: "192.0.2.7:5000".parse().unwrap(),
            tls: true,
            authority: NAME,
        }
    }

    fn asked(&self) -> Asked<'_> {
        let scheme = if self.tls { "https" } else { "http" };
        let url = format!("{scheme}://{}", self.authority);
        Asked {
            tls: self.tls,
            host: "registry.lan",
            names: names(&url.parse().unwrap()),
            addresses: std::slice::from_ref(&self.address),
            chain: &self.chain,
        }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn find(&self, client: &str) -> Finding {
        let mut found = examine(&self.asked(), self.root.path());
        assert_eq!(found.len(), CLIENTS.len(), "{found:?}");
        let at = found.iter().position(|one| one.check == client).unwrap();
        found.swap_remove(at)
    }

    /// Severity, what was found, and the fix.
    fn said(&self, client: &str) -> (Severity, String, String) {
        let finding = self.find(client);
        (
            finding.severity,
            finding.what,
            finding.fix.unwrap_or_default(),
        )
    }
}

#[test]
fn each_client_that_does_not_trust_gets_the_command_that_makes_it() {
    let machine = Machine::new();
    let fingerprint = crate::tls::Fingerprint::of(&machine.chain[1]);
    for client in CLIENTS {
        let (severity, what, fix) = machine.said(client);
        assert_eq!(severity, Severity::Error, "{what}");
        let command =
            format!("`registryd trust {client} {NAME} --fingerprint {fingerprint} --apply`");
        assert!(fix.starts_with(&command), "{fix}");
    }
    // Nobody knows an authority that is not shown: its file has to be brought.
    let mut alone = Machine::new();
    alone.chain.truncate(1);
    assert!(alone.said("docker").2.contains("--ca FILE"));
    // A containerd that nobody set up for registries came with docker, perhaps.
    std::fs::remove_dir(machine.root.path().join("etc/containerd/certs.d")).unwrap();
    assert_eq!(machine.find("containerd").severity, Severity::Warning);
}

#[test]
fn clients_that_are_not_there_say_nothing() {
    let machine = Machine::new();
    let empty = tempfile::tempdir().unwrap();
    assert!(examine(&machine.asked(), empty.path()).is_empty());
}

#[test]
fn an_authority_that_the_whole_machine_trusts_is_enough() {
    let machine = Machine::new();
    machine.write("etc/ssl/certs/ca-certificates.crt", &machine.ca);
    for client in CLIENTS {
        assert_eq!(machine.find(client).severity, Severity::Ok, "{client}");
    }
}

#[test]
fn docker_finds_authorities_by_host_and_port() {
    let machine = Machine::new();
    machine.write("etc/docker/certs.d/registry.lan/ca.crt", &machine.ca);
    let (severity, what, _) = machine.said("docker");
    assert_eq!(severity, Severity::Error);
    assert!(
        what.ends_with("has registry.lan, but registry.lan:5000 is looked for"),
        "{what}"
    );
    machine.write("etc/docker/certs.d/registry.lan:5000/any.crt", &machine.ca);
    assert_eq!(machine.find("docker").severity, Severity::Ok);
}

#[test]
fn docker_refuses_plain_http_unless_it_is_excused() {
    let mut machine = Machine::new();
    machine.tls = false;
    let (severity, _, fix) = machine.said("docker");
    assert_eq!(severity, Severity::Error);
    assert!(
        fix.contains("add \"registry.lan:5000\" to insecure-registries"),
        "{fix}"
    );
    for entry in [
        "registry.lan:5000",
        "http://registry.lan:5000",
        "192.0.2.0/24",
    ] {
        let settings = format!("{{\"insecure-registries\": [\"{entry}\"]}}");
        machine.write("etc/docker/daemon.json", &settings);
        assert_eq!(machine.find("docker").severity, Severity::Ok, "{entry}");
    }
    machine.write(
        "etc/docker/daemon.json",
        "{\"insecure-registries\": [\"other:5000\"]}",
    );
    assert_eq!(machine.find("docker").severity, Severity::Error);
    machine.address = "127.0.0.1:5000".parse().unwrap();
    assert_eq!(machine.find("docker").severity, Severity::Ok);
    machine.write("etc/docker/daemon.json", "{,}");
    assert!(machine.said("docker").1.contains("daemon.json"));
}

#[test]
fn containerd_reads_hosts_toml() {
    let machine = Machine::new();
    let hosts = |text: &str| {
        machine.write("etc/containerd/certs.d/registry.lan:5000/hosts.toml", text);
        machine.said("containerd")
    };
    let good = format!("server = \"https://{NAME}\"\n[host.\"https://{NAME}\"]\nca = \"ca.crt\"\n");
    let (severity, what, _) = hosts(&good);
    assert_eq!(severity, Severity::Error);
    assert!(what.contains("ca.crt, which cannot be used"), "{what}");
    machine.write(
        "etc/containerd/certs.d/registry.lan:5000/ca.crt",
        &machine.ca,
    );
    let (severity, _, fix) = hosts(&good);
    assert_eq!(severity, Severity::Warning);
    assert!(fix.contains("config_path"), "{fix}");
    machine.write(
        "etc/containerd/config.toml",
        "[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n",
    );
    assert_eq!(hosts(&good).0, Severity::Ok);
    // As `registryd trust containerd` writes it.
    let absolute = good.replace("ca.crt", "/etc/containerd/certs.d/registry.lan:5000/ca.crt");
    assert_eq!(hosts(&absolute).0, Severity::Ok);
    assert_eq!(hosts("ca = [\"ca.crt\"]\n").0, Severity::Ok);

    assert_eq!(
        hosts("server = \"https://registry.lan:5000\"\n").0,
        Severity::Error
    );
    let (severity, what, _) = hosts(&good.replace("ca =", "skip_verify = true\nca ="));
    assert_eq!(
        (severity, what.contains("skip_verify")),
        (Severity::Warning, true)
    );
    let (severity, what, _) = hosts("server = [\n");
    assert_eq!(
        (severity, what.contains("hosts.toml: ")),
        (Severity::Error, true)
    );
}

#[test]
fn containerd_finds_its_directory_by_host_and_port() {
    let machine = Machine::new();
    machine.write(
        "etc/containerd/config.toml",
        "config_path = \"/etc/containerd/certs.d\"\n",
    );
    machine.write("etc/containerd/certs.d/registry.lan/ca.crt", &machine.ca);
    let (severity, what, _) = machine.said("containerd");
    assert_eq!(severity, Severity::Error);
    assert!(what.contains("has registry.lan, but"), "{what}");
    machine.write(
        "etc/containerd/certs.d/registry.lan_5000_/ca.crt",
        &machine.ca,
    );
    assert_eq!(machine.find("containerd").severity, Severity::Ok);
}

#[test]
fn plain_http_is_for_clients_that_were_told() {
    let mut machine = Machine::new();
    machine.tls = false;
    assert_eq!(machine.find("containerd").severity, Severity::Error);
    assert_eq!(machine.find("k3s").severity, Severity::Error);
    machine.write(
        "etc/containerd/certs.d/registry.lan:5000/hosts.toml",
        "server = \"http://registry.lan:5000\"\n",
    );
    assert_eq!(machine.find("containerd").severity, Severity::Ok);
    machine.write(
        "etc/rancher/k3s/registries.yaml",
        "mirrors:\n  registry.lan:5000:\n    endpoint: [\"http://registry.lan:5000\"]\n",
    );
    assert_eq!(machine.find("k3s").severity, Severity::Ok);
}

#[test]
fn k3s_reads_registries_yaml() {
    let machine = Machine::new();
    let settings = |text: &str| {
        machine.write("etc/rancher/k3s/registries.yaml", text);
        machine.said("k3s")
    };
    let good =
        "configs:\n  \"registry.lan:5000\":\n    tls:\n      ca_file: /etc/rancher/k3s/ca.crt\n";
    let (severity, what, _) = settings(good);
    assert_eq!(severity, Severity::Error);
    assert!(what.contains("which cannot be used"), "{what}");
    machine.write("etc/rancher/k3s/ca.crt", &machine.ca);
    assert_eq!(settings(good).0, Severity::Ok);
    let (severity, what, _) = settings(&good.replace(":5000", ""));
    assert_eq!(severity, Severity::Error);
    assert!(
        what.ends_with("registries.yaml has registry.lan, but registry.lan:5000 is looked for"),
        "{what}"
    );
    let (severity, ..) = settings(&good.replace(
        "ca_file: /etc/rancher/k3s/ca.crt",
        "insecure_skip_verify: true",
    ));
    assert_eq!(severity, Severity::Warning);
    assert_eq!(settings("configs: [\n").0, Severity::Error);
}

#[test]
fn rke2_reads_a_registries_yaml_of_its_own() {
    let machine = Machine::new();
    let settings = format!("configs:\n  \"{NAME}\":\n    tls:\n      ca_file: /etc/ca.crt\n");
    machine.write("etc/ca.crt", &machine.ca);
    machine.write("etc/rancher/rke2/registries.yaml", &settings);
    assert_eq!(machine.find("rke2").severity, Severity::Ok);
    assert_eq!(machine.find("k3s").severity, Severity::Error);
}

#[test]
fn the_port_of_https_is_as_the_names_of_images_have_it() {
    let mut machine = Machine::new();
    machine.authority = "registry.lan";
    let fingerprint = crate::tls::Fingerprint::of(&machine.chain[1]);
    for client in CLIENTS {
        let (_, what, fix) = machine.said(client);
        assert!(what.ends_with("the certificate of registry.lan"), "{what}");
        let command = format!("`registryd trust {client} registry.lan --fingerprint {fingerprint}");
        assert!(fix.starts_with(&command), "{fix}");
    }
    let hosts = "ca = \"ca.crt\"\n";
    let settings =
        |name: &str| format!("configs: {{\"{name}\": {{tls: {{ca_file: /etc/ca.crt}}}}}}\n");
    machine.write("etc/ca.crt", &machine.ca);
    machine.write(
        "etc/containerd/config.toml",
        "config_path = \"/etc/containerd/certs.d\"\n",
    );
    let trust = |name: &str| {
        machine.write(&format!("etc/docker/certs.d/{name}/ca.crt"), &machine.ca);
        let containerd = format!("etc/containerd/certs.d/{name}");
        machine.write(&format!("{containerd}/ca.crt"), &machine.ca);
        machine.write(&format!("{containerd}/hosts.toml"), hosts);
        for one in ["k3s", "rke2"] {
            let path = format!("etc/rancher/{one}/registries.yaml");
            machine.write(&path, &settings(name));
        }
    };
    // No client finds that for `registry.lan/app`.
    trust("registry.lan:443");
    for client in CLIENTS {
        let (severity, what, _) = machine.said(client);
        assert_eq!(severity, Severity::Error, "{what}");
        assert!(
            what.ends_with("has registry.lan:443, but registry.lan is looked for"),
            "{what}"
        );
    }
    trust("registry.lan");
    for client in CLIENTS {
        assert_eq!(machine.find(client).severity, Severity::Ok, "{client}");
    }
    // Whoever writes the port into the URL may name images in either way.
    machine.authority = "registry.lan:443";
    for client in CLIENTS {
        assert_eq!(machine.find(client).severity, Severity::Ok, "{client}");
    }
}
