//! `Content-Range` of a chunk: whatever is understood has its ends in order and the right length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_http::ContentRange;

fuzz_target!(|text: &str| {
    let Ok(range) = text.parse::<ContentRange>() else {
        return;
    };
    let bare = range.to_string();
    assert_eq!(bare.parse::<ContentRange>(), Ok(range));
    let (start, end) = bare.split_once('-').expect("two ends");
    let (start, end): (u64, u64) = (
        start.parse().expect("a number"),
        end.parse().expect("a number"),
    );
    assert_eq!(range.start(), start);
    match range.length() {
        Some(length) => assert_eq!(u128::from(start) + u128::from(length), u128::from(end) + 1),
        None => assert_eq!((start, end), (0, u64::MAX)),
    }
    // The HTTP form says the same.
    assert_eq!(format!("bytes {bare}/*").parse::<ContentRange>(), Ok(range));
});
