//! Repository names, tags and references, against the specification's expressions read slowly.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_core::{Reference, RepositoryName, Tag};

fuzz_target!(|text: &str| {
    let name = text.parse::<RepositoryName>();
    assert_eq!(name.is_ok(), is_name(text), "{text:?}");
    if let Ok(name) = name {
        assert_eq!(name.as_str(), text);
        assert_eq!(name.components().collect::<Vec<_>>().join("/"), text);
        // A name is used as a relative path.
        let path = std::path::Path::new(text);
        assert!(
            path.components()
                .all(|part| matches!(part, std::path::Component::Normal(_)))
        );
    }

    let tag = text.parse::<Tag>();
    assert_eq!(tag.is_ok(), is_tag(text), "{text:?}");
    if let Ok(tag) = tag {
        assert_eq!(tag.as_str(), text);
    }

    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string(), text);
        assert_eq!(
            matches!(reference, Reference::Digest(_)),
            text.contains(':')
        );
    }
});

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`, at most 255 bytes.
fn is_name(text: &str) -> bool {
    let component = |text: &str| {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let separators: Vec<&str> = text
            .split(is_word)
            .filter(|part| !part.is_empty())
            .collect();
        text.starts_with(is_word)
            && text.ends_with(is_word)
            && separators.iter().all(|separator| {
                matches!(*separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
            })
    };
    text.len() <= 255 && text.split('/').all(component)
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=128).contains(&text.len())
        && text.starts_with(word)
        && text.chars().all(|c| word(c) || c == '.' || c == '-')
}
