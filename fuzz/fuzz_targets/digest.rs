//! Digests: what parses is written back byte for byte, and is what its parts say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_core::{Algorithm, Digest};

fuzz_target!(|text: &str| {
    let Ok(digest) = text.parse::<Digest>() else {
        return;
    };
    assert_eq!(digest.to_string(), text);
    let (algorithm, hex) = text.split_once(':').expect("every digest has a colon");
    assert_eq!(algorithm.parse::<Algorithm>(), Ok(digest.algorithm()));
    assert_eq!(digest.hex(), hex);
    assert_eq!(Digest::from_parts(digest.algorithm(), hex), Ok(digest));
    assert_eq!(digest.as_bytes().len(), digest.algorithm().output_len());
    assert!(
        text.bytes()
            .all(|b| b == b':' || b.is_ascii_digit() || b.is_ascii_lowercase())
    );

    let json = serde_json::to_string(&digest).expect("a digest is a string");
    assert_eq!(
        serde_json::from_str::<Digest>(&json).expect("its own JSON"),
        digest
    );
});
