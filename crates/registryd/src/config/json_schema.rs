//! The table of keys as JSON Schema (draft 2020-12), for editors and checks outside of this program.

use serde_json::{Map, Value as Json, json};

use super::{
    keys::STORAGE_OPTIONS,
    schema::{self, Key, Kind, Support},
};

/// The JSON Schema of the configuration file.
///
/// It is stricter than [`Loader`](super::Loader) about keys that do not exist, as with `--strict`, and
/// knows of one key at a time: that a certificate needs its private key, it cannot say.
pub fn json_schema() -> Json {
    let mut schema = section("", schema::ROOT);
    schema.insert("$schema".into(), SPECIFICATION.into());
    schema.insert("title".into(), "registryd".into());
    schema.insert(
        "description".into(),
        "Configuration of registryd: CNCF Distribution's schema 0.1".into(),
    );
    schema.insert("type".into(), "object".into());
    schema.insert("required".into(), json!(["version", "storage"]));
    schema.insert("$defs".into(), definitions());
    Json::Object(schema)
}

const SPECIFICATION: &str = "https://json-schema.org/draft/2020-12/schema";

fn definitions() -> Json {
    json!({
        // Templates leave keys without a value behind: as if they were not there.
        "blank": {"enum": [null, ""]},
        "bool": {"anyOf": [
            {"type": "boolean"},
            {"type": "string", "pattern": words(&["true", "yes", "on", "y", "false", "no", "off", "n"])},
            {"$ref": "#/$defs/blank"},
        ]},
        "text": {"type": ["string", "number", "boolean", "null"]},
        "duration": {"anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^\\+?(0|(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$"},
            {"$ref": "#/$defs/blank"},
        ]},
        // A block that asks for nothing, whatever it is called.
        "off": {"anyOf": [
            {"enum": [null, "", false]},
            {"type": "string", "pattern": words(&["false", "no", "off", "n"])},
            {"type": "array", "items": {"$ref": "#/$defs/off"}},
            {"type": "object", "additionalProperties": {"$ref": "#/$defs/off"}},
            {"type": "object", "required": ["enabled"], "properties": {"enabled": {"const": false}}},
            {"type": "object", "required": ["disabled"], "properties": {"disabled": {"const": true}}},
        ]},
    })
}

fn section(path: &str, keys: &'static [Key]) -> Map<String, Json> {
    let mut properties = Map::new();
    for key in keys {
        let path = schema::join(path, key.name);
        let value = property(&path, key);
        for alias in key.aliases {
            properties.insert((*alias).to_owned(), renamed(&value, key.name));
        }
        properties.insert(key.name.to_owned(), value);
    }
    let mut schema = Map::new();
    schema.insert("type".into(), json!(["object", "null"]));
    schema.insert("properties".into(), Json::Object(properties));
    schema.insert("additionalProperties".into(), Json::Bool(false));
    schema
}

/// The same under a name that only means another.
fn renamed(value: &Json, name: &str) -> Json {
    let mut value = value.clone();
    if let Json::Object(value) = &mut value {
        value.insert("deprecated".into(), Json::Bool(true));
        value.insert("description".into(), format!("Write `{name}`.").into());
    }
    value
}

fn property(path: &str, key: &'static Key) -> Json {
    let chosen = schema::is_choice(path);
    let mut schema = match key.support {
        // Naming it is choosing it.
        Support::Refused(_) if chosen => object(json!({"not": {}})),
        Support::Refused(_) => object(json!({"$ref": "#/$defs/off"})),
        _ => match path {
            "version" => object(json!({"enum": [0.1, "0.1"]})),
            _ => kind(path, &key.kind),
        },
    };
    if let Some(description) = description(path, key) {
        schema.insert("description".into(), description.into());
    }
    if !matches!(key.support, Support::Full) || key.sets == Some("log.level") {
        schema.insert("deprecated".into(), Json::Bool(true));
    }
    Json::Object(schema)
}

