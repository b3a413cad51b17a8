//! A configuration as text: every value, with its source if that is asked for, and no secret.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use super::{loader::Loaded, source::Source, tree::Scalar};

/// The text in the place of a secret.
const REDACTED: &str = "[redacted]";
/// Parts of names whose values are nobody's business, in configurations and in headers.
const SECRET: &[&str] = &[
    "password",
    "secret",
    "accesskey",
    "accountkey",
    "private_key",
    "sentinelpassword",
    "licensekey",
    "apikey",
    "api-key",
    "authorization",
    "cookie",
    "token",
];

/// How [`Loaded::show`] writes a configuration.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Show {
    /// The defaults as well, not only what somebody wrote.
    pub effective: bool,
    /// With every value the place where it was written.
    pub sources: bool,
    /// As JSON, not YAML; with [`sources`](Self::sources), an object of dotted keys to `value` and
    /// `source`.
    pub json: bool,
}

impl Loaded {
    /// The configuration as a file, ended by a line feed. Secrets are left out.
    ///
    /// # Errors
    ///
    /// If the configuration cannot be written as text.
    pub fn show(&self, show: Show) -> Result<String, serde_json::Error> {
        let mut root = serde_json::to_value(&self.config)?;
        redact(&mut root, "");
        leave_out_moot(&mut root);
        if !show.effective {
            self.keep_written(&mut root, "");
        }
        if show.json {
            let mut text = if show.sources {
                let mut flat = Map::new();
                self.flatten(&root, "", &mut flat);
                serde_json::to_string_pretty(&flat)?
            } else {
                serde_json::to_string_pretty(&root)?
            };
            text.push('\n');
            return Ok(text);
        }
        let mut text = String::new();
        if let Json::Object(root) = &root {
            self.yaml_map(&mut text, root, "", 0, show.sources);
        }
        Ok(text)
    }

    /// Drops what nobody wrote; whether anything is left.
    fn keep_written(&self, value: &mut Json, path: &str) -> bool {
        match value {
            Json::Object(map) if !map.is_empty() => {
                map.retain(|name, value| self.keep_written(value, &below(path, name)));
                !map.is_empty()
            }
            // A list is written or defaulted as a whole.
            _ => *self.source(path) != Source::Default,
        }
    }

    /// Where the value at `path` was written.
    fn source(&self, path: &str) -> &Source {
        self.sources.of(path)
    }

    fn flatten(&self, value: &Json, path: &str, flat: &mut Map<String, Json>) {
        match value {
            Json::Object(map) if !map.is_empty() => {
                for (name, value) in map {
                    self.flatten(value, &below(path, name), flat);
                }
            }
            Json::Array(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    self.flatten(item, &below(path, &index.to_string()), flat);
                }
            }
            leaf => {
                let source = self.source(path).to_string();
                let entry = serde_json::json!({"value": leaf, "source": source});
                flat.insert(path.to_owned(), entry);
            }
        }
    }

    fn yaml_map(
        &self,
        text: &mut String,
        map: &Map<String, Json>,
        path: &str,
        depth: usize,
        sources: bool,
    ) {
        for (name, value) in map {
            let path = below(path, name);
            indent(text, depth);
            let _ = write!(text, "{}:", plain_or_quoted(name));
            self.yaml_value(text, value, &path, depth, sources);
        }
    }

    fn yaml_value(&self, text: &mut String, value: &Json, path: &str, depth: usize, sources: bool) {
        match value {
            Json::Object(map) if !map.is_empty() => {
                text.push('\n');
                self.yaml_map(text, map, path, depth + 1, sources);
            }
            Json::Array(items) if !items.is_empty() => {
                text.push('\n');
                for (index, item) in items.iter().enumerate() {
                    indent(text, depth + 1);
                    text.push('-');
                    self.yaml_value(
                        text,
                        item,
                        &below(path, &index.to_string()),
                        depth + 1,
                        sources,
                    );
                }
            }
            leaf => {
                let leaf = match leaf {
                    Json::String(leaf) => plain_or_quoted(leaf),
                    other => other.to_string(),
                };
                let _ = write!(text, " {leaf}");
                if sources {
                    let _ = write!(text, "  # {}", self.source(path));
                }
                text.push('\n');
            }
        }
    }
}

/// A way to check certificates that nobody is asked for would not be accepted in a file.
fn leave_out_moot(root: &mut Json) {
    if let Some(Json::Object(tls)) = root.pointer_mut("/http/tls")
        && matches!(tls.get("clientcas"), Some(Json::Array(files)) if files.is_empty())
    {
        tls.remove("clientauth");
    }
}

fn below(path: &str, name: &str) -> String {
    super::schema::join(path, name)
}

fn indent(text: &mut String, depth: usize) {
    for _ in 0..depth {
        text.push_str("  ");
    }
}

/// A YAML scalar that is read back as this text.
fn plain_or_quoted(text: &str) -> String {
    let scalar = Scalar {
        text: text.to_owned(),
        plain: true,
    };
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b));
    if word && scalar.as_bool().is_none() && !text.eq_ignore_ascii_case("null") {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // What YAML does not print, and what it would take for the end of a line.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Takes out what nobody should read: by the name of the key or header, and user names with passwords
/// in URLs.
fn redact(value: &mut Json, name: &str) {
    let name = name.to_ascii_lowercase();
    match value {
        Json::Object(map) => map.iter_mut().for_each(|(name, value)| redact(value, name)),
        Json::Array(items) => items.iter_mut().for_each(|item| redact(item, &name)),
        Json::String(text)
            if !text.is_empty() && SECRET.iter().any(|secret| name.contains(secret)) =>
        {
            REDACTED.clone_into(text);
        }
        Json::String(text) => {
            if let Some(without) = without_user(text) {
                *text = without;
            }
        }
        _ => {}
    }
}

/// A URL with the user and password taken out, if there is one.
fn without_user(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (_, host) = authority.rsplit_once('@')?;
    let after = rest.get(authority.len()..).unwrap_or_default();
    Some(format!("{scheme}://{REDACTED}@{host}{after}"))
}
