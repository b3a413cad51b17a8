//! Every key, one by one, and the table of them in the documentation.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use serde_json::Value as Json;

use super::{
    super::{
        Diagnostic, Loader, Severity, Source,
        schema::{self, Key, Kind, Support},
    },
    load, loaded,
    rows::{self, Expected, Row},
    value,
};

#[test]
fn every_key_does_what_its_row_says() {
    let mut wrong = Vec::new();
    for row in rows::all() {
        let file = row.file();
        let (config, found) = match load(&file, &[]) {
            Ok(loaded) => {
                let found: Vec<_> = loaded.diagnostics.iter().cloned().collect();
                (Some(loaded), found)
            }
            Err(error) => (None, error.diagnostics().iter().cloned().collect()),
        };
        let said = |found: &[Diagnostic]| found.iter().map(ToString::to_string).collect::<String>();
        let ok = match (&row.expected, &config) {
            (Expected::Value { at, value: want }, Some(loaded)) => {
                // A key with another name may be deprecated.
                let own = format!("`{}`", row.key);
                let moved = at.as_str() != row.key.replace("[]", ".0");
                found.iter().all(|d| moved && d.what.starts_with(&own))
                    && value(loaded, at) == *want
                    && *loaded.sources.of(at) != Source::Default
            }
            (Expected::Value { .. }, None) => false,
            (Expected::Report { severity, names }, config) => {
                let names = format!("`{names}`");
                (*severity == Severity::Error) == config.is_none()
                    && matches!(&found[..], [d] if d.severity == *severity && d.what.starts_with(&names))
            }
        };
        if !ok {
            let shown = config.map(|loaded| serde_json::to_string(&loaded.config).unwrap());
            wrong.push(format!("{row:?}\n{file}{}{shown:?}\n", said(&found)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_key_has_a_row() {
    let rows = rows::all();
    let mut seen = std::collections::BTreeSet::new();
    for row in &rows {
        assert!(seen.insert(row.key), "{} has two rows", row.key);
    }
    let mut missing = Vec::new();
    for (path, key) in keys() {
        let below = |row: &Row| {
            let rest = row.key.strip_prefix(&path);
            rest.is_some_and(|rest| rest.starts_with('.') || rest.starts_with("[]."))
        };
        let has = seen.contains(path.as_str());
        let container =
            !key.kind.keys().is_empty() || matches!(key.kind, Kind::Opaque | Kind::Map(_));
        let list = matches!(key.kind, Kind::List(items) if !items.is_scalar());
        if !has && !((container || list) && rows.iter().any(below)) {
            missing.push(path);
        }
    }
    assert!(missing.is_empty(), "no row in keys.txt: {missing:#?}");
    let known = |version: &str| {
        rows.iter()
            .filter(|r| r.distribution.contains(version))
            .count()
    };
    // As many as there are in Distribution's documentation and structures.
    assert!(
        known("2") >= 175 && known("3") >= 200,
        "{} {}",
        known("2"),
        known("3")
    );
}

#[test]
fn every_alias_is_read_as_the_key_it_stands_for() {
    let mut aliases = 0;
    let rows = rows::all();
    for (place, key) in keys() {
        for alias in key.aliases {
            aliases += 1;
            let at_or_below = |row: &&Row| {
                let rest = row.key.strip_prefix(&place);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let row = rows.iter().find(at_or_below).unwrap();
            let file = row.file();
            let renamed = file.replace(&format!("{}: ", key.name), &format!("{alias}: "));
            assert_ne!(file, renamed, "{place}");
            let found = match load(&renamed, &[]) {
                Ok(loaded) => loaded.diagnostics,
                Err(error) => error.diagnostics().clone(),
            };
            let want = format!("`{alias}` is read as `{place}`");
            assert!(found.iter().any(|d| d.what == want), "{renamed}{found}");
        }
    }
    assert!(aliases >= 3, "{aliases}");
}

/// With every key of a refused kind, somebody is told what to do.
#[test]
fn every_report_says_what_to_do() {
    for (path, key) in keys() {
        if let Support::Ignored(why) | Support::Refused(why) = key.support {
            let verdict = schema::verdict(key, &path, &Source::Default, false).unwrap();
            assert_eq!(verdict.why.as_deref(), Some(why), "{path}");
            assert!(verdict.fix.is_some_and(|fix| fix.len() > 5), "{path}");
        }
    }
}

/// Written anew with `BLESS=1 cargo test -p registryd --lib config::tests::keys`.
#[test]
fn the_table_in_the_documentation_is_current() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/configuration-keys.md"
    );
    let table = table();
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, table).unwrap();
        return;
    }
    let current = fs::read_to_string(path).unwrap_or_default();
    assert!(
        current == table,
        "docs/configuration-keys.md is not what the schema says; write it anew with \
         `BLESS=1 cargo test -p registryd --lib config::tests::keys`"
    );
}

/// Every key of the schema with its path; those of the items of lists too.
fn keys() -> Vec<(String, &'static Key)> {
    fn walk(prefix: &str, keys: &'static [Key], found: &mut Vec<(String, &'static Key)>) {
        for key in keys {
            let path = schema::join(prefix, key.name);
            walk(&path, key.kind.keys(), found);
            if let Kind::List(items) = key.kind {
                walk(&format!("{path}[]"), items.keys(), found);
            }
            found.push((path, key));
        }
    }
    let mut found = Vec::new();
    walk("", schema::ROOT, &mut found);
    found
}

/// The key of the schema that is at `path` or nearest above it, and its path.
fn place_of(path: &str) -> Option<(String, &'static Key)> {
    let above = |place: &str| {
        let rest = path.strip_prefix(place);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let candidates = keys().into_iter().filter(|(place, _)| above(place));
    candidates.max_by_key(|(place, _)| place.len())
}

/// What is said about the key at `path`: by itself, or by the nearest key above it that is reported.
fn reported(path: &str) -> Option<(String, &'static Key)> {
    let reported = keys().into_iter().filter(|(place, key)| {
        let rest = path.strip_prefix(place.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            && !matches!(key.support, Support::Full)
    });
    reported.max_by_key(|(place, _)| place.len())
}

const HEAD: &str = "\
# Every key

Made from the schema; do not edit. `BLESS=1 cargo test -p registryd --lib config::tests::keys` writes it
anew.

The second column names the major versions of CNCF Distribution that know the key; a dash, that it is
our own. A default is that of a file which does not name the key. In variables, `_0` is the first item
of a list.

- **honoured**: it does what it says.
- **mapped**: it does that by way of another key.
- **no effect**: nothing is missed without it; noted at level `debug`.
- **warning**: it is not supported, and named at start; with `--strict`, refused.
- **refused**: without its effect, something else would be served, or to somebody else.

What is said about a block is said about every key below it. A block that asks for nothing (`remoteurl: \"\"`,
`enabled: false`) is never reported.
";

fn table() -> String {
    let defaults = loaded(
        "version: 0.1\nstorage: filesystem\nauth: {htpasswd: {path: /p}}\nhttp: {tls: {certificate: c, key: k}}\n",
        &[],
    );
    let mut sections: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut order = Vec::new();
    for row in rows::all() {
        let top = row.key.split('.').next().unwrap_or_default();
        let top = if matches!(top, "version" | "loglevel") {
            "log"
        } else {
            top
        };
        if !sections.contains_key(top) {
            order.push(top);
        }
        let lines = sections.entry(top).or_default();
        // A block that is reported as a whole stands once before its keys.
        if let Some((place, key)) = reported(row.key)
            && place != row.key
        {
            let status = format!("{} |", status(&place, key));
            let block = format!("| **`{place}`** | | `{}` | |", variable(&place));
            if !lines.iter().any(|line| line.starts_with(&block)) {
                lines.push(format!("{block} {status}"));
            }
        }
        let (place, key) = place_of(row.key).unwrap_or_else(|| panic!("{} is unknown", row.key));
        lines.push(line(&row, (&place, key), &defaults));
        if place == row.key {
            for alias in key.aliases {
                let parent = place.rsplit_once('.').map_or("", |(parent, _)| parent);
                lines.push(format!(
                    "| `{}` | {} | | | mapped: read as `{place}`, with a warning |",
                    schema::join(parent, alias),
                    row.distribution.replace(' ', ", "),
                ));
            }
        }
    }
    let mut text = HEAD.to_owned();
    for top in order {
        let title = if top == "log" { "version and log" } else { top };
        let _ = write!(
            text,
            "\n## {title}\n\n| key | Distribution | variable | takes; default | |\n|---|---|---|---|---|\n"
        );
        for line in &sections[top] {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn line(row: &Row, (place, key): (&str, &'static Key), defaults: &super::super::Loaded) -> String {
    let own = place == row.key;
    let takes = match (&key.kind, own) {
        (Kind::Opaque, _) | (_, false) => String::new(),
        (Kind::Section([]), _) => "nothing".to_owned(),
        (kind, true) => kind
            .expected()
            .replace("a mapping with the keys ", "")
            .replace('|', "\\|"),
    };
    let default = if own && *defaults.sources.of(row.key) == Source::Default {
        default(row.key, defaults)
    } else {
        String::new()
    };
    let takes = match (takes.as_str(), default.as_str()) {
        (takes, "") => takes.to_owned(),
        ("", default) => format!("`{default}`"),
        (takes, default) => format!("{takes}; `{default}`"),
    };
    format!(
        "| `{}` | {} | `{}` | {takes} | {} |",
        row.key,
        row.distribution.replace(' ', ", ").replace('-', "–"),
        variable(row.key),
        status(row.key, key),
    )
}

fn status(path: &str, key: &Key) -> String {
    let Some((place, why)) = reported(path) else {
        return match key.sets {
            Some(other) => format!("mapped: sets `{other}`"),
            None => "honoured".to_owned(),
        };
    };
    let instead = schema::instead(why, &place);
    if place != path {
        let word = match why.support {
            Support::Full | Support::NoEffect(_) => "no effect",
            Support::Ignored(_) => "warning",
            Support::Refused(_) => "refused",
        };
        return format!("{word}, as all of `{place}`");
    }
    match why.support {
        Support::Full => String::new(),
        Support::NoEffect(reason) => format!("no effect: {reason}"),
        Support::Ignored(reason) => format!("warning: {reason}; {instead}"),
        Support::Refused(reason) => format!("refused: {reason}; {instead}"),
    }
}

fn default(key: &str, defaults: &super::super::Loaded) -> String {
    let config = serde_json::to_value(&defaults.config).unwrap();
    match config.pointer(&format!("/{}", key.replace('.', "/"))) {
        None | Some(Json::Null) => String::new(),
        Some(Json::String(text)) => text.clone(),
        Some(Json::Array(items)) if items.is_empty() => String::new(),
        Some(Json::Object(map)) if map.is_empty() => String::new(),
        Some(other) => other.to_string(),
    }
}

/// The variable that sets the key.
fn variable(path: &str) -> String {
    let mut name = "REGISTRY".to_owned();
    let mut at = String::new();
    for segment in path.split('.') {
        let (plain, list) = match segment.strip_suffix("[]") {
            Some(plain) => (plain, "_0"),
            None => (segment, ""),
        };
        let place = schema::join(&at, plain);
        let known = keys().into_iter().find(|(path, _)| *path == place);
        let part = known.map_or_else(|| plain.to_uppercase(), |(_, key)| key.segment());
        let _ = write!(name, "_{part}{list}");
        at = schema::join(&at, segment);
    }
    name
}

/// The variables of the table are those that are understood.
#[test]
fn every_variable_of_the_table_is_known() {
    for row in rows::all() {
        let name = variable(row.key);
        let loader = Loader::new().text("c.yml", super::SMALL);
        let found = match loader.variables([(name.as_str(), "")]).load() {
            Ok(loaded) => loaded.diagnostics,
            Err(error) => error.diagnostics().clone(),
        };
        let unknown = found.iter().find(|d| d.what.starts_with("unknown"));
        assert_eq!(unknown, None, "{name}");
    }
}
