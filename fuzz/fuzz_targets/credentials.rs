//! `Authorization` headers: never a panic, never more than the header says, never echoed.
//!
//! A line break, which no header has, begins a second header.
#![no_main]

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use oci_auth::BasicCredentials;

fuzz_target!(|input: &[u8]| {
    let (first, second) = match input.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&input[..at], Some(&input[at + 1..])),
        None => (input, None),
    };
    let mut headers = HeaderMap::new();
    for value in [Some(first), second].into_iter().flatten() {
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return;
        };
        headers.append(AUTHORIZATION, value);
    }
    match BasicCredentials::from_headers(&headers) {
        Ok(Some(credentials)) => {
            assert!(second.is_none(), "of two headers neither counts");
            assert!(!credentials.user().contains(':'));
            assert!(credentials.user().len() + credentials.password().len() < first.len());
            let shown = format!("{credentials:?}");
            // Short ones may be part of the words around them.
            let password = credentials.password();
            if password.len() > 16 && !credentials.user().contains(password) {
                assert!(!shown.contains(password));
            }
        }
        Ok(None) => panic!("there is a header"),
        Err(error) => {
            let status = error.status();
            assert!(status == 400 || status == 401, "{status}");
            let sent = String::from_utf8_lossy(first);
            let message = error.to_string();
            if let Some((_, encoded)) = sent.trim().split_once(' ') {
                // With a digit in it, it cannot be one of the messages by chance.
                let telling = encoded.len() > 16 && encoded.bytes().any(|b| b.is_ascii_digit());
                assert!(!telling || !message.contains(encoded), "{message}");
            }
        }
    }
});
