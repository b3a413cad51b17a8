//! Whatever is written, the loader answers.

use proptest::{collection, prelude::*, sample::select};

use super::{
    super::{Loader, env, schema},
    SMALL,
};

/// Names of variables: known ones, cut and joined at random, and noise.
fn variable() -> impl Strategy<Value = String> {
    let mut segments = vec![
        String::new(),
        "0".into(),
        "1".into(),
        "99999999999999999999".into(),
    ];
    let mut whole = Vec::new();
    schema::visit(&mut |path, key| {
        segments.push(key.segment());
        whole.push(path.to_uppercase().replace('.', "_"));
    });
    let mixed = collection::vec(select(segments), 0..6).prop_map(|s| s.join("_"));
    let known = prop_oneof![3 => select(whole), 2 => mixed];
    prop_oneof![4 => known, 1 => "[A-Z0-9_ -]{0,20}", 1 => "\\PC{0,8}"]
        .prop_map(|rest| format!("{}{rest}", env::PREFIX))
}

/// Values: what people write, and noise.
fn content() -> impl Strategy<Value = String> {
    let usual = [
        "",
        "true",
        "no",
        "5000",
        ":5000",
        "10s",
        "-1",
        "filesystem",
        "inmemory",
        "htpasswd",
        "none",
        "[a, b]",
        "{enabled: true}",
        "{htpasswd: {path: /p}}",
        "~",
        "tcp://10.0.0.1:1",
        "\"true\"",
        "https://example.com",
        "/a/",
        "[",
        "*x",
        "&a [*a]",
    ];
    prop_oneof![select(usual.to_vec()).prop_map(str::to_owned), "\\PC{0,30}"]
}

/// YAML of known keys in random places, which gets further than noise does.
fn document() -> impl Strategy<Value = String> {
    let mut keys = Vec::new();
    schema::visit(&mut |_, key| keys.push(key.name));
    let line = (0_usize..4, select(keys), content())
        .prop_map(|(depth, key, value)| format!("{}{key}: {value}\n", "  ".repeat(depth)));
    collection::vec(line, 0..12).prop_map(|lines| format!("version: 0.1\n{}", lines.concat()))
}

proptest! {
    #[test]
    fn arbitrary_bytes_in_a_file(bytes in collection::vec(any::<u8>(), 0..200)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let _ = Loader::new().path(file.path()).load();
    }

    #[test]
    fn arbitrary_text(text in "(version: 0.1\n)?\\PC{0,80}|[a-z:{}\\[\\]&*<>|'\"#\n -]{0,60}") {
        let _ = Loader::new().text("c.yml", text).load();
    }

    #[test]
    fn documents_and_variables(
        text in document(),
        variables in collection::vec((variable(), content()), 0..8),
        strict: bool,
    ) {
        let loader = Loader::new().text("c.yml", text).variables(variables.clone());
        match loader.strict(strict).load() {
            Ok(loaded) => prop_assert!(!loaded.diagnostics.has_errors()),
            Err(error) => {
                prop_assert!(error.diagnostics().has_errors());
                // The schema lets nothing pass that the model does not take.
                prop_assert!(!error.to_string().contains("the configuration cannot be used"), "{}", error);
            }
        }
        let small = Loader::new().text("c.yml", SMALL).variables(variables.clone()).load();
        let bare = Loader::new().variables(variables).load();
        for error in [small.err(), bare.err()].into_iter().flatten() {
            prop_assert!(!error.to_string().contains("the configuration cannot be used"), "{}", error);
        }
    }

    #[test]
    fn a_finding_is_printable_and_has_a_place(
        variables in collection::vec((variable(), content()), 1..4),
    ) {
        if let Err(error) = Loader::new().text("c.yml", SMALL).variables(variables).load() {
            for found in error.diagnostics().iter() {
                prop_assert!(!found.places.is_empty());
                prop_assert!(!found.what.contains(char::is_control), "{}", found);
            }
        }
    }
}
