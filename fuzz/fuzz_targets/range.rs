//! `Range` of a pull: what is asked for, and which bytes that is of some content.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_core::store::ReadRange;
use oci_http::range::RequestedRange;

fuzz_target!(|text: &str| {
    let requested = RequestedRange::parse(text);
    match requested {
        RequestedRange::Part(part) => {
            let written = match part {
                ReadRange::Inclusive(first, last) => {
                    assert!(first <= last);
                    format!("bytes={first}-{last}")
                }
                ReadRange::From(first) => format!("bytes={first}-"),
                ReadRange::Suffix(length) => format!("bytes=-{length}"),
                _ => return,
            };
            assert_eq!(RequestedRange::parse(&written), requested);
            for size in [0, 1, 10, 1 << 40, u64::MAX] {
                if let Some(bytes) = part.resolve(size) {
                    assert!(
                        bytes.start < bytes.end && bytes.end <= size,
                        "{bytes:?} of {size}"
                    );
                }
            }
        }
        // Several ranges and other units may be ignored, but never half understood.
        RequestedRange::Unsatisfiable => assert!(!text.contains(',')),
        _ => {}
    }
});
