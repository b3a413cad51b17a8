//! The table of keys in `keys.txt`: what is written for a key, and what becomes of it.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::super::Severity;

/// One row of `keys.txt`.
#[derive(Debug)]
pub(super) struct Row {
    /// The dotted key; `[]` after the name of a list means its items.
    pub(super) key: &'static str,
    /// The major versions of Distribution that know it.
    pub(super) distribution: &'static str,
    sample: &'static str,
    pub(super) expected: Expected,
    /// What else has to be written.
    others: Vec<(&'static str, &'static str)>,
}

/// What a row says becomes of its key.
#[derive(Debug)]
pub(super) enum Expected {
    /// This value, at the key itself or at another.
    Value { at: String, value: Json },
    /// A finding that names this key.
    Report { severity: Severity, names: String },
}

/// Every row.
pub(super) fn all() -> Vec<Row> {
    include_str!("keys.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(row)
        .collect()
}

fn row(line: &'static str) -> Row {
    let columns: Vec<_> = line.split(" | ").collect();
    let ([key, distribution, sample, expected] | [key, distribution, sample, expected, _]) =
        columns[..]
    else {
        panic!("not four or five columns: {line}")
    };
    let others = columns.get(4).copied().unwrap_or_default();
    Row {
        key,
        distribution,
        sample,
        expected: outcome(key, expected),
        others: others
            .split("; ")
            .filter_map(|other| other.split_once(": "))
            .collect(),
    }
}

fn outcome(key: &str, text: &str) -> Expected {
    let (word, names) = text.split_once(' ').unwrap_or((text, key));
    let severity = match word {
        "note" => Severity::Note,
        "warning" => Severity::Warning,
        "error" => Severity::Error,
        _ => {
            let (at, json) = text.split_once(" = ").unwrap_or((key, text));
            return Expected::Value {
                at: at.replace("[]", ".0"),
                value: serde_json::from_str(json).unwrap_or_else(|e| panic!("{key}: {e}: {json}")),
            };
        }
    };
    Expected::Report {
        severity,
        names: names.to_owned(),
    }
}

impl Row {
    /// A file with this key in it, and nothing that anything is said about.
    pub(super) fn file(&self) -> String {
        let mut file = Tree::default();
        file.set("version", "0.1");
        file.set("http.addr", "':5000'");
        for (key, value) in &self.others {
            file.set(key, value);
        }
        file.set(self.key, self.sample);
        let Tree::Map(root) = &mut file else {
            panic!("not a mapping")
        };
        let storage = root.entry("storage".to_owned()).or_default();
        let Tree::Map(storage) = storage else {
            panic!("not a mapping")
        };
        let options = ["delete", "redirect", "cache", "tag", "maintenance", "gc"];
        if storage.keys().all(|key| options.contains(&key.as_str())) {
            storage.insert("inmemory".to_owned(), Tree::Text("{}".to_owned()));
        }
        let lines = root.iter().map(|(key, tree)| format!("{key}: {tree}\n"));
        lines.collect()
    }
}

/// Keys and the YAML of their values.
#[derive(Debug)]
enum Tree {
    Text(String),
    Map(BTreeMap<String, Tree>),
}

impl Default for Tree {
    fn default() -> Self {
        Self::Map(BTreeMap::new())
    }
}

impl Tree {
    fn set(&mut self, key: &str, value: &str) {
        let Self::Map(map) = self else {
            panic!("{key} lies below a value")
        };
        match key.split_once('.') {
            Some((name, rest)) => map.entry(name.to_owned()).or_default().set(rest, value),
            None => {
                map.insert(key.to_owned(), Self::Text(value.to_owned()));
            }
        }
    }
}

impl std::fmt::Display for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Map(map) => {
                f.write_str("{")?;
                for (index, (key, tree)) in map.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    match key.strip_suffix("[]") {
                        Some(list) => write!(f, "{comma}{list}: [{tree}]")?,
                        None => write!(f, "{comma}{key}: {tree}")?,
                    }
                }
                f.write_str("}")
            }
        }
    }
}
