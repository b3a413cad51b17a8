//! From files and variables to a [`Config`].

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value as Json;

use super::{
    check,
    diagnostic::{Diagnostic, Diagnostics, code},
    env,
    model::Config,
    rules,
    source::{Source, Sources},
    tree::{Node, Value},
    yaml,
};

/// No configuration is that long; an image given by mistake is.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Loads a configuration.
///
/// Without a file the built-in defaults apply ([`Config::default`]); variables apply in both cases.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Loader {
    path: Option<PathBuf>,
    text: Option<String>,
    variables: BTreeMap<String, String>,
    found: Diagnostics,
    strict: bool,
}

/// A configuration that can be used.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Where each of its values was written.
    pub sources: Sources,
    /// Warnings and notes; no errors.
    pub diagnostics: Diagnostics,
    /// The file it came from, if any.
    pub path: Option<PathBuf>,
}

/// A configuration that cannot be used: everything that was found, at least one error among it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError(Diagnostics);

impl LoadError {
    /// Everything that was found.
    pub fn diagnostics(&self) -> &Diagnostics {
        &self.0
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for LoadError {}

impl Loader {
    /// A loader that sees neither a file nor the environment.
    pub fn new() -> Self {
        Self::default()
    }

    /// A loader that sees the `REGISTRY_*` variables of this process.
    pub fn from_process() -> Self {
        let mut loader = Self::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with(env::PREFIX)) else {
                continue;
            };
            match value.into_string() {
                Ok(value) => {
                    loader.variables.insert(name.to_owned(), value);
                }
                Err(_) => loader.found.push(
                    Diagnostic::error(
                        format!("the value of {} is not UTF-8", code(name)),
                        Source::variable(name),
                    )
                    .fix("write it in UTF-8, or unset the variable"),
                ),
            }
        }
        loader
    }

    /// Adds variables; later ones replace earlier ones of the same name.
    pub fn variables<N: Into<String>, V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let variables = variables.into_iter().map(|(n, v)| (n.into(), v.into()));
        self.variables.extend(variables);
        self
    }

    /// Reads this file; without it, the file that `REGISTRY_CONFIGURATION_PATH` names.
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Takes `text` for the content of a file called `name`, which is not opened.
    pub fn text(mut self, name: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        self.path = Some(name.into());
        self.text = Some(text.into());
        self
    }

    /// Refuses what there would otherwise be a warning about: unknown keys and variables, keys that
    /// are not supported, and values that are read as others than were written.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Loads the configuration.
    ///
    /// Reads the configuration file, and looks whether the path of the htpasswd file is a
    /// directory; nothing else is opened.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not valid YAML, or when anything in it or in the variables
    /// is refused. The error holds everything that was found, not only the first.
    pub fn load(self) -> Result<Loaded, LoadError> {
        let mut found = self.found;
        let path = self.path.or_else(|| {
            let path = self.variables.get(env::PATH)?;
            (!path.is_empty()).then(|| PathBuf::from(path))
        });
        let file = path.as_deref().map(|path| Source::file(&Arc::from(path)));
        let mut root = match (&file, path.as_deref()) {
            (Some(file), Some(path)) => match read(path, self.text, file) {
                Ok(root) => root,
                Err(diagnostic) => {
                    found.push(*diagnostic);
                    return Err(LoadError(found));
                }
            },
            _ => Node::null(Source::Default),
        };
        if let Some(file) = &file {
            if let Err(diagnostic) = check_version(&root, file) {
                found.push(*diagnostic);
            }
            if !matches!(root.value, Value::Map(_)) {
                return Err(LoadError(found));
            }
        }
        let variables = self.variables.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        env::apply(&mut root, variables, self.strict, &mut found);
        let mut checked = check::check(&root, self.strict, &mut found);
        rules::apply(&mut checked, file.as_ref(), &mut found);
        if self.strict {
            found.escalate();
        }
        if found.has_errors() {
            return Err(LoadError(found));
        }
        match serde_json::from_value(Json::Object(checked.values)) {
            Ok(config) => Ok(Loaded {
                config,
                sources: checked.sources,
                diagnostics: found,
                path,
            }),
            // The schema lets nothing pass that the model does not take; should it ever, this says so.
            Err(error) => {
                found.push(Diagnostic::error(
                    format!("the configuration cannot be used: {error}"),
                    file.unwrap_or(Source::Default),
                ));
                Err(LoadError(found))
            }
        }
    }
}

fn read(path: &Path, text: Option<String>, file: &Source) -> Result<Node, Box<Diagnostic>> {
    let refused = |why: String, fix: &str| {
        Box::new(
            Diagnostic::error("the configuration file cannot be read", file.clone())
                .why(why)
                .fix(fix),
        )
    };
    let text = if let Some(text) = text {
        text
    } else {
        let check = "check the path and its permissions";
        let bytes = read_bounded(path).map_err(|error| refused(error.to_string(), check))?;
        String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            refused(format!("byte {at} is not UTF-8"), "save it as UTF-8")
        })?
    };
    yaml::parse(&text, file)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = File::open(path)?
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)?;
    if u64::try_from(length).is_ok_and(|length| length <= LONGEST) {
        return Ok(bytes);
    }
    Err(io::Error::other(format!(
        "it is longer than {LONGEST} bytes"
    )))
}

/// Only 0.1 exists, and a file without a version may be anything.
fn check_version(root: &Node, file: &Source) -> Result<(), Box<Diagnostic>> {
    if matches!(root.value, Value::Scalar(_) | Value::List(_)) {
        return Err(Box::new(
            Diagnostic::error(
                format!(
                    "the file must be a mapping of keys, not {}",
                    root.describe()
                ),
                root.source.clone(),
            )
            .fix("write `version: 0.1` and the other keys below it"),
        ));
    }
    let Some(entry) = root.entry("version") else {
        return Err(Box::new(
            Diagnostic::error("`version` is missing", file.clone())
                .why("the file does not say which schema it follows")
                .fix("write `version: 0.1` at the top"),
        ));
    };
    match &entry.node.value {
        Value::Scalar(scalar) if scalar.text == "0.1" => Ok(()),
        _ => Err(Box::new(
            Diagnostic::error(
                format!("unsupported version {}", entry.node.describe()),
                entry.node.source.clone(),
            )
            .fix("write `version: 0.1`"),
        )),
    }
}
