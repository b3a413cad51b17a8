//! What a stored document refers to, read more generously than when it was pushed.
//!
//! A push needs less than a manifest names: layers with `urls` may be missing, for example. But if they are
//! there, somebody stored them and clients fetch them. And a volume may hold documents of kinds that this
//! registry does not take. So here every object with a `digest` is a descriptor, wherever it stands, and what
//! it names is kept.
//!
//! Two things cannot be kept by name: a digest of an algorithm that is unknown here, whose content another
//! registry may have stored under a digest that is known; and what a key means that only a decoder which
//! ignores letter case understands, as Go's does. Such a document is [`References::unclear`].

use std::borrow::Cow;
use std::fmt;

use oci_core::Digest;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// What a document refers to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct References {
    /// Config, layers, and whatever else has a digest.
    pub(super) blobs: Vec<Digest>,
    /// What is listed as `manifests`.
    pub(super) children: Vec<Digest>,
    /// What it is about, which does not keep that.
    pub(super) subject: Option<Digest>,
    /// Why it may need more than is listed here.
    pub(super) unclear: Option<String>,
}

impl References {
    pub(super) fn all(&self) -> impl Iterator<Item = &Digest> {
        self.blobs.iter().chain(&self.children)
    }

    fn unclear(&mut self, why: impl FnOnce() -> String) {
        self.unclear.get_or_insert_with(why);
    }
}

/// Reads a document.
///
/// # Errors
/// If it is not a JSON object.
pub(super) fn references(bytes: &[u8]) -> serde_json::Result<References> {
    let mut references = References::default();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    Walk {
        references: &mut references,
        place: Place::Top,
    }
    .deserialize(&mut json)?;
    json.end()?;
    Ok(references)
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Top,
    Blob,
    Child,
    Subject,
    /// Words of people, in which a key is only a key.
    Annotations,
}

/// What a key means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Key {
    Digest,
    Subject,
    Manifests,
    Annotations,
    Other,
}

impl Key {
    /// Reads a key in any letter case; says also whether it is written as the specification does.
    fn read(key: &str) -> (Self, bool) {
        for (known, meaning) in [
            ("digest", Self::Digest),
            ("blobSum", Self::Digest),
            ("subject", Self::Subject),
            ("manifests", Self::Manifests),
            ("annotations", Self::Annotations),
            // These mean nothing here, because whatever has a digest counts. Elsewhere they do.
            ("config", Self::Other),
            ("layers", Self::Other),
            ("blobs", Self::Other),
            ("fsLayers", Self::Other),
        ] {
            if key == known {
                return (meaning, true);
            }
            if folded(key).eq(folded(known)) {
                return (meaning, false);
            }
        }
        (Self::Other, true)
    }
}

/// As Go compares keys: without letter case, and with the two signs that Unicode folds to a Latin letter.
fn folded(key: &str) -> impl Iterator<Item = char> {
    key.chars().map(|letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    })
}

