//! Where a value came from.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

/// A place in a file: both numbers start at 1, columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl Position {
    pub(super) fn new(line: u64, column: u64) -> Self {
        Self { line, column }
    }
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Source {
    /// In the configuration file; without a position when the whole file is meant.
    File {
        /// The file as it was named to the loader.
        path: Arc<Path>,
        /// The place in it.
        position: Option<Position>,
    },
    /// In this environment variable.
    Variable(Arc<str>),
    /// Nowhere: the built-in default applies.
    Default,
}

impl Source {
    pub(super) fn variable(name: &str) -> Self {
        Self::Variable(Arc::from(name))
    }

    pub(super) fn file(path: &Arc<Path>) -> Self {
        Self::File {
            path: Arc::clone(path),
            position: None,
        }
    }

    /// The same source at a position inside it. A variable is short: it has no positions.
    pub(super) fn at(&self, line: u64, column: u64) -> Self {
        match self {
            Self::File { path, .. } => Self::File {
                path: Arc::clone(path),
                position: Some(Position::new(line, column)),
            },
            other => other.clone(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, position } => {
                write!(f, "{}", path.display())?;
                match position {
                    Some(Position { line, column }) => write!(f, ":{line}:{column}"),
                    None => Ok(()),
                }
            }
            // Escaped: a name may end in a space or hold a control character.
            Self::Variable(name) => write!(
                f,
                "environment variable {}",
                super::diagnostic::Shown(name, "")
            ),
            Self::Default => f.write_str("built-in default"),
        }
    }
}

/// The source of every value of a loaded configuration, by dotted key (`http.tls.certificate`;
/// list items by number: `http.tls.clientcas.0`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    by_key: BTreeMap<String, Source>,
}

impl Sources {
    /// Where the value of `key` was written; [`Source::Default`] for a key nobody wrote.
    pub fn of(&self, key: &str) -> &Source {
        self.by_key.get(key).unwrap_or(&Source::Default)
    }

    /// Every key that was written, with its source, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.by_key
            .iter()
            .map(|(key, source)| (key.as_str(), source))
    }

    pub(super) fn record(&mut self, key: &str, source: &Source) {
        self.by_key.insert(key.to_owned(), source.clone());
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        if let Some(source) = self.by_key.remove(from) {
            self.by_key.insert(to.to_owned(), source);
        }
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }
}
