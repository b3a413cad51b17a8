//! What `registryd config` writes.

use std::{fs, path::PathBuf};

use proptest::prelude::*;
use serde_json::Value as Json;

use super::{
    super::{Config, Loaded, Loader, Show, json_schema, schema},
    IMAGE, loaded,
};

const EFFECTIVE: Show = Show {
    effective: true,
    sources: false,
    json: false,
};

/// The sample files of one directory, and the variables beside them.
fn samples(directory: &str) -> Vec<(PathBuf, Loader)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/config")
        .join(directory);
    let mut files: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml"))
        .collect();
    files.sort();
    assert!(files.len() >= 9, "{}", directory.display());
    files
        .into_iter()
        .map(|path| {
            let variables = fs::read_to_string(path.with_extension("env")).unwrap_or_default();
            let variables = variables.lines().filter_map(|line| line.split_once('='));
            let variables = variables.map(|(n, v)| (n.to_owned(), v.to_owned()));
            let loader = Loader::new().path(&path).variables(variables);
            (path, loader)
        })
        .collect()
}

/// `.ci/checks/config_schema.py` holds the same files against the JSON Schema.
#[test]
fn the_samples_are_accepted_and_refused_as_their_directories_say() {
    for (path, loader) in samples("valid") {
        let loaded = loader.load();
        assert!(loaded.is_ok(), "{}: {loaded:?}", path.display());
    }
    for (path, loader) in samples("refused") {
        assert!(loader.load().is_err(), "{}", path.display());
    }
}

/// The configuration that a written one is read back as.
fn again(text: &str) -> Loaded {
    loaded(text, &[])
}

fn without_secret(mut config: Config) -> Config {
    config.http.secret = None;
    config
}

#[test]
fn what_is_shown_is_a_file_that_means_the_same() {
    for (path, loader) in samples("valid") {
        let loaded = loader.load().unwrap();
        for sources in [false, true] {
            let shown = loaded
                .show(Show {
                    sources,
                    ..EFFECTIVE
                })
                .unwrap();
            let again = again(&shown);
            assert_eq!(
                without_secret(again.config),
                without_secret(loaded.config.clone()),
                "{}\n{shown}",
                path.display()
            );
        }
        let json = loaded
            .show(Show {
                json: true,
                ..EFFECTIVE
            })
            .unwrap();
        assert_eq!(
            without_secret(again(&json).config),
            without_secret(loaded.config.clone())
        );
    }
}

#[test]
fn every_value_is_shown_with_its_source() {
    let loaded = loaded(IMAGE, &[("REGISTRY_HTTP_ADDR", ":5001")]);
    let written = loaded
        .show(Show {
            sources: true,
            ..Show::default()
        })
        .unwrap();
    assert_eq!(
        written,
        "\
health:
  storagedriver:
    enabled: true  # config.yml:16:14
    interval: \"10s\"  # config.yml:17:15
    threshold: 3  # config.yml:18:16
http:
  addr: \":5001\"  # environment variable REGISTRY_HTTP_ADDR
  headers:
    X-Content-Type-Options:
      - nosniff  # config.yml:13:30
log:
  fields:
    service: registry  # config.yml:4:5
storage:
  cache:
    blobdescriptor: inmemory  # config.yml:7:21
  filesystem:
    rootdirectory: /var/lib/registry  # config.yml:9:20
version: \"0.1\"  # config.yml:1:10
"
    );
    let effective = loaded
        .show(Show {
            sources: true,
            ..EFFECTIVE
        })
        .unwrap();
    for line in [
        "\n    maxthreads: 100  # built-in default\n",
        "\n  level: info  # built-in default\n",
        "\n  tls: null  # built-in default\n",
    ] {
        assert!(effective.contains(line), "{line:?} in {effective}");
    }
    let json = loaded
        .show(Show {
            sources: true,
            json: true,
            ..Show::default()
        })
        .unwrap();
    let json: Json = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["http.addr"],
        serde_json::json!({"value": ":5001", "source": "environment variable REGISTRY_HTTP_ADDR"})
    );
    assert_eq!(
        json["http.headers.X-Content-Type-Options.0"]["value"],
        "nosniff"
    );
}

#[test]
fn no_secret_is_shown() {
    let loaded = loaded(
        "\
version: 0.1
storage: inmemory
log: {fields: {api_token: hush-1}}
http:
  addr: :5000
  secret: hush-2
  headers: {Set-Cookie: [hush-3], X-Api-Key: hush-4}
health:
  http:
    - uri: https://user:hush-5@up.example/path?a=b@c
      headers: {Authorization: [Basic hush-6], X-Plain: [seen]}
",
        &[],
    );
    for (sources, json) in [(false, false), (true, false), (false, true), (true, true)] {
        let shown = loaded
            .show(Show {
                effective: true,
                sources,
                json,
            })
            .unwrap();
        assert!(!shown.contains("hush"), "{shown}");
        assert!(
            shown.contains("https://[redacted]@up.example/path?a=b@c"),
            "{shown}"
        );
        assert!(shown.contains("seen"), "{shown}");
    }
}

proptest! {
    /// Whatever stands in a value, the file that is written means the same.
    #[test]
    fn any_text_survives_being_shown(text in "\\PC{0,40}|[ -~]{0,20}|(yes|no|null|~|0x1|1e3|-|#| a|a: b)") {
        let variable = [("REGISTRY_LOG_FIELDS_X", text.as_str())];
        if let Ok(loaded) = super::load(super::SMALL, &variable) {
            let before = loaded.config.log.fields.get("x").cloned().unwrap_or_default();
            let shown = loaded.show(EFFECTIVE).unwrap();
            let after = again(&shown).config.log.fields.get("x").cloned().unwrap_or_default();
            prop_assert_eq!(before, after, "{}", shown);
        }
    }
}

#[test]
fn the_json_schema_describes_every_key() {
    let root = json_schema();
    assert_eq!(
        root["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    schema::visit(&mut |path, key| {
        // A choice is a name or a mapping: the mapping is the second form.
        let mut at = &root;
        for name in path.split('.') {
            let inside = at
                .get("properties")
                .or_else(|| at["anyOf"][1].get("properties"));
            at = inside
                .and_then(|properties| properties.get(name))
                .unwrap_or_else(|| panic!("{path} is not described"));
        }
        let reported = !matches!(key.support, schema::Support::Full);
        assert!(!reported || at.get("description").is_some(), "{path}");
        assert!(!reported || at["deprecated"] == Json::Bool(true), "{path}");
    });
}
