//! Warnings and errors that say what, where, why and how to fix it.

use std::fmt;

use super::source::Source;

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Harmless: the setting was understood and has no effect here.
    Note,
    /// Something that was written is not used, or not used as written.
    Warning,
    /// The configuration is refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One finding about a configuration.
///
/// `Display` renders it over a few lines and ends with a line feed:
///
/// ```text
/// error: `http.tls.key` is set but `http.tls.certificate` is not
///   --> /etc/docker/registry/config.yml:9:5
///    = why: without a certificate everything would be served in plain text
///    = fix: set `http.tls.certificate` to the certificate file, or remove `key`
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What was found, in one line.
    pub what: String,
    /// Where; more than one place when two of them disagree.
    pub places: Vec<Source>,
    /// What it would lead to.
    pub why: Option<String>,
    /// What to write instead.
    pub fix: Option<String>,
}

impl Diagnostic {
    pub(super) fn new(severity: Severity, what: impl Into<String>, place: Source) -> Self {
        Self {
            severity,
            what: what.into(),
            places: vec![place],
            why: None,
            fix: None,
        }
    }

    pub(super) fn error(what: impl Into<String>, place: Source) -> Self {
        Self::new(Severity::Error, what, place)
    }

    pub(super) fn warning(what: impl Into<String>, place: Source) -> Self {
        Self::new(Severity::Warning, what, place)
    }

    pub(super) fn note(what: impl Into<String>, place: Source) -> Self {
        Self::new(Severity::Note, what, place)
    }

    pub(super) fn also_at(mut self, place: Source) -> Self {
        self.places.push(place);
        self
    }

    pub(super) fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

impl Diagnostic {
    /// The finding without its severity and the last line feed, for a log that says how bad a line is.
    pub(crate) fn unranked(&self) -> String {
        let text = self.to_string();
        let rest = text.split_once(": ").map_or("", |(_, rest)| rest);
        rest.trim_end().to_owned()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.severity, self.what)?;
        for place in &self.places {
            writeln!(f, "  --> {place}")?;
        }
        if let Some(why) = &self.why {
            writeln!(f, "   = why: {why}")?;
        }
        if let Some(fix) = &self.fix {
            writeln!(f, "   = fix: {fix}")?;
        }
        Ok(())
    }
}

/// Everything found about one configuration, in the order it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    found: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Every finding.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.found.iter()
    }

    /// The findings of one severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Diagnostic> {
        self.found.iter().filter(move |d| d.severity == severity)
    }

    /// Whether there is an error among them.
    pub fn has_errors(&self) -> bool {
        self.of(Severity::Error).next().is_some()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// Adds what was found by others.
    pub(crate) fn extend(&mut self, more: impl IntoIterator<Item = Diagnostic>) {
        self.found.extend(more);
    }

    /// Makes errors of the warnings.
    pub(super) fn escalate(&mut self) {
        for diagnostic in &mut self.found {
            if diagnostic.severity == Severity::Warning {
                diagnostic.severity = Severity::Error;
            }
        }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.found.iter().try_for_each(|d| d.fmt(f))
    }
}

/// Text from outside in a message: control characters escaped, long values cut, quotes around it.
pub(super) struct Shown<'a>(pub(super) &'a str, pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 80;
        let Self(text, quote) = self;
        f.write_str(quote)?;
        for c in text.chars().take(LONGEST) {
            if c.is_control() {
                write!(f, "{}", c.escape_debug())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        if text.chars().nth(LONGEST).is_some() {
            f.write_str("…")?;
        }
        f.write_str(quote)
    }
}

/// `text` between back quotes, fit for a message.
pub(super) fn code(text: &str) -> Shown<'_> {
    Shown(text, "`")
}
