//! Whole files of ours: their first line says who wrote them, and what, so that only that is taken back.

use std::path::PathBuf;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use super::plan::Plan;
use crate::files;

/// `body` below a line that marks it as ours. PEM and TOML both allow it.
pub(in super::super) fn marked(body: &str, registry: &str) -> String {
    format!("{MARK}{registry}, content {}\n{body}", digest(body))
}

/// Plans to put `body` into a file that is ours or not there yet.
pub(super) fn write(
    plan: &mut Plan,
    path: PathBuf,
    body: &str,
    registry: &str,
) -> anyhow::Result<()> {
    let wanted = marked(body, registry);
    let old = files::read_if_there(&path).with_context(|| path.display().to_string())?;
    match old.map(|old| String::from_utf8_lossy(&old).into_owned()) {
        Some(old) if old == wanted || old.trim() == body.trim() => {
            plan.say(format!("{} is as it should be", path.display()));
        }
        Some(old) if !is_untouched(&old) => bail!(
            "{} is there, and registryd did not write it or somebody changed it since; move it away, or add this to it by hand:\n{body}",
            path.display()
        ),
        _ => plan.write(path, wanted),
    }
    Ok(())
}

/// Plans to remove a file if it is just as we wrote it.
pub(super) fn remove(plan: &mut Plan, path: PathBuf) -> anyhow::Result<()> {
    let old = files::read_if_there(&path).with_context(|| path.display().to_string())?;
    match old.map(|old| String::from_utf8_lossy(&old).into_owned()) {
        None => plan.say(format!("{} is not there", path.display())),
        Some(old) if is_untouched(&old) => plan.remove(path),
        Some(_) => plan.say(format!(
            "{} stays: registryd did not write it, or somebody changed it since",
            path.display()
        )),
    }
    Ok(())
}

/// Whether a text begins with our mark and goes on as it was written.
fn is_untouched(text: &str) -> bool {
    text.split_once('\n').is_some_and(|(first, body)| {
        first.starts_with(MARK) && first.ends_with(&format!(", content {}", digest(body)))
    })
}

fn digest(body: &str) -> String {
    hex::encode(Sha256::digest(body)).chars().take(16).collect()
}

const MARK: &str = "# Written by registryd trust for ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_it_was_written_counts_as_ours() {
        let text = marked("a\nb\n", "r:5000");
        assert!(is_untouched(&text));
        assert!(!is_untouched(&format!("{text}c\n")));
        assert!(!is_untouched("a\nb\n"));
        assert!(!is_untouched(""));
    }
}
