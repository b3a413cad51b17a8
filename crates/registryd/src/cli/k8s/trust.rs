//! A `DaemonSet` that does on every node what `registryd trust containerd` does on one.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::super::trust::{Remote, authority, hosts_toml, marked};
use super::label;
use crate::cli::out::{self, note};
use crate::tls::Fingerprint;

#[derive(Debug, Args)]
pub(super) struct Trust {
    /// The registry, as images name it.
    #[arg(value_name = "HOST[:PORT]")]
    registry: Remote,
    /// The SHA-256 of the authority's certificate, as the registry printed it at start.
    #[arg(long, value_name = "SHA256", required_unless_present_any = ["ca", "uninstall"])]
    fingerprint: Option<Fingerprint>,
    /// The authority's certificate, instead of asking the registry for it.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print what takes back, on every node, what was written.
    #[arg(long, conflicts_with_all = ["ca", "fingerprint"])]
    uninstall: bool,
    /// The directory that `config_path` of containerd's configuration names.
    #[arg(long, value_name = "DIR", default_value = "/etc/containerd/certs.d", value_parser = directory)]
    certs_dir: String,
    /// A namespace for this alone.
    #[arg(long, value_name = "NAME", default_value = "registryd-trust", value_parser = label)]
    namespace: String,
    /// The name of the `DaemonSet`; another for each registry.
    #[arg(long, value_name = "NAME", default_value = "registryd-trust", value_parser = label)]
    name: String,
    /// An image with a POSIX shell and the usual tools, that nodes can pull before they trust the registry.
    #[arg(long, value_name = "IMAGE", default_value = "docker.io/library/busybox:stable", value_parser = image)]
    image: String,
}

pub(super) fn run(arguments: &Trust) -> anyhow::Result<ExitCode> {
    let ca = if arguments.uninstall {
        None
    } else {
        let (file, fingerprint) = (arguments.ca.as_deref(), arguments.fingerprint);
        Some(authority(&arguments.registry, file, fingerprint)?)
    };
    out::print(manifests(arguments, ca.as_deref()));
    note!("{}", next(arguments));
    Ok(ExitCode::SUCCESS)
}

/// What to type then.
fn next(arguments: &Trust) -> String {
    let (name, namespace) = (&arguments.name, &arguments.namespace);
    let kubectl = format!("kubectl --namespace {namespace}");
    let first = format!(
        "next: pipe this to kubectl apply -f -\n      {kubectl} rollout status daemonset/{name}"
    );
    if arguments.uninstall {
        // Other registries may have theirs in the same namespace.
        format!(
            "{first}\n      {kubectl} delete daemonset/{name} configmap/{name}   # once it is on every node\n      \
             {kubectl} get daemonsets   # if there is none left: kubectl delete namespace {namespace}"
        )
    } else {
        format!(
            "{first}\n      nodes whose containerd has no config_path = {:?} do not look there",
            arguments.certs_dir
        )
    }
}

/// The manifests: to write if there is a certificate of an authority, else to remove.
fn manifests(arguments: &Trust, ca: Option<&str>) -> String {
    let registry = arguments.registry.to_string();
    let mut data = block("node.sh", include_str!("node.sh"));
    if let Some(ca) = ca {
        let path = format!("{}/{registry}/ca.crt", arguments.certs_dir);
        data += &block("ca.crt", &marked(ca, &registry));
        data += &block(
            "hosts.toml",
            &marked(&hosts_toml(&registry, &path), &registry),
        );
    }
    let (what, verb) = match ca {
        Some(_) => ("every node trusts", "write"),
        None => ("every node forgets", "remove"),
    };
    // The data last: it is nobody's template.
    include_str!("trust.yaml")
        .replace("@WHAT@", &format!("{what} {registry}"))
        .replace("@CERTS_D@", &arguments.certs_dir)
        .replace("@NAMESPACE@", &arguments.namespace)
        .replace("@NAME@", &arguments.name)
        .replace("@IMAGE@", &arguments.image)
        .replace("@VERB@", verb)
        .replace("@REGISTRY@", &registry)
        .replace("@DATA@", &data)
}

/// An entry of a mapping, as a literal block.
fn block(key: &str, text: &str) -> String {
    let mut block = format!("  {key}: |\n");
    for line in text.lines() {
        if line.is_empty() {
            block.push('\n');
        } else {
            let _ = writeln!(block, "    {line}");
        }
    }
    block
}

/// A directory on nodes, which goes into YAML and a file of containerd as it is.
fn directory(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    let path = text.trim_end_matches('/');
    if path.is_empty()
        || !path.starts_with('/')
        || !path.chars().all(fits)
        || path.split('/').any(|part| part == "..")
    {
        return Err(
            "it is no absolute path below `/` of letters, digits, `.`, `-` and `_`; write it as `/etc/containerd/certs.d`"
                .to_owned(),
        );
    }
    Ok(path.to_owned())
}

