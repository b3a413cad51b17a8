//! `registries.yaml` of k3s and RKE2, which others edit too.
//!
//! The text is changed by whole lines, and the result is read back: if it does not say exactly what the old
//! one said and our entry, nothing is written.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value as Json, json};

use super::clients::file_name;
use super::plan::Plan;
use crate::files;

/// Who reads the file: each has it in a directory of its own.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) enum Rancher {
    K3s,
    Rke2,
}

impl Rancher {
    pub(in crate::cli) fn name(self) -> &'static str {
        match self {
            Self::K3s => "k3s",
            Self::Rke2 => "rke2",
        }
    }

    /// Below the root.
    pub(in crate::cli) fn registries(self) -> String {
        format!("etc/rancher/{}/registries.yaml", self.name())
    }

    /// Where the certificate lies.
    pub(super) fn certificate(self, registry: &str) -> String {
        let file = file_name(registry);
        format!("etc/rancher/{}/registryd-{file}.crt", self.name())
    }
}

/// Plans to add the registry.
pub(super) fn trust(
    plan: &mut Plan,
    one: Rancher,
    root: &Path,
    registry: &str,
) -> anyhow::Result<()> {
    let path = &root.join(one.registries());
    let old = read(path)?;
    let ca = one.certificate(registry);
    match with(&old, registry, &ca).with_context(|| path.display().to_string())? {
        Some(new) => plan.write(path.to_owned(), new),
        None => plan.say(format!("{} is as it should be", path.display())),
    }
    Ok(())
}

/// Plans to take the registry out again.
pub(super) fn untrust(
    plan: &mut Plan,
    one: Rancher,
    root: &Path,
    registry: &str,
) -> anyhow::Result<()> {
    let path = &root.join(one.registries());
    let old = read(path)?;
    match without(&old, registry).with_context(|| path.display().to_string())? {
        Some(new) if new.trim().is_empty() => plan.remove(path.to_owned()),
        Some(new) => plan.write(path.to_owned(), new),
        None => plan.say(format!(
            "{} has no entry for {registry} that registryd wrote",
            path.display()
        )),
    }
    Ok(())
}

pub(in crate::cli) fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = files::read_if_there(path).with_context(|| path.display().to_string())?;
    String::from_utf8(bytes.unwrap_or_default())
        .with_context(|| format!("{} is not text", path.display()))
}

/// The text with an entry for the registry, whose authority lies at `/ca`; `None` if it has it.
fn with(old: &str, registry: &str, ca: &str) -> anyhow::Result<Option<String>> {
    let before = parse(old)?;
    let ours = json!({ "tls": { "ca_file": format!("/{ca}") } });
    if let Some(entry) = before
        .get("configs")
        .and_then(|configs| configs.get(registry))
    {
        if *entry == ours {
            return Ok(None);
        }
        bail!(
            "it configures {registry} already; add this to that entry by hand:\n{}",
            entry_lines(registry, ca, "  ")
        );
    }
    let (head, tail, indent, own_key) = place(old);
    let mut new = head.to_owned();
    if !new.is_empty() && !new.ends_with('\n') {
        new.push('\n');
    }
    if own_key {
        new.extend(["configs:", &mark(registry), "\n"]);
    }
    new.push_str(&entry_lines(registry, ca, indent));
    new.push_str(tail);

    let mut wanted = before;
    let configs = wanted.entry("configs").or_insert_with(|| json!({}));
    if configs.is_null() {
        *configs = json!({});
    }
    if let Json::Object(configs) = configs {
        configs.insert(registry.to_owned(), ours);
    }
    if parse(&new).ok() != Some(wanted) {
        bail!(
            "it is written in a way that cannot be changed safely; add this below `configs:` by hand:\n{}",
            entry_lines(registry, ca, "  ")
        );
    }
    Ok(Some(new))
}

/// The text without the lines that bear our mark for this registry; `None` if there are none.
fn without(old: &str, registry: &str) -> anyhow::Result<Option<String>> {
    let mark = mark(registry);
    let is_ours = |line: &&str| line.trim_end().ends_with(&mark);
    if !old.lines().any(|line| is_ours(&line)) {
        return Ok(None);
    }
    let mut lines: Vec<_> = old.lines().collect();
    // The key that holds the entries stays while others need it.
    let is_child = |line: &str| line.starts_with([' ', '\t']) && !line.trim().is_empty();
    let top = lines.iter().position(|line| line.starts_with("configs:"));
    let others = top.is_some_and(|top| {
        let below = lines.iter().skip(top + 1).take_while(|line| is_child(line));
        below.filter(|line| !is_ours(line)).count() > 0
    });
    lines.retain(|line| !is_ours(line) || (others && line.starts_with("configs:")));
    let mut new = lines.join("\n");
    if !new.is_empty() {
        new.push('\n');
    }
    let mut wanted = parse(old)?;
    if let Some(Json::Object(configs)) = wanted.get_mut("configs") {
        configs.remove(registry);
    }
    if settled(parse(&new)?) != settled(wanted) {
        bail!("the entry of {registry} was changed; take it out by hand");
    }
    Ok(Some(new))
}