/// What is said about the key, for who writes it.
fn description(path: &str, key: &Key) -> Option<String> {
    let instead = schema::instead(key, path);
    match (key.support, key.sets) {
        (Support::Full, Some(other)) => Some(format!("Sets `{other}`.")),
        (Support::Full, None) => match &key.kind {
            Kind::Section(_) | Kind::Selector(_) => None,
            kind => Some(format!("Takes {}.", kind.expected())),
        },
        (Support::NoEffect(why), _) => Some(format!("Has no effect: {why}.")),
        (Support::Ignored(why), _) => Some(format!("Not supported: {why}. Instead: {instead}.")),
        (Support::Refused(why), _) => Some(format!("Refused: {why}. Instead: {instead}.")),
    }
}

fn kind(path: &str, kind: &'static Kind) -> Map<String, Json> {
    match kind {
        Kind::Bool => object(json!({"$ref": "#/$defs/bool"})),
        Kind::Int { least, most } => integer(*least, *most),
        Kind::Text | Kind::Form(_) => object(json!({"$ref": "#/$defs/text"})),
        Kind::Word(allowed) => object(json!({"anyOf": [
            {"type": "string", "pattern": words(allowed)},
            {"$ref": "#/$defs/blank"},
        ]})),
        Kind::Duration => object(json!({"$ref": "#/$defs/duration"})),
        // `inmemory: true`
        Kind::Section([]) => object(json!({"anyOf": [
            {"const": true},
            {"type": ["object", "null"], "additionalProperties": false},
        ]})),
        Kind::Section(keys) => section(path, keys),
        Kind::Selector(keys) => selector(path, keys),
        Kind::Map(values) => object(json!({
            "type": ["object", "null"],
            "additionalProperties": self::kind(path, values),
        })),
        Kind::List(items) => {
            let list = json!({"type": ["array", "null"], "items": self::kind(path, items)});
            if items.is_scalar() {
                // One item needs no brackets.
                object(json!({"anyOf": [list, self::kind(path, items)]}))
            } else {
                object(list)
            }
        }
        Kind::Opaque => Map::new(),
    }
}

fn integer(least: i64, most: i64) -> Map<String, Json> {
    let mut number = object(json!({"type": "integer"}));
    if least != i64::MIN {
        number.insert("minimum".into(), least.into());
    }
    if most != i64::MAX {
        number.insert("maximum".into(), most.into());
    }
    object(json!({"anyOf": [
        number,
        {"type": "string", "pattern": "^[-+]?[0-9][0-9a-zA-Z_]*$"},
        {"$ref": "#/$defs/blank"},
    ]}))
}

/// A mapping, or the name of one of its keys alone; of drivers and types, only one.
fn selector(path: &str, keys: &'static [Key]) -> Map<String, Json> {
    let mut mapping = section(path, keys);
    mapping.insert("type".into(), "object".into());
    let choices = keys
        .iter()
        .filter(|key| !STORAGE_OPTIONS.contains(&key.name));
    let required: Vec<_> = choices
        .clone()
        .flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().copied()))
        .map(|name| json!({"required": [name]}))
        .collect();
    let names: Vec<_> = choices
        .filter(|key| matches!(key.support, Support::Full))
        .map(|key| key.name)
        .collect();
    let mut forms = vec![json!({"enum": names})];
    mapping.insert("oneOf".into(), required.into());
    forms.push(Json::Object(mapping));
    if path != "storage" {
        // Nobody has to choose, outside of `storage`.
        forms.push(json!({"type": ["object", "null"], "maxProperties": 0}));
    }
    object(json!({"anyOf": forms}))
}

/// A regular expression for these words, in any case.
fn words(words: &[&str]) -> String {
    let any_case = |word: &&str| {
        word.chars()
            .map(|c| match c {
                'a'..='z' => format!("[{}{c}]", c.to_ascii_uppercase()),
                '.' => "\\.".to_owned(),
                c => c.to_string(),
            })
            .collect::<String>()
    };
    let words: Vec<_> = words.iter().map(any_case).collect();
    format!("^({})$", words.join("|"))
}

fn object(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(object) => object,
        other => Map::from_iter([("const".to_owned(), other)]),
    }
}
