//! The router: any target is an endpoint or refused, and an endpoint is written back as one that
//! parses to itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_http::Endpoint;

fuzz_target!(|target: &str| {
    let parse = |target: &str| match target.split_once('?') {
        Some((path, query)) => Endpoint::parse(path, Some(query)),
        None => Endpoint::parse(target, None),
    };
    let Ok(endpoint) = parse(target) else {
        return;
    };
    let written = endpoint.to_string();
    assert_eq!(parse(&written).as_ref(), Ok(&endpoint), "{written}");
    // It is what stands in `Location` and `Link`.
    assert!(written.parse::<http::Uri>().is_ok(), "{written}");
    assert!(http::HeaderValue::try_from(&written).is_ok(), "{written}");
    if let Some(repository) = endpoint.repository() {
        assert!(
            repository
                .components()
                .all(|part| !part.is_empty() && !part.starts_with('.'))
        );
    }
    assert!(!endpoint.kind().is_empty());
});
