//! What would be done, shown before it is done.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::cli::out::say;
use crate::files;

/// Steps in order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Write { path: PathBuf, contents: String },
    Remove { path: PathBuf },
    Run { command: &'static str },
    Say { text: String },
}

impl Plan {
    pub(super) fn write(&mut self, path: PathBuf, contents: String) {
        self.steps.push(Step::Write { path, contents });
    }

    pub(super) fn remove(&mut self, path: PathBuf) {
        self.steps.push(Step::Remove { path });
    }

    pub(super) fn run(&mut self, command: &'static str) {
        self.steps.push(Step::Run { command });
    }

    pub(super) fn say(&mut self, text: impl Into<String>) {
        self.steps.push(Step::Say { text: text.into() });
    }

    /// Whether a file would change.
    pub(super) fn changes(&self) -> bool {
        let changes = |step: &Step| matches!(step, Step::Write { .. } | Step::Remove { .. });
        self.steps.iter().any(changes)
    }

    /// Shows every step, and takes it if `apply` says so.
    pub(super) fn carry_out(&self, apply: bool) -> anyhow::Result<()> {
        for step in &self.steps {
            match step {
                Step::Write { path, contents } => {
                    say!("write {}", path.display());
                    for line in shown(path, contents)? {
                        say!("  | {line}");
                    }
                    if apply {
                        write(path, contents)?;
                    }
                }
                Step::Remove { path } => {
                    say!("remove {}", path.display());
                    if apply {
                        std::fs::remove_file(path).with_context(|| permission(path))?;
                        // Empty directories of a registry's name say nothing; others stay.
                        if let Some(parent) = path.parent().filter(|p| is_of_a_registry(p)) {
                            let _ = std::fs::remove_dir(parent);
                        }
                    }
                }
                Step::Run { command } => {
                    say!("run {command}");
                    if apply {
                        let status = Command::new(command)
                            .status()
                            .with_context(|| format!("cannot run {command}"))?;
                        if !status.success() {
                            bail!("{command} failed: {status}");
                        }
                    }
                }
                Step::Say { text } => say!("{text}"),
            }
        }
        if self.changes() && !apply {
            say!("nothing was changed; do it with --apply");
        }
        Ok(())
    }
}

fn write(path: &Path, contents: &str) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| permission(parent))?;
    }
    files::replace(path, contents.as_bytes(), 0o644).with_context(|| permission(path))
}

/// What of `contents` is new. What stays may hold credentials, and what is shown ends up in logs.
fn shown(path: &Path, contents: &str) -> anyhow::Result<Vec<String>> {
    let before = files::read_if_there(path).with_context(|| permission(path))?;
    let before = before.unwrap_or_default();
    let before = String::from_utf8_lossy(&before);
    let old: HashSet<&str> = before.lines().collect();
    let (kept, new): (Vec<&str>, Vec<&str>) = contents.lines().partition(|line| old.contains(line));
    let mut shown: Vec<String> = new.into_iter().map(ToOwned::to_owned).collect();
    if !kept.is_empty() {
        shown.push(format!("({} lines as they are)", kept.len()));
    }
    Ok(shown)
}

fn permission(path: &Path) -> String {
    format!("cannot change {}; run it as root", path.display())
}

fn is_of_a_registry(directory: &Path) -> bool {
    directory
        .parent()
        .and_then(Path::file_name)
        .is_some_and(|name| name == "certs.d")
}
