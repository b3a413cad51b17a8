//! YAML text to a value tree. The only place that knows the YAML library.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{
    DuplicateKeyPolicy, Error as YamlError, Location, NonFiniteFloatPolicy, Options, Spanned,
    UserMessageFormatter,
};

use super::{
    diagnostic::{Diagnostic, code},
    source::Source,
    tree::{Entry, Node, Scalar, Value},
};

/// Reads one YAML document. `origin` is the file or variable the text comes from.
///
/// Anchors, aliases and merge keys are resolved; a key that appears twice, a second document and
/// documents beyond the library's limits on depth and expansion are errors.
pub(super) fn parse(text: &str, origin: &Source) -> Result<Node, Box<Diagnostic>> {
    let parsed = serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options());
    match parsed {
        Ok(root) => build(root, text, origin),
        Err(error) => Err(Box::new(refusal(&error, origin))),
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        with_snippet: false,
        // Scalars are taken as written, whatever the library would make of them.
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
    }
}

/// A node as the library hands it over. `Typed` is a plain scalar it took for a number or a boolean:
/// the text itself is then read from the source.
enum Raw {
    Null,
    Text(String),
    Typed(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

fn build(raw: Spanned<Raw>, text: &str, origin: &Source) -> Result<Node, Box<Diagnostic>> {
    let source = place(raw.referenced, origin);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Text(value) => Value::Scalar(Scalar {
            // Quotes, escapes and folding make the source differ from the value.
            plain: written(raw.defined, text) == Some(value.as_str()),
            text: value,
        }),
        Raw::Typed(value) => Value::Scalar(Scalar {
            text: written(raw.defined, text).map_or(value, str::to_owned),
            plain: true,
        }),
        Raw::List(items) => Value::List(
            items
                .into_iter()
                .map(|item| build(item, text, origin))
                .collect::<Result<_, _>>()?,
        ),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let key = build(key, text, origin)?;
                    let key_source = key.source.clone();
                    let key = match key.value {
                        Value::Scalar(scalar) => scalar.text,
                        Value::Null => String::new(),
                        Value::List(_) | Value::Map(_) => {
                            return Err(Box::new(
                                Diagnostic::error(
                                    format!("a key must be plain text, not {}", key.describe()),
                                    key.source,
                                )
                                .fix("write `name: value`"),
                            ));
                        }
                    };
                    Ok(Entry {
                        key,
                        key_source,
                        node: build(value, text, origin)?,
                    })
                })
                .collect::<Result<_, _>>()?,
        ),
    };
    Ok(Node { value, source })
}

fn place(location: Location, origin: &Source) -> Source {
    match location.line() {
        0 => origin.clone(),
        line => origin.at(line, location.column().max(1)),
    }
}

fn written(location: Location, text: &str) -> Option<&str> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let len = usize::try_from(span.byte_len()?).ok()?;
    text.get(start..start.checked_add(len)?)
}

