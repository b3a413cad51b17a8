//! `registryd config` as a person types it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests say what they expect, as tests do"
)]

use std::process::{Command, Output};

fn registryd(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registryd"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REGISTRY_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("config")
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const ALIAS: &str = "tests/config/valid/config-map-with-tls.yml";

#[test]
fn check_reports_everything_and_says_whether_it_would_start() {
    let warned = registryd(&["check", ALIAS], &[]);
    assert!(warned.status.success(), "{}", out(&warned));
    let text = out(&warned);
    assert!(
        text.contains(&format!(
            "warning: `cert` is read as `http.tls.certificate`\n  --> {ALIAS}:16:5\n"
        )),
        "{text}"
    );
    assert!(
        text.ends_with('\n') && text.contains("\nok: 0 errors, 1 warning, "),
        "{text}"
    );
    assert_eq!(err(&warned), "");

    let strict = registryd(&["check", "--strict", ALIAS], &[]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(
        out(&strict).contains("error: `cert` is read as"),
        "{}",
        out(&strict)
    );
    assert!(
        out(&strict).contains("\nrefused: 1 error, 0 warnings, "),
        "{}",
        out(&strict)
    );

    let two = registryd(&["check", "tests/config/refused/two-drivers.yml"], &[]);
    assert_eq!(two.status.code(), Some(1));
    assert!(
        out(&two).starts_with("error: more than one storage driver"),
        "{}",
        out(&two)
    );

    let none = registryd(&["check", "tests/config/no-such.yml"], &[]);
    assert_eq!(none.status.code(), Some(1));
    assert!(
        out(&none).contains("No such file or directory"),
        "{}",
        out(&none)
    );
}

#[test]
fn check_sees_the_variables_and_the_file_they_name() {
    let plain = registryd(&["check"], &[]);
    assert!(plain.status.success());
    assert_eq!(out(&plain), "ok: 0 errors, 0 warnings, 0 notes\n");
    let wrong = registryd(&["check"], &[("REGISTRY_HTTP_ADDR", "5000")]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        out(&wrong).contains("--> environment variable REGISTRY_HTTP_ADDR\n"),
        "{}",
        out(&wrong)
    );
    let named = registryd(&["check"], &[("REGISTRY_CONFIGURATION_PATH", ALIAS)]);
    assert!(out(&named).contains(ALIAS), "{}", out(&named));
}

#[test]
fn show_writes_values_with_their_sources_and_no_secret() {
    let file = "tests/config/valid/everything.yml";
    let shown = registryd(
        &["show", "--effective", "--sources", file],
        &[("REGISTRY_TAGS_MAXTAGS", "7")],
    );
    assert!(shown.status.success(), "{}", err(&shown));
    let text = out(&shown);
    for line in [
        "  maxtags: 7  # environment variable REGISTRY_TAGS_MAXTAGS\n",
        "    rootdirectory: /data  # tests/config/valid/everything.yml:8:31\n",
        "  secret: \"[redacted]\"  # tests/config/valid/everything.yml:23:11\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    assert!(!text.contains("very secret"));
    let json = registryd(&["show", "--effective", "--json", file], &[]);
    let json: serde_json::Value = serde_json::from_str(&out(&json)).unwrap();
    assert_eq!(json["tags"]["maxtags"], 60);
    assert_eq!(json["http"]["addr"], "unix:/run/registry.sock");
    // Only what was written.
    let written = registryd(&["show"], &[("REGISTRY_HTTP_ADDR", ":5001")]);
    assert_eq!(out(&written), "http:\n  addr: \":5001\"\n");
    let refused = registryd(&["show", "tests/config/refused/token.yml"], &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(out(&refused), "");
    assert!(err(&refused).starts_with("error: `auth.token` is not supported"));
}

#[test]
fn schema_writes_a_json_schema() {
    let schema = registryd(&["schema"], &[]);
    assert!(schema.status.success());
    let schema: serde_json::Value = serde_json::from_str(&out(&schema)).unwrap();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert_eq!(
        schema["properties"]["http"]["properties"]["tls"]["additionalProperties"],
        false
    );
}
