//! The value tree between the YAML text and the typed configuration: every node knows its source.

use super::source::Source;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) source: Source,
}

/// What a node holds. Scalars stay text until the schema says what they mean: `0.1` is a version in
/// one place and a number in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One scalar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Written without quotes, so that `true` may be a boolean.
    pub(super) plain: bool,
}

/// One key of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_source: Source,
    pub(super) node: Node,
}

impl Node {
    pub(super) fn null(source: Source) -> Self {
        Self {
            value: Value::Null,
            source,
        }
    }

    pub(super) fn text(text: &str, source: Source) -> Self {
        Self {
            value: Value::Scalar(Scalar {
                text: text.to_owned(),
                plain: false,
            }),
            source,
        }
    }

    /// The entry of a mapping with exactly this key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// What the node is, for "expected …, found …".
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Scalar(scalar) => super::diagnostic::code(&scalar.text).to_string(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    /// Whether the node asks for nothing: empty, `false`, or a block that is switched off.
    /// Templates leave such blocks behind (`proxy: {remoteurl: ""}`), and they change nothing.
    pub(super) fn is_off(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Scalar(scalar) => scalar.text.is_empty() || scalar.as_bool() == Some(false),
            Value::List(items) => items.iter().all(Node::is_off),
            Value::Map(entries) => {
                entries.iter().all(|entry| entry.node.is_off())
                    || entries.iter().any(|entry| {
                        let switch = match &entry.node.value {
                            Value::Scalar(scalar) => scalar.as_bool(),
                            _ => None,
                        };
                        matches!(
                            (entry.key.as_str(), switch),
                            ("enabled", Some(false)) | ("disabled", Some(true))
                        )
                    })
            }
        }
    }
}

impl Scalar {
    /// A boolean as YAML 1.1 writes it: Distribution's parser reads `yes`, `on` and `y` too.
    pub(super) fn as_bool(&self) -> Option<bool> {
        match self.text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some(true),
            "false" | "no" | "off" | "n" => Some(false),
            _ => None,
        }
    }

    /// An integer as YAML 1.1 writes it: `_` between digits, `0x`, `0o`, `0b` and leading-zero
    /// octal.
    pub(super) fn as_int(&self) -> Option<i64> {
        let text = self.text.replace('_', "");
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(&text)),
        };
        // A second sign would be taken by `from_str_radix`.
        if digits.starts_with(['+', '-']) {
            return None;
        }
        let (radix, digits) = match digits.get(..2) {
            Some("0x" | "0X") => (16, digits.get(2..)?),
            Some("0o" | "0O") => (8, digits.get(2..)?),
            Some("0b" | "0B") => (2, digits.get(2..)?),
            Some(_) if digits.starts_with('0') => (8, digits.get(1..)?),
            _ => (10, digits),
        };
        if digits.starts_with(['+', '-']) {
            return None;
        }
        let magnitude = i128::from_str_radix(digits, radix).ok()?;
        i64::try_from(if negative { -magnitude } else { magnitude }).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(text: &str) -> Scalar {
        Scalar {
            text: text.to_owned(),
            plain: true,
        }
    }

    #[test]
    fn booleans_are_those_of_yaml_1_1() {
        for text in ["true", "True", "TRUE", "yes", "Yes", "on", "ON", "y"] {
            assert_eq!(scalar(text).as_bool(), Some(true), "{text}");
        }
        for text in ["false", "False", "no", "NO", "off", "n"] {
            assert_eq!(scalar(text).as_bool(), Some(false), "{text}");
        }
        for text in ["", "1", "0", "enabled", "tru"] {
            assert_eq!(scalar(text).as_bool(), None, "{text}");
        }
    }

    #[test]
    fn integers_are_those_of_yaml_1_1() {
        for (text, want) in [
            ("0", 0),
            ("1_000", 1000),
            ("-5", -5),
            ("+7", 7),
            ("0x1F", 31),
            ("0o17", 15),
            ("017", 15),
            ("0b101", 5),
            ("-0x10", -16),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(scalar(text).as_int(), Some(want), "{text}");
        }
        for text in [
            "",
            "-",
            "--1",
            "0x",
            "0x-1",
            "1.5",
            "ten",
            "9223372036854775808",
            "08",
            "1e3",
            "é1",
        ] {
            assert_eq!(scalar(text).as_int(), None, "{text}");
        }
    }
}