fn refusal(error: &YamlError, origin: &Source) -> Diagnostic {
    let location = error.location();
    let source = location.map_or_else(|| origin.clone(), |l| place(l, origin));
    match error.without_snippet() {
        YamlError::DuplicateMappingKey { key, .. } => Diagnostic::error(
            match key {
                Some(key) => format!("{} is written twice in the same mapping", code(key)),
                None => "a key is written twice in the same mapping".to_owned(),
            },
            source,
        )
        .why("one of the two would be lost without a word")
        .fix("keep one of them, or merge what is below them"),
        YamlError::MultipleDocuments { .. } => {
            Diagnostic::error("a second YAML document begins here", source)
                .why("only one document is read; the rest would be ignored")
                .fix("remove the `---` line or the document after it")
        }
        other => {
            let message = other.render_with_formatter(&UserMessageFormatter);
            // The place is shown already.
            let message = match (message.rfind(" at line "), location) {
                (Some(end), Some(_)) => message.get(..end).unwrap_or(&message),
                _ => &message,
            };
            Diagnostic::error(format!("not valid YAML: {message}"), source)
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Raw, E> {
        Ok(Raw::Text(String::from_utf8_lossy(value).into_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::*;

    fn file() -> Source {
        Source::file(&Arc::from(Path::new("c.yml")))
    }

    fn scalar(node: &Node) -> (&str, bool) {
        match &node.value {
            Value::Scalar(s) => (s.text.as_str(), s.plain),
            other => panic!("not a scalar: {other:?}"),
        }
    }

    #[test]
    fn scalars_keep_their_text_and_whether_they_were_quoted() {
        for (yaml, want) in [
            ("0.10", ("0.10", true)),
            ("0x1F", ("0x1F", true)),
            ("1_000", ("1_000", true)),
            ("yes", ("yes", true)),
            ("True", ("True", true)),
            (".inf", (".inf", true)),
            ("2001-01-01", ("2001-01-01", true)),
            ("99999999999999999999999", ("99999999999999999999999", true)),
            (":5000", (":5000", true)),
            ("\"true\"", ("true", false)),
            ("'it''s'", ("it's", false)),
            ("\"a\\nb\"", ("a\nb", false)),
            ("'ö'", ("ö", false)),
            ("ö", ("ö", true)),
        ] {
            let node = parse(yaml, &Source::Default).unwrap();
            assert_eq!(scalar(&node), want, "{yaml}");
        }
    }

    #[test]
    fn every_node_knows_its_line_and_column() {
        let root = parse("ä: 1\nb:\n  - x\n  - {k: v}\n", &file()).unwrap();
        let b = root.entry("b").unwrap();
        assert_eq!(b.key_source.to_string(), "c.yml:2:1");
        let Value::List(items) = &b.node.value else {
            panic!("not a list")
        };
        assert_eq!(items[0].source.to_string(), "c.yml:3:5");
        let k = items[1].entry("k").unwrap();
        assert_eq!(k.key_source.to_string(), "c.yml:4:6");
        assert_eq!(k.node.source.to_string(), "c.yml:4:9");
        // Columns count characters, not bytes.
        assert_eq!(
            root.entry("ä").unwrap().node.source.to_string(),
            "c.yml:1:4"
        );
    }

    #[test]
    fn aliases_and_merge_keys_are_resolved() {
        let root = parse(
            "base: &b {k: yes, n: 1}\nm:\n  <<: *b\n  n: 2\nx: *b\n",
            &file(),
        )
        .unwrap();
        let m = &root.entry("m").unwrap().node;
        assert_eq!(scalar(&m.entry("k").unwrap().node), ("yes", true));
        assert_eq!(scalar(&m.entry("n").unwrap().node), ("2", true));
        let x = &root.entry("x").unwrap().node;
        assert_eq!(scalar(&x.entry("k").unwrap().node), ("yes", true));
    }

    #[test]
    fn nothing_is_null() {
        for yaml in ["", "~", "null", "# only a comment\n", "---\n"] {
            assert_eq!(
                parse(yaml, &Source::Default).unwrap().value,
                Value::Null,
                "{yaml:?}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (yaml, what, at) in [
            (
                "a: 1\na: 2\n",
                "`a` is written twice in the same mapping",
                "c.yml:2:1",
            ),
            (
                "a: 1\n---\nb: 2\n",
                "a second YAML document begins here",
                "c.yml:3:1",
            ),
            (
                "? [a]\n: b\n",
                "a key must be plain text, not a list",
                "c.yml:1:3",
            ),
        ] {
            let diagnostic = parse(yaml, &file()).unwrap_err();
            assert_eq!(diagnostic.what, what);
            assert_eq!(diagnostic.places[0].to_string(), at);
        }
        let diagnostic = parse("a: [1\nb: 2", &file()).unwrap_err();
        assert!(
            diagnostic.what.starts_with("not valid YAML: "),
            "{diagnostic}"
        );
        assert!(!diagnostic.what.contains(" line "), "{diagnostic}");
        assert_eq!(diagnostic.places[0].to_string(), "c.yml:2:2");
    }

    #[test]
    fn hostile_documents_are_refused() {
        let deep = "[".repeat(10_000);
        let bomb = "abcdefgh".chars().zip("bcdefghi".chars()).fold(
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned(),
            |bomb, (from, to)| {
                let refs = vec![format!("*{from}"); 10].join(",");
                format!("{bomb}{to}: &{to} [{refs}]\n")
            },
        );
        for yaml in [deep.as_str(), bomb.as_str(), "a: &a [*a]"] {
            parse(yaml, &Source::Default).unwrap_err();
        }
    }
}