struct Walk<'a> {
    references: &'a mut References,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.place == Place::Top {
            deserializer.deserialize_map(self)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a manifest")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let (meaning, exact) = Key::read(&key);
            if !exact && self.place != Place::Annotations {
                self.references
                    .unclear(|| format!("has a key `{key}`, which not everybody reads alike"));
            }
            let place = match (self.place, meaning) {
                (_, Key::Digest) => {
                    map.next_value_seed(Named {
                        references: &mut *self.references,
                        place: self.place,
                    })?;
                    continue;
                }
                (Place::Annotations, _) | (_, Key::Annotations) => Place::Annotations,
                (Place::Top, Key::Subject) => Place::Subject,
                (Place::Top, Key::Manifests) => Place::Child,
                (Place::Top, Key::Other) => Place::Blob,
                (place, _) => place,
            };
            map.next_value_seed(Walk {
                references: &mut *self.references,
                place,
            })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        loop {
            let element = Walk {
                references: &mut *self.references,
                place: self.place,
            };
            if list.next_element_seed(element)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// The value of a field that is called like a digest. If it is something else, it is looked through.
struct Named<'a> {
    references: &'a mut References,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Named<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let references = self.references;
        match (text.parse::<Digest>(), self.place) {
            (Ok(digest), Place::Subject) => references.subject = Some(digest),
            (Ok(digest), Place::Child) => references.children.push(digest),
            (Ok(digest), _) => references.blobs.push(digest),
            // Of a subject nothing is needed, and under a key of somebody's own anything may stand.
            (Err(_), Place::Subject | Place::Annotations) => {}
            (Err(_), _) if text.contains(':') => {
                let shown: String = text.chars().take(80).collect();
                references.unclear(|| format!("needs `{shown}`, a digest of an unknown kind"));
            }
            // No registry takes this for a digest.
            (Err(_), _) => {}
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.walk().visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        self.walk().visit_seq(list)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

impl<'a> Named<'a> {
    fn walk(self) -> Walk<'a> {
        let place = match self.place {
            Place::Top => Place::Blob,
            place => place,
        };
        Walk {
            references: self.references,
            place,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(seed: u8) -> Digest {
        Digest::sha256(&[seed])
    }

    #[test]
    #[expect(clippy::many_single_char_names, reason = "they only differ")]
    fn everything_that_is_named_anywhere() {
        let [a, b, c, d, e, f] = [1, 2, 3, 4, 5, 6].map(digest);
        let long = Digest::of(oci_core::Algorithm::Sha512, b"x");
        let json = format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{a}","size":1,"data":null}},
            "layers":[{{"digest":"{b}","urls":["https://a.example"],"size":-1.5}},{{"size":true,"digest":"{long}"}}],
            "blobs":[{{"digest":"{c}"}}],"new":{{"thing":[[{{"digest":{{"digest":"{d}"}}}}]]}},
            "fsLayers":[{{"blobSum":"{e}"}}],
            "annotations":{{"a":"{f}"}},"layers":[{{"digest":"{f}"}},{{"digest":"plain"}},{{"digest":7}}]}}"#
        );
        let found = references(json.as_bytes()).unwrap();
        assert_eq!(found.unclear, None);
        assert_eq!(found.blobs, [a, b, long, c, d, e, f]);
        assert!(found.children.is_empty());
        assert_eq!(found.subject, None);
    }

    #[test]
    fn children_and_subject_are_told_apart() {
        let [a, b, c] = [1, 2, 3].map(digest);
        let json = format!(
            r#"{{"manifests":[{{"digest":"{a}","platform":{{"os":"x"}}}},{{"digest":"{b}"}}],"subject":{{"digest":"{c}"}}}}"#
        );
        let found = references(json.as_bytes()).unwrap();
        assert_eq!(found.children, [a, b]);
        assert_eq!(found.subject, Some(c));
        assert!(found.blobs.is_empty());
        assert_eq!(found.all().count(), 2);
    }

    /// Distribution takes a layer in by its SHA-384 and keeps it under its SHA-256; and Go's decoder does not
    /// mind the letter case of a key. Both layers were collected under a manifest that was pulled every day.
    #[test]
    fn what_others_understand_and_this_does_not_is_unclear() {
        let [a, b, c] = [1, 2, 3].map(digest);
        for (json, why) in [
            (
                format!(r#"{{"layers":[{{"digest":"sha384:{}"}}]}}"#, "0".repeat(96)),
                "unknown kind",
            ),
            (r#"{"config":{"digest":"md5:00"}}"#.to_owned(), "`md5:00`"),
            (format!(r#"{{"layers":[{{"Digest":"{a}"}}]}}"#), "`Digest`"),
            (format!(r#"{{"LAYERS":[{{"digest":"{a}"}}]}}"#), "`LAYERS`"),
            (
                format!(r#"{{"fslayers":[{{"blobsum":"{a}"}}]}}"#),
                "`fslayers`",
            ),
            (
                format!(r#"{{"layers":[{{"dige\u017ft":"{a}"}}]}}"#),
                "`dige\u{17f}t`",
            ),
        ] {
            let found = references(json.as_bytes()).unwrap();
            let unclear = found.unclear.clone().unwrap_or_default();
            assert!(unclear.contains(why), "{json}: {unclear}");
            assert!(found.blobs.is_empty() || found.blobs == [a], "{json}");
        }
        let json = format!(
            r#"{{"Manifests":[{{"digest":"{a}"}}],"SUBJECT":{{"digest":"{b}"}},"config":{{"DIGEST":"{c}"}}}}"#
        );
        let found = references(json.as_bytes()).unwrap();
        assert!(found.unclear.is_some());
        assert_eq!((found.children, found.subject), (vec![a], Some(b)));
        assert_eq!(found.blobs, [c]);
    }

    #[test]
    fn words_of_people_are_clear() {
        let json = format!(
            r#"{{"annotations":{{"Digest":"see: below","digest":"v:1","Layers":"3","LAYERS":"{}"}},
            "subject":{{"digest":"sha384:00"}},"config":{{"annotations":{{"Subject":"x"}}}}}}"#,
            digest(1)
        );
        assert_eq!(references(json.as_bytes()).unwrap(), References::default());
    }

    #[test]
    fn what_is_no_object_is_no_document() {
        for text in [
            "", "[]", "7", "\"a\"", "{", "{}x", "null", "{\"a\":", "\u{1}",
        ] {
            assert!(references(text.as_bytes()).is_err(), "{text}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert!(references(deep.as_bytes()).is_err());
        assert_eq!(references(b"{}").unwrap(), References::default());
    }
}
