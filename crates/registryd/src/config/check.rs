//! The value tree against the schema: every value in its canonical form, every finding reported.

use serde_json::{Map, Value as Json};

use super::{
    diagnostic::{Diagnostic, Diagnostics, code},
    duration::{self, DurationError},
    env,
    keys::STORAGE_OPTIONS,
    protection,
    schema::{self, Key, Kind, Misfit},
    source::{Source, Sources},
    suggest,
    tree::{Entry, Node, Scalar, Value},
};

/// What a tree says: the values in canonical form and where each was written.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) values: Map<String, Json>,
    pub(super) sources: Sources,
    /// Keys below these were not understood, so what is missing there may only be misspelt.
    pub(super) unclear: Vec<String>,
}

/// Checks the whole tree. Values that are wrong are reported and left out.
pub(super) fn check(root: &Node, strict: bool, diagnostics: &mut Diagnostics) -> Checked {
    let mut checker = Checker {
        strict,
        diagnostics,
        checked: Checked::default(),
    };
    if let Some(Json::Object(values)) = checker.section("", schema::ROOT, root) {
        checker.checked.values = values;
    }
    checker.checked
}

struct Checker<'d> {
    strict: bool,
    diagnostics: &'d mut Diagnostics,
    checked: Checked,
}

impl Checker<'_> {
    fn section(&mut self, path: &str, keys: &'static [Key], node: &Node) -> Option<Json> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => return Some(Json::Object(Map::new())),
            // `inmemory: true`
            Value::Scalar(scalar) if keys.is_empty() && scalar.as_bool() == Some(true) => {
                return Some(Json::Object(Map::new()));
            }
            _ => {
                self.mismatch(path, &Kind::Section(keys), node);
                return None;
            }
        };
        let mut values = Map::new();
        for entry in entries {
            let Some(key) = self.key(path, keys, entry, entries) else {
                continue;
            };
            let path = schema::join(path, key.name);
            let selected = schema::is_choice(&path);
            if entry.node.is_off() && !selected {
                // A block that is switched off and not supported is as if it were not there.
                if !matches!(key.support, schema::Support::Full) {
                    continue;
                }
            } else if let Some(verdict) =
                schema::verdict(key, &path, &entry.key_source, self.strict)
            {
                self.diagnostics.push(verdict);
            }
            if key.kind.is_scalar() && is_blank(&entry.node) {
                continue;
            }
            let source = if key.kind.is_scalar() {
                &entry.node.source
            } else {
                &entry.key_source
            };
            self.checked.sources.record(&path, source);
            if let Some(value) = self.value(&path, &key.kind, &entry.node) {
                values.insert(key.name.to_owned(), value);
            }
        }
        Some(Json::Object(values))
    }

    /// The key that an entry means.
    fn key(
        &mut self,
        path: &str,
        keys: &'static [Key],
        entry: &Entry,
        entries: &[Entry],
    ) -> Option<&'static Key> {
        let name = entry.key.as_str();
        if let Some(key) = keys.iter().find(|key| key.name == name) {
            return Some(key);
        }
        let Some(key) = keys.iter().find(|key| key.aliases.contains(&name)) else {
            self.unknown(path, keys, entry);
            return None;
        };
        let right = schema::join(path, key.name);
        let other = entries.iter().find(|other| other.key == key.name);
        if let Some(other) = other.filter(|_| schema::is_choice(&right)) {
            let names = format!("`{right}`, `{}`", schema::join(path, name));
            self.diagnostics.push(
                Diagnostic::error(
                    format!("more than one storage driver: {names}"),
                    other.key_source.clone(),
                )
                .also_at(entry.key_source.clone())
                .why(format!("`{name}` is another name of `{}`", key.name))
                .fix("remove one of them"),
            );
            return None;
        }
        let diagnostic = Diagnostic::warning(
            match other {
                Some(_) => format!("`{name}` is ignored: `{right}` is set"),
                None => format!("`{name}` is read as `{right}`"),
            },
            entry.key_source.clone(),
        );
        self.diagnostics.push(
            diagnostic
                .why(format!("the schema has no key `{name}` there"))
                .fix(format!("write `{}`", key.name)),
        );
        other.is_none().then_some(key)
    }

    fn unknown(&mut self, path: &str, keys: &'static [Key], entry: &Entry) {
        let name = entry.key.as_str();
        let meant = suggest::for_key(path, keys, name);
        let guarded = schema::is_guarded(path)
            || meant.as_deref().is_some_and(schema::is_guarded)
            || protection::is_asked_for(name, &entry.node);
        let driver = path == "storage";
        let what = match path {
            "" => format!("unknown key {}", code(name)),
            "storage" => format!("unknown storage driver or option {}", code(name)),
            "auth" => format!("unknown authentication type {}", code(name)),
            _ => format!("unknown key {} in `{path}`", code(name)),
        };
        let place = entry.key_source.clone();
        let mut diagnostic = if guarded || driver || self.strict {
            Diagnostic::error(what, place)
        } else {
            Diagnostic::warning(format!("{what} is ignored"), place)
        };
        if guarded {
            diagnostic = diagnostic.why("ignored, it could leave the registry unprotected");
        } else if driver {
            diagnostic = diagnostic.why("ignored, content could be kept in another place");
        }
        let fix = match meant.as_deref() {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if matches!(path, "storage" | "auth") => {
                format!("use {}", schema::one_of_supported(keys, STORAGE_OPTIONS))
            }
            None => "remove it".to_owned(),
        };
        self.diagnostics.push(diagnostic.fix(fix));
        self.checked.unclear.push(path.to_owned());
    }

    fn value(&mut self, path: &str, kind: &'static Kind, node: &Node) -> Option<Json> {
        match kind {
            Kind::Section(keys) => self.section(path, keys, node),
            Kind::Selector(keys) => {
                let mut node = node.clone();
                env::expand(&mut node);
                self.section(path, keys, &node)
            }
            Kind::Map(kind) => self.map(path, kind, node),
            Kind::List(kind) => self.list(path, kind, node),
            Kind::Opaque => None,
            scalar => match &node.value {
                Value::Scalar(written) => self.scalar(path, scalar, written, node),
                Value::Null => self.scalar(
                    path,
                    scalar,
                    &Scalar {
                        text: String::new(),
                        plain: false,
                    },
                    node,
                ),
                _ => {
                    self.mismatch(path, scalar, node);
                    None
                }
            },
        }
    }

    fn map(&mut self, path: &str, kind: &'static Kind, node: &Node) -> Option<Json> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => {
                self.mismatch(path, &Kind::Map(kind), node);
                return None;
            }
        };
        let mut values = Map::new();
        for entry in entries {
            let path = schema::join(path, &entry.key);
            self.checked.sources.record(&path, &entry.key_source);
            if let Some(value) = self.value(&path, kind, &entry.node) {
                values.insert(entry.key.clone(), value);
            }
        }
        Some(Json::Object(values))
    }

    fn list(&mut self, path: &str, kind: &'static Kind, node: &Node) -> Option<Json> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Null => return None,
            // One item needs no brackets.
            Value::Scalar(scalar) if kind.is_scalar() && scalar.text.is_empty() => return None,
            Value::Scalar(_) if kind.is_scalar() => std::slice::from_ref(node),
            _ => {
                self.mismatch(path, &Kind::List(kind), node);
                return None;
            }
        };
        let mut values = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = schema::join(path, &index.to_string());
            self.checked.sources.record(&path, &item.source);
            values.extend(self.value(&path, kind, item));
        }
        Some(Json::Array(values))
    }

    fn scalar(
        &mut self,
        path: &str,
        kind: &'static Kind,
        scalar: &Scalar,
        node: &Node,
    ) -> Option<Json> {
        let text = scalar.text.as_str();
        let accepted = match kind {
            Kind::Bool => scalar.as_bool().map(|value| {
                if !scalar.plain {
                    self.quoted(path, text, &node.source);
                }
                Json::Bool(value)
            }),
            Kind::Int { least, most } => scalar
                .as_int()
                .filter(|number| (*least..=*most).contains(number))
                .map(Json::from),
            Kind::Text => Some(Json::from(text)),
            Kind::Form(form) => match form(text) {
                Ok(canonical) => Some(Json::from(canonical)),
                Err(Misfit { why, fix }) => {
                    let what = format!("`{path}` is {}: {why}", code(text));
                    self.diagnostics
                        .push(Diagnostic::error(what, node.source.clone()).fix(fix));
                    return None;
                }
            },
            Kind::Word(words) => {
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(text));
                if word.is_none()
                    && let Some(meant) = suggest::closest_word(words, text)
                {
                    let what = must_be(path, kind, node);
                    self.diagnostics.push(
                        Diagnostic::error(what, node.source.clone())
                            .fix(format!("did you mean `{meant}`?")),
                    );
                    return None;
                }
                word.map(|word| Json::from(*word))
            }
            Kind::Duration => return self.duration(path, scalar, node),
            _ => None,
        };
        if accepted.is_none() {
            self.mismatch(path, kind, node);
        }
        accepted
    }

    fn duration(&mut self, path: &str, scalar: &Scalar, node: &Node) -> Option<Json> {
        let text = scalar.text.as_str();
        let source = &node.source;
        // Go keeps durations as nanoseconds, and a bare number is one.
        let bare = scalar.as_int().filter(|_| text != "0");
        let parsed = match bare {
            Some(nanos) if nanos < 0 => Err(DurationError::Negative),
            Some(nanos) => {
                if nanos < 1_000_000 {
                    let what = format!("`{path}` is {nanos} nanoseconds");
                    self.diagnostics.push(
                        Diagnostic::warning(what, source.clone())
                            .why("a number without a unit counts nanoseconds")
                            .fix(format!("write `{nanos}s` if seconds are meant")),
                    );
                }
                Ok(std::time::Duration::from_nanos(nanos.unsigned_abs()))
            }
            None => duration::parse(text),
        };
        match parsed {
            Ok(duration) => Some(Json::from(duration::format(duration))),
            Err(error) => {
                let what = format!("{}: {error}", must_be(path, &Kind::Duration, node));
                self.diagnostics.push(
                    Diagnostic::error(what, source.clone())
                        .fix("write numbers with the units `h`, `m`, `s` or `ms`"),
                );
                None
            }
        }
    }

    fn quoted(&mut self, path: &str, text: &str, source: &Source) {
        let what = format!("`{path}` is the quoted text {}", code(text));
        self.diagnostics.push(
            Diagnostic::warning(what, source.clone())
                .why("it is taken for a boolean here; Distribution refuses or ignores it")
                .fix(format!("write {} without quotes", code(text))),
        );
    }

    fn mismatch(&mut self, path: &str, kind: &Kind, node: &Node) {
        let what = must_be(path, kind, node);
        self.diagnostics
            .push(Diagnostic::error(what, node.source.clone()));
    }
}

fn must_be(path: &str, kind: &Kind, node: &Node) -> String {
    let found = node.describe();
    if path.is_empty() {
        return format!("the file must be {}, not {found}", kind.expected());
    }
    format!("`{path}` must be {}, not {found}", kind.expected())
}

fn is_blank(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Scalar(scalar) => scalar.text.is_empty(),
        _ => false,
    }
}
