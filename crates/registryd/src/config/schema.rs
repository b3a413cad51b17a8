//! The keys of the configuration: their kinds and what becomes of them.
//!
//! One table ([`ROOT`], in `keys.rs`) drives everything that does not depend on a single key:
//! which keys exist, which environment variables name them, what a value may look like, what is
//! suggested for a typing error, and what is said about a key that has no effect.

pub(super) use super::keys::ROOT;
use super::{diagnostic::Diagnostic, keys::STORAGE_OPTIONS, source::Source};

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name in the file.
    pub(super) name: &'static str,
    /// Its name in environment variables, where that is not [`name`](Self::name) in upper case:
    /// Distribution uses the names of its Go fields there.
    pub(super) go_name: Option<&'static str>,
    /// Names people write by mistake or wrote for older versions.
    pub(super) aliases: &'static [&'static str],
    pub(super) kind: Kind,
    pub(super) support: Support,
    /// What to write or do instead of a key that is not supported.
    pub(super) instead: Option<&'static str>,
    /// The key whose value it sets, where that is another.
    pub(super) sets: Option<&'static str>,
}

/// What may be written for a key.
#[derive(Debug)]
pub(super) enum Kind {
    Bool,
    Int {
        least: i64,
        most: i64,
    },
    /// Any scalar, as text.
    Text,
    /// Text of a certain form; the function returns it in its canonical form.
    Form(fn(&str) -> Result<String, Misfit>),
    /// One of these words, in any case.
    Word(&'static [&'static str]),
    Duration,
    /// A mapping with these keys.
    Section(&'static [Key]),
    /// A mapping with these keys, or only the name of one of them: `storage: inmemory`.
    Selector(&'static [Key]),
    /// A mapping with any keys.
    Map(&'static Kind),
    List(&'static Kind),
    /// Anything: the key is known and not supported.
    Opaque,
}

/// Why a text does not have the form it should, and what to write instead.
#[derive(Debug)]
pub(super) struct Misfit {
    pub(super) why: String,
    pub(super) fix: String,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Support {
    /// It does what it says.
    Full,
    /// It has no effect, and nobody would notice: a note.
    NoEffect(&'static str),
    /// It has no effect, and somebody might notice: a warning.
    Ignored(&'static str),
    /// Without its effect, something else would be served, or to somebody else: an error.
    Refused(&'static str),
}

impl Key {
    pub(super) const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            go_name: None,
            aliases: &[],
            kind,
            support: Support::Full,
            instead: None,
            sets: None,
        }
    }

    pub(super) const fn go(mut self, go_name: &'static str) -> Self {
        self.go_name = Some(go_name);
        self
    }

    pub(super) const fn aka(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(super) const fn no_effect(mut self, why: &'static str) -> Self {
        self.support = Support::NoEffect(why);
        self
    }

    pub(super) const fn ignored(mut self, why: &'static str) -> Self {
        self.support = Support::Ignored(why);
        self
    }

    pub(super) const fn refused(mut self, why: &'static str) -> Self {
        self.support = Support::Refused(why);
        self
    }

    pub(super) const fn instead(mut self, instead: &'static str) -> Self {
        self.instead = Some(instead);
        self
    }

    pub(super) const fn sets(mut self, other: &'static str) -> Self {
        self.sets = Some(other);
        self
    }

    /// Whether `segment` of an environment variable names this key.
    pub(super) fn is_variable(&self, segment: &str) -> bool {
        let upper = |name: &str| name.eq_ignore_ascii_case(segment) && is_upper(segment);
        self.go_name == Some(segment) || upper(self.name) || self.aliases.iter().any(|a| upper(a))
    }

    /// The segment of environment variables Distribution documents for this key.
    pub(super) fn segment(&self) -> String {
        self.go_name
            .map_or_else(|| self.name.to_ascii_uppercase(), str::to_owned)
    }
}

impl Kind {
    /// The keys below, if they are fixed.
    pub(super) fn keys(&self) -> &'static [Key] {
        match self {
            Self::Section(keys) | Self::Selector(keys) => keys,
            _ => &[],
        }
    }

    /// Whether one scalar is the whole value.
    pub(super) fn is_scalar(&self) -> bool {
        matches!(
            self,
            Self::Bool
                | Self::Int { .. }
                | Self::Text
                | Self::Form(_)
                | Self::Word(_)
                | Self::Duration
        )
    }

    /// What belongs there, for "must be …".
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Int { least, most } => match (*least, *most) {
                (i64::MIN, _) => "a whole number".to_owned(),
                (least, most) if most > i64::from(u16::MAX) => {
                    format!("a whole number not below {least}")
                }
                (least, most) => format!("a whole number from {least} to {most}"),
            },
            Self::Text | Self::Form(_) => "a text".to_owned(),
            Self::Word(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
                format!("one of {}", words.join(", "))
            }
            Self::Duration => "a duration such as `10s` or `1h30m`".to_owned(),
            Self::Section(keys) | Self::Selector(keys) => {
                let names: Vec<_> = keys
                    .iter()
                    .take(4)
                    .map(|key| format!("`{}`", key.name))
                    .collect();
                let more = if keys.len() > names.len() {
                    ", …"
                } else {
                    ""
                };
                format!("a mapping with the keys {}{more}", names.join(", "))
            }
            Self::Map(_) => "a mapping of names to values".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Opaque => "a value".to_owned(),
        }
    }
}

/// Finds the key that an environment variable's next segments name, and how many it took: a key
/// may itself contain `_`. The longest name wins.
pub(super) fn named<'k>(keys: &'k [Key], segments: &[&str]) -> Option<(&'k Key, usize)> {
    (1..=segments.len()).rev().find_map(|taken| {
        let name = segments.get(..taken)?.join("_");
        let key = keys.iter().find(|key| key.is_variable(&name))?;
        Some((key, taken))
    })
}

/// Whether something that is not understood at `path` (dotted) may leave the registry open or in
/// plain text, or keep its content elsewhere: there nothing is ignored.
pub(super) fn is_guarded(path: &str) -> bool {
    ["auth", "http.tls"].iter().any(|guarded| {
        path.strip_prefix(guarded)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Whether the mere presence of the key chooses something: a storage driver or a type of
/// authentication needs no parameters.
pub(super) fn is_choice(path: &str) -> bool {
    matches!(path.rsplit_once('.'), Some(("storage" | "auth", _)))
}

/// Calls `visit` with the dotted path of every key that has a fixed place.
pub(super) fn visit(visit: &mut dyn FnMut(&str, &'static Key)) {
    fn walk(prefix: &str, keys: &'static [Key], visit: &mut dyn FnMut(&str, &'static Key)) {
        for key in keys {
            let path = join(prefix, key.name);
            visit(&path, key);
            walk(&path, key.kind.keys(), visit);
        }
    }
    walk("", ROOT, visit);
}

/// `parent.name`, or only `name` at the top.
pub(super) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}.{name}")
    }
}

/// Segments of variables are upper case, as in Distribution.
fn is_upper(segment: &str) -> bool {
    !segment.contains(|c: char| c.is_ascii_lowercase())
}

/// What is said about a key that is written and not (fully) supported.
pub(super) fn verdict(key: &Key, path: &str, place: &Source, strict: bool) -> Option<Diagnostic> {
    let place = place.clone();
    let fix = instead(key, path);
    match key.support {
        Support::Full => None,
        Support::NoEffect(why) => {
            let note = Diagnostic::note(format!("`{path}` has no effect here"), place).why(why);
            Some(match key.instead {
                Some(instead) => note.fix(instead),
                None => note,
            })
        }
        Support::Ignored(why) if strict => Some(
            Diagnostic::error(format!("`{path}` is not supported"), place)
                .why(why)
                .fix(format!(
                    "{fix}, or accept that it is ignored by not asking for strictness"
                )),
        ),
        Support::Ignored(why) => Some(
            Diagnostic::warning(format!("`{path}` is not supported and is ignored"), place)
                .why(why)
                .fix(fix),
        ),
        Support::Refused(why) => Some(
            Diagnostic::error(format!("`{path}` is not supported"), place)
                .why(why)
                .fix(fix),
        ),
    }
}

/// What to do about a key that is not supported.
pub(super) fn instead(key: &Key, path: &str) -> String {
    match (key.instead, path.split_once('.')) {
        (Some(instead), _) => instead.to_owned(),
        // Another driver.
        (None, Some(("storage", name))) if !name.contains('.') => {
            let drivers = ROOT
                .iter()
                .find(|key| key.name == "storage")
                .map_or(&[][..], |key| key.kind.keys());
            format!("use {}", one_of_supported(drivers, STORAGE_OPTIONS))
        }
        _ => format!("remove `{path}`"),
    }
}

/// "one of `a`, `b`": the keys that are supported, `others` left out.
pub(super) fn one_of_supported(keys: &[Key], others: &[&str]) -> String {
    let names: Vec<_> = keys
        .iter()
        .filter(|key| matches!(key.support, Support::Full) && !others.contains(&key.name))
        .map(|key| format!("`{}`", key.name))
        .collect();
    format!("one of {}", names.join(", "))
}
