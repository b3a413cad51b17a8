//! A Secret for `imagePullSecrets`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::json;

use super::super::password;
use super::label;
use crate::cli::out::{self, note};
use crate::files;

/// Print the Secret with which a cluster's nodes pull.
///
/// The password is asked for, or read from the standard input or a file: in the command line, every user of
/// this machine could see it.
#[derive(Debug, Args)]
pub(crate) struct PullSecret {
    /// The registry as images name it: without a scheme, with the port if they have one.
    #[arg(value_name = "HOST[:PORT]", value_parser = registry)]
    registry: String,
    /// Who pulls.
    #[arg(long, value_name = "NAME", value_parser = user)]
    user: String,
    /// Read the password from the standard input.
    #[arg(long, conflicts_with = "password_file")]
    password_stdin: bool,
    /// Read the password from the first line of a file.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The name of the Secret.
    #[arg(long, value_name = "NAME", default_value = "registry-pull", value_parser = label)]
    name: String,
    /// The namespace of the pods that pull; by default the one that kubectl uses.
    #[arg(long, short, value_name = "NAME", value_parser = label)]
    namespace: Option<String>,
}

pub(super) fn run(arguments: &PullSecret) -> anyhow::Result<ExitCode> {
    let password = password(arguments)?;
    out::print(manifest(arguments, &password));
    note!(
        "next: pipe this to kubectl apply -f -, and name it in pods: imagePullSecrets: [{{name: {:?}}}]\n      \
         whoever can read it knows the password: base64 hides nothing",
        arguments.name
    );
    Ok(ExitCode::SUCCESS)
}

fn password(arguments: &PullSecret) -> anyhow::Result<String> {
    let password = if let Some(path) = &arguments.password_file {
        let bytes = files::read(path).with_context(|| path.display().to_string())?;
        let text =
            String::from_utf8(bytes).with_context(|| format!("{} is not text", path.display()))?;
        text.lines().next().unwrap_or_default().to_owned()
    } else if arguments.password_stdin {
        password::line().context("the password on the standard input")?
    } else {
        password::ask(&format!("Password of {}: ", arguments.user)).context("the password")?
    };
    ensure!(
        !password.is_empty(),
        "the password is empty; give it with --password-stdin or --password-file"
    );
    Ok(password)
}

/// The same as `kubectl create secret docker-registry`, as YAML.
fn manifest(arguments: &PullSecret, password: &str) -> String {
    let PullSecret {
        registry,
        user,
        name,
        ..
    } = arguments;
    let auth = STANDARD.encode(format!("{user}:{password}"));
    let config = json!({"auths": {registry: {
        "username": user, "password": password, "auth": auth,
    }}});
    let namespace = match &arguments.namespace {
        Some(namespace) => format!("  namespace: \"{namespace}\"\n"),
        None => String::new(),
    };
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: \"{name}\"\n{namespace}type: kubernetes.io/dockerconfigjson\n\
         data:\n  .dockerconfigjson: {}\n",
        STANDARD.encode(config.to_string())
    )
}

fn registry(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    if text.is_empty() || !text.chars().all(fits) {
        return Err(
            "write it as images name it, without a scheme or a path: `registry.lan:5000`"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

fn user(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(':') {
        return Err("a user name is not empty and has no `:`".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        secret: PullSecret,
    }

    fn arguments(more: &[&str]) -> Result<PullSecret, clap::Error> {
        let line = ["pull-secret", "registry.lan:5000", "--user", "alice"];
        Line::try_parse_from(line.iter().chain(more)).map(|line| line.secret)
    }

    #[test]
    fn nodes_read_user_and_password_from_it() {
        let text = manifest(&arguments(&["-n", "apps"]).unwrap(), "p\"ss: w\u{f6}rd");
        assert!(text.contains("\n  namespace: \"apps\"\ntype: kubernetes.io/dockerconfigjson\n"));
        let (_, data) = text.trim_end().rsplit_once(' ').unwrap();
        let config = STANDARD.decode(data).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        let entry = &config["auths"]["registry.lan:5000"];
        assert_eq!(entry["username"], "alice");
        assert_eq!(entry["password"], "p\"ss: w\u{f6}rd");
        let auth = STANDARD.decode(entry["auth"].as_str().unwrap()).unwrap();
        assert_eq!(auth, "alice:p\"ss: w\u{f6}rd".as_bytes());
        // As a number or a boolean, kubectl would refuse it.
        let odd = manifest(&arguments(&["-n", "1", "--name", "true"]).unwrap(), "x");
        assert!(
            odd.contains("\n  name: \"true\"\n  namespace: \"1\"\n"),
            "{odd}"
        );
        let without = manifest(&arguments(&[]).unwrap(), "x");
        assert!(!without.contains("namespace"));
    }

    #[test]
    fn a_password_comes_from_a_file_and_never_from_the_command_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "hush\r\nmore\n").unwrap();
        let file = path.to_str().unwrap();
        let read = password(&arguments(&["--password-file", file]).unwrap());
        assert_eq!(read.unwrap(), "hush");
        std::fs::write(&path, "").unwrap();
        let empty = password(&arguments(&["--password-file", file]).unwrap());
        assert!(empty.unwrap_err().to_string().contains("--password-stdin"));
        assert!(arguments(&["--password", "hush"]).is_err());
    }

    #[test]
    fn what_is_no_registry_is_refused() {
        for bad in ["", "https://registry.lan", "registry.lan/a", "a b"] {
            registry(bad).unwrap_err();
        }
        user("a:b").unwrap_err();
    }
}
