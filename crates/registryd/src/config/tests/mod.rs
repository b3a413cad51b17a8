//! The loader from the outside: what people write and what becomes of it.

mod buckets;
mod cases;
mod environment;
mod exposure;
mod file;
mod guides;
mod keys;
mod properties;
mod rows;
mod show;
mod unsupported;

use super::{LoadError, Loaded, Loader, Severity};

/// The configuration file of the `registry:2` image.
const IMAGE: &str = include_str!("../../../tests/config/valid/image-2.yml");

/// A file with nothing in it that could be warned of.
const SMALL: &str = "version: 0.1\nstorage: inmemory\nhttp: {addr: ':5000'}\n";

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, LoadError> {
    Loader::new()
        .text("config.yml", text)
        .variables(variables.iter().copied())
        .load()
}

fn loaded(text: &str, variables: &[(&str, &str)]) -> Loaded {
    load(text, variables).unwrap_or_else(|error| panic!("{text}\n{variables:?}\n{error}"))
}

fn refused(text: &str, variables: &[(&str, &str)]) -> LoadError {
    match load(text, variables) {
        Err(error) => error,
        Ok(loaded) => panic!("accepted: {text}\n{variables:?}\n{loaded:#?}"),
    }
}

/// The findings of one severity, each as its first line.
fn whats(loaded: &Loaded, severity: Severity) -> Vec<String> {
    loaded
        .diagnostics
        .of(severity)
        .map(|d| d.what.clone())
        .collect()
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    whats(loaded, Severity::Warning)
}

fn errors(error: &LoadError) -> Vec<String> {
    error
        .diagnostics()
        .of(Severity::Error)
        .map(|d| d.what.clone())
        .collect()
}

/// The value at a dotted key of the configuration, as it would be shown.
fn value(loaded: &Loaded, key: &str) -> serde_json::Value {
    let mut value = serde_json::to_value(&loaded.config).unwrap();
    for name in key.split('.') {
        value = match name.parse::<usize>() {
            Ok(index) => value[index].take(),
            Err(_) => value[name].take(),
        };
    }
    value
}