fn image(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "/.-_:@".contains(c);
    if text.is_empty() || !text.chars().all(fits) {
        return Err("it is no reference to an image".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command, Output};

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        trust: Trust,
    }

    fn arguments(more: &[&str]) -> Trust {
        let line = ["trust", "registry.lan:5000"].iter().chain(more);
        Line::try_parse_from(line).unwrap().trust
    }

    const CA: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    /// The entry of the config map, as Kubernetes writes it into a file.
    fn entry(manifests: &str, key: &str) -> String {
        let (_, rest) = manifests.split_once(&format!("\n  {key}: |\n")).unwrap();
        let lines = rest.lines();
        let own = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
        own.fold(String::new(), |text, line| {
            text + line.strip_prefix("    ").unwrap_or_default() + "\n"
        })
    }

    /// A node, and what is mounted into the pod.
    fn node(manifests: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("files")).unwrap();
        for key in ["node.sh", "ca.crt", "hosts.toml"] {
            std::fs::write(dir.path().join("files").join(key), entry(manifests, key)).unwrap();
        }
        dir
    }

    fn run_on(node: &Path, verb: &str) -> Output {
        Command::new("/bin/sh")
            .args(["files/node.sh", verb, "once"])
            .current_dir(node)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("FILES", "files")
            .env("CERTS_D", "certs.d")
            .env("REGISTRY", "registry.lan:5000")
            .output()
            .unwrap()
    }

    #[test]
    fn nodes_get_what_containerd_reads_and_lose_only_that() {
        let text = manifests(&arguments(&["--uninstall"]), Some(CA));
        let node = node(&text);
        let here = node.path().join("certs.d/registry.lan:5000");
        let read = |name: &str| std::fs::read_to_string(here.join(name)).unwrap();
        let first = run_on(node.path(), "write");
        assert!(first.status.success(), "{first:?}");
        assert_eq!(read("ca.crt"), marked(CA, "registry.lan:5000"));
        assert!(
            read("hosts.toml")
                .contains("\n  ca = \"/etc/containerd/certs.d/registry.lan:5000/ca.crt\"\n")
        );
        let again = run_on(node.path(), "write");
        assert!(
            again.status.success() && again.stdout.is_empty(),
            "{again:?}"
        );

        // A new authority.
        let other = marked(&CA.replace("AAAA", "BBBB"), "registry.lan:5000");
        std::fs::write(node.path().join("files/ca.crt"), &other).unwrap();
        let renewed = run_on(node.path(), "write");
        assert!(renewed.status.success(), "{renewed:?}");
        assert_eq!(read("ca.crt"), other);

        // What people have changed is theirs.
        std::fs::write(here.join("hosts.toml"), read("hosts.toml") + "# mine\n").unwrap();
        let refused = run_on(node.path(), "write");
        assert!(!refused.status.success(), "{refused:?}");
        let removed = run_on(node.path(), "remove");
        assert!(removed.status.success(), "{removed:?}");
        assert!(read("hosts.toml").ends_with("# mine\n") && !here.join("ca.crt").exists());

        std::fs::remove_file(here.join("hosts.toml")).unwrap();
        assert!(run_on(node.path(), "write").status.success());
        assert!(run_on(node.path(), "remove").status.success());
        assert!(!here.exists());
        assert!(run_on(node.path(), "remove").status.success());
    }

    #[test]
    fn the_same_is_printed_each_time_and_nothing_is_left_to_fill_in() {
        let more = [
            "--certs-dir",
            "/var/lib/certs.d/",
            "--namespace",
            "ns",
            "--name",
            "hub",
        ];
        let arguments = arguments(&[&more[..], &["--uninstall"]].concat());
        let text = manifests(&arguments, Some(CA));
        assert_eq!(text, manifests(&arguments, Some(CA)));
        assert!(!text.contains('@'), "{text}");
        assert!(text.contains("path: \"/var/lib/certs.d\"") && text.contains("name: \"hub\""));
        assert!(text.contains("node.sh\", \"write\"]"));
        let without = manifests(&arguments, None);
        assert!(without.contains("node.sh\", \"remove\"]") && !without.contains("CERTIFICATE"));
    }

    #[test]
    fn names_that_look_like_numbers_or_booleans_stay_names() {
        for odd in ["1", "on", "no", "null", "1e3"] {
            let text = manifests(
                &arguments(&["--uninstall", "--namespace", odd, "--name", odd]),
                Some(CA),
            );
            let bare = |line: &&str| line.trim_end().ends_with(&format!(": {odd}"));
            assert_eq!(text.lines().find(bare), None, "{odd}");
        }
    }

    #[test]
    fn taking_it_back_leaves_other_registries_alone() {
        let said = next(&arguments(&["--uninstall", "--name", "hub"]));
        assert!(
            said.contains("--namespace registryd-trust delete daemonset/hub configmap/hub"),
            "{said}"
        );
        let lines = said.lines();
        let whole = lines.filter(|line| line.trim().starts_with("kubectl delete namespace"));
        assert_eq!(whole.count(), 0, "{said}");
    }

    #[test]
    fn a_registry_on_the_port_of_https_is_looked_up_without_it() {
        let line = ["trust", "registry.lan", "--uninstall"];
        let text = manifests(&Line::try_parse_from(line).unwrap().trust, Some(CA));
        for wanted in [
            "value: \"registry.lan\"",
            "server = \"https://registry.lan\"",
            "ca = \"/etc/containerd/certs.d/registry.lan/ca.crt\"",
        ] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
    }

    #[test]
    fn what_would_not_be_yaml_is_refused() {
        for bad in ["", "/", "//", "etc", "/a b", "/a\"", "/../etc", "/a\n"] {
            directory(bad).unwrap_err();
        }
        for bad in ["", "a b", "a\"", "a\n"] {
            image(bad).unwrap_err();
        }
        let line = ["trust", "registry.lan:5000"];
        assert!(Line::try_parse_from(line).is_err(), "without an authority");
    }
}
