//! oras-py: artifacts of any type.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    bench::{target_directory, workspace_directory},
    command::Invocation,
    machine::Machine,
    security::Access,
};

/// oras-py on one machine, speaking to one registry.
#[derive(Debug)]
pub struct Oras<'a> {
    machine: &'a Machine,
    access: Access,
    python: PathBuf,
}

/// What the registry answered to a push.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pushed {
    /// `Docker-Content-Digest`.
    pub digest: String,
    /// `OCI-Subject`, if it came.
    pub subject: Option<String>,
}

impl<'a> Oras<'a> {
    /// oras-py on this machine.
    ///
    /// # Errors
    /// When its virtual environment is missing.
    pub fn new(machine: &'a Machine, access: &Access) -> Result<Self> {
        let python = target_directory().join("e2e/venv/bin/python");
        ensure!(
            python.is_file(),
            "oras-py is not installed: run `.ci/install-clients` as root, or `/usr/bin/python3 -m \
             venv {0} && {0}/bin/pip install -r tests/e2e/requirements.txt`",
            target_directory().join("e2e/venv").display()
        );
        Ok(Self {
            machine,
            access: access.clone(),
            python,
        })
    }

    /// Stores a login. oras-py asks the registry nothing here: a wrong password shows later.
    pub fn login(&self, access: &Access) -> Result<()> {
        let password = access.password().context("an open registry has no login")?;
        let login = json!({"verb": "login", "user": Access::USER, "password": password});
        self.command(login)?.succeed()?;
        Ok(())
    }

    /// The push of one file as an artifact, not yet run.
    pub fn pushing(&self, name: &str, file: &Path, options: Value) -> Result<Invocation> {
        let mut request = json!({
            "verb": "push",
            "target": self.access.image(name),
            "files": [format!("{}:application/vnd.example.file", file.display())],
            "chunked": false,
        });
        merge(&mut request, options);
        self.command(request)
    }

    /// Pushes one file as an artifact.
    pub fn push(&self, name: &str, file: &Path, options: Value) -> Result<Pushed> {
        let answer = result(self.pushing(name, file, options)?)?;
        let header = |name: &str| {
            answer
                .get("headers")?
                .get(name)?
                .as_str()
                .map(str::to_owned)
        };
        let digest = header("docker-content-digest")
            .with_context(|| format!("the push's answer has no digest: {answer}"))?;
        Ok(Pushed {
            digest,
            subject: header("oci-subject"),
        })
    }

    /// Pulls an artifact into a directory and returns its files.
    pub fn pull(&self, name: &str, directory: &Path) -> Result<Vec<PathBuf>> {
        let request = json!({
            "verb": "pull",
            "target": self.access.image(name),
            "outdir": directory,
        });
        Ok(strings(&result(self.command(request)?)?, "files")
            .map(PathBuf::from)
            .collect())
    }

    /// The tags of a repository.
    pub fn tags(&self, repository: &str) -> Result<Vec<String>> {
        let request = json!({"verb": "tags", "target": self.access.image(repository)});
        Ok(strings(&result(self.command(request)?)?, "tags").collect())
    }

    fn command(&self, mut request: Value) -> Result<Invocation> {
        let config = self.machine.home().join("oras.json");
        merge(
            &mut request,
            json!({
                "host": self.access.authority(),
                "plain": !self.access.is_guarded(),
                "config": self.access.is_guarded().then_some(config),
            }),
        );
        let driver = workspace_directory().join("tests/e2e/src/clients/oras_driver.py");
        ensure!(driver.is_file(), "{} is missing", driver.display());
        let mut command = self
            .machine
            .command(&self.python)
            .arg(driver)
            .arg(request.to_string())
            .current_dir(self.machine.path());
        if let Some(ca) = self.access.ca() {
            command = command.env("REQUESTS_CA_BUNDLE", ca);
        }
        Ok(command)
    }
}

fn result(command: Invocation) -> Result<Value> {
    let text = command.succeed()?.text();
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("oras-py said {text:?}"))
}

fn merge(request: &mut Value, more: Value) {
    if let (Value::Object(request), Value::Object(more)) = (request, more) {
        request.extend(more);
    }
}

fn strings(value: &Value, field: &str) -> impl Iterator<Item = String> {
    let list = value
        .get(field)
        .and_then(|list| list.as_array())
        .cloned()
        .unwrap_or_default();
    list.into_iter()
        .filter_map(|item| item.as_str().map(str::to_owned))
}
