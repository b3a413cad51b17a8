//! Configurations: loaded or refused with a reason, within the bounds of the reader.
//!
//! Lines from the end of the input that look like `REGISTRY_…=…` are variables, the rest is the file.
#![no_main]

use libfuzzer_sys::fuzz_target;

// Only this part of registryd: as a whole it brings TLS and a server, minutes of building.
#[allow(dead_code, unused_imports)]
#[path = "../../crates/registryd/src/config/mod.rs"]
mod config;

#[allow(dead_code)]
#[path = "../../crates/registryd/src/retention/rules.rs"]
mod rules;

/// Where registryd has the rules.
mod retention {
    pub(crate) use crate::rules::{RepositoryPattern, TagPattern};
}

/// In the place of what needs rustls: registryd's table of cipher suites, and its look at names of hosts.
mod tls {
    pub(crate) fn host_name_problem(name: &str) -> Option<&'static str> {
        name.contains('/').then_some("it is a path")
    }

    pub(crate) mod suites {
        #[allow(dead_code)]
        pub(crate) enum Named {
            Offered(()),
            Always,
            Never(&'static str),
        }

        pub(crate) fn named(name: &str) -> Option<Named> {
            match name.len() % 4 {
                0 => Some(Named::Offered(())),
                1 => Some(Named::Always),
                2 => Some(Named::Never("it is for tests")),
                _ => None,
            }
        }

        pub(crate) const OFFERED: &str = "another one";
    }
}

use config::Loader;

fuzz_target!(|input: &str| {
    let mut file = input.trim_end_matches('\n');
    let mut variables = Vec::new();
    while let Some(at) = file.rfind("\nREGISTRY_") {
        let Some((name, value)) = file[at + 1..].split_once('=') else {
            break;
        };
        variables.push((name, value));
        file = &file[..at];
    }
    let load = |strict| {
        Loader::new()
            .text("config.yml", file)
            .variables(variables.iter().copied())
            .strict(strict)
            .load()
    };
    let loaded = load(false);
    match &loaded {
        Ok(loaded) => {
            // Whatever was found, it can be told.
            let _ = format!("{:?}{}", loaded.config, loaded.diagnostics);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // The same input gives the same result, and strict is never more lenient.
    assert_eq!(load(false), loaded);
    if load(true).is_ok() {
        assert!(loaded.is_ok());
    }
});