/// Where an entry goes: the text before and after, its indentation, and whether it needs the key above it.
fn place(old: &str) -> (&str, &str, &str, bool) {
    let mut at = 0;
    for line in old.split_inclusive('\n') {
        at += line.len();
        let Some(rest) = line.strip_prefix("configs:") else {
            continue;
        };
        if !rest.trim().is_empty() && !rest.trim_start().starts_with('#') {
            break;
        }
        let (head, tail) = old.split_at_checked(at).unwrap_or((old, ""));
        let next = tail.lines().find(|line| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        });
        let indent = next.map_or(0, |line| line.len() - line.trim_start_matches(' ').len());
        let spaces = next.and_then(|line| line.get(..indent)).unwrap_or_default();
        return (
            head,
            tail,
            if spaces.is_empty() { "  " } else { spaces },
            false,
        );
    }
    (old, "", "  ", true)
}

fn entry_lines(registry: &str, ca: &str, indent: &str) -> String {
    let mark = mark(registry);
    format!(
        "{indent}\"{registry}\":{mark}\n{indent}{indent}tls:{mark}\n{indent}{indent}{indent}ca_file: \"/{ca}\"{mark}\n"
    )
}

fn mark(registry: &str) -> String {
    format!(" # registryd trust {registry}")
}

pub(in crate::cli) fn parse(text: &str) -> anyhow::Result<Map<String, Json>> {
    match serde_saphyr::from_str::<Option<Json>>(text) {
        Ok(Some(Json::Object(map))) => Ok(map),
        Ok(None | Some(Json::Null)) => Ok(Map::new()),
        Ok(Some(_)) => bail!("it is not a mapping"),
        Err(_)
            if text
                .lines()
                .all(|line| line.trim().is_empty() || line.trim().starts_with('#')) =>
        {
            Ok(Map::new())
        }
        Err(error) => bail!("it is not YAML: {error}"),
    }
}

/// Without an empty `configs`, which says nothing.
fn settled(mut map: Map<String, Json>) -> Map<String, Json> {
    let is_empty = match map.get("configs") {
        Some(Json::Null) => true,
        Some(Json::Object(configs)) => configs.is_empty(),
        _ => false,
    };
    if is_empty {
        map.remove("configs");
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: &str = "registry.lan:5000";

    fn with(old: &str, registry: &str) -> anyhow::Result<Option<String>> {
        super::with(old, registry, &Rancher::K3s.certificate(registry))
    }

    #[test]
    fn an_entry_is_added_to_what_is_there_and_taken_out_again() {
        for old in [
            "",
            "mirrors:\n  docker.io:\n    endpoint: [\"https://m.lan\"]\n",
            "# ours\nconfigs:\n  other.lan:5000: # theirs\n    auth: {username: a, password: b}\nmirrors: {}\n",
            "configs:\n    other.lan:\n        tls:\n            insecure_skip_verify: true\n",
            "mirrors:\n  a.lan: {}\nconfigs:\n",
            "mirrors:\n  a.lan: {}",
        ] {
            let new = with(old, R).unwrap().unwrap();
            assert_eq!(with(&new, R).unwrap(), None, "it is there: {new}");
            let entry = &parse(&new).unwrap()["configs"][R];
            assert_eq!(
                entry["tls"]["ca_file"],
                "/etc/rancher/k3s/registryd-registry.lan_5000.crt"
            );
            let back = without(&new, R).unwrap().unwrap();
            assert_eq!(back.trim_end(), old.trim_end(), "{new}");
        }
    }

    #[test]
    fn two_registries_do_not_disturb_each_other() {
        let one = with("", R).unwrap().unwrap();
        // The name of one may begin as another's does.
        for other in ["b.lan:1", "registry.lan"] {
            let two = with(&one, other).unwrap().unwrap();
            for (gone, stays) in [(R, other), (other, R)] {
                let left = without(&two, gone).unwrap().unwrap();
                let configs = parse(&left).unwrap();
                assert!(configs["configs"].get(stays).is_some());
                assert!(configs["configs"].get(gone).is_none());
            }
        }
    }

    #[test]
    fn what_others_wrote_is_refused_rather_than_changed() {
        for old in [
            "configs:\n  \"registry.lan:5000\":\n    auth: {username: a}\n",
            "configs: {\"a.lan\": {}}\n",
            "- a\n",
            "configs: [\n",
        ] {
            assert!(with(old, R).is_err(), "{old}");
        }
        assert_eq!(
            without("configs:\n  \"registry.lan:5000\": {}\n", R).unwrap(),
            None
        );
    }
}
