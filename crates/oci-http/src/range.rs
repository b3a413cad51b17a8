//! The two headers that name a part of a blob: `Range` to read it, `Content-Range` to upload it.

use std::fmt;
use std::str::FromStr;

use http::HeaderMap;
use http::header::{CONTENT_RANGE, RANGE};
use oci_core::store::ReadRange;

/// What the `Range` header of a GET asks for, by RFC 9110, "Range Requests".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RequestedRange {
    /// One part.
    Part(ReadRange),
    /// A part that no content has, such as `500-0`.
    Unsatisfiable,
    /// Everything: there is no such header, or it has several ranges or another form, and may be
    /// ignored then.
    Whole,
}

impl RequestedRange {
    /// Reads the value of one `Range` header.
    pub fn parse(text: &str) -> Self {
        Self::parse_part(text).unwrap_or(Self::Whole)
    }

    fn parse_part(text: &str) -> Option<Self> {
        let (unit, set) = text.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = set.trim().split_once('-')?;
        Some(match (saturating(first), saturating(last)) {
            (Some(first), Some(last)) if first > last => Self::Unsatisfiable,
            (Some(first), Some(last)) => Self::Part(ReadRange::Inclusive(first, last)),
            (Some(first), None) if last.is_empty() => Self::Part(ReadRange::From(first)),
            (None, Some(length)) if first.is_empty() => Self::Part(ReadRange::Suffix(length)),
            _ => return None,
        })
    }

    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(RANGE).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().map_or(Self::Whole, Self::parse),
            _ => Self::Whole,
        }
    }
}

/// The `Content-Range` of a chunk: the bytes of the blob that the body holds, both ends included.
///
/// OCI distribution-spec, "Pushing a blob in chunks", writes it `0-1023`; the form of HTTP,
/// `bytes 0-1023/*`, is understood too.
///
/// ```
/// use oci_http::ContentRange;
///
/// let range: ContentRange = "1024-2047".parse()?;
/// assert_eq!((range.start(), range.length()), (1024, Some(1024)));
/// assert!("2047-1024".parse::<ContentRange>().is_err());
/// # Ok::<(), oci_http::ContentRangeError>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ContentRange {
    start: u64,
    end: u64,
}

impl ContentRange {
    /// The offset of the first byte.
    pub fn start(self) -> u64 {
        self.start
    }

    /// How many bytes there are; `None` for 2⁶⁴.
    pub fn length(self) -> Option<u64> {
        // Parsing has checked the order of the ends.
        (self.end - self.start).checked_add(1)
    }

    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, ContentRangeError> {
        let mut values = headers.get_all(CONTENT_RANGE).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value
                .to_str()
                .map_err(|_| ContentRangeError)?
                .parse()
                .map(Some),
            (Some(_), Some(_)) => Err(ContentRangeError),
        }
    }
}

impl FromStr for ContentRange {
    type Err = ContentRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let bare = match text.strip_prefix("bytes") {
            Some(rest) => rest.strip_prefix([' ', '=']).ok_or(ContentRangeError)?,
            None => text,
        };
        let bare = match bare.split_once('/') {
            Some((range, "*")) => range,
            Some((range, total)) if exact(total).is_some() => range,
            Some(_) => return Err(ContentRangeError),
            None => bare,
        };
        let (start, end) = bare.split_once('-').ok_or(ContentRangeError)?;
        match (exact(start), exact(end)) {
            (Some(start), Some(end)) if start <= end => Ok(Self { start, end }),
            _ => Err(ContentRangeError),
        }
    }
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

/// A `Content-Range` that cannot be understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "Content-Range is written `<first>-<last>`, the offsets of the first and last byte of the body, for example `0-1023`"
)]
#[non_exhaustive]
pub struct ContentRangeError;

fn exact(text: &str) -> Option<u64> {
    is_number(text).then(|| text.parse().ok())?
}

/// More digits than fit mean more than there can be.
fn saturating(text: &str) -> Option<u64> {
    is_number(text).then(|| text.parse().unwrap_or(u64::MAX))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges() {
        use ReadRange::{From, Inclusive, Suffix};
        for (text, expected) in [
            ("bytes=0-9", RequestedRange::Part(Inclusive(0, 9))),
            ("Bytes = 5-", RequestedRange::Part(From(5))),
            ("bytes=-500", RequestedRange::Part(Suffix(500))),
            ("bytes=-0", RequestedRange::Part(Suffix(0))),
            ("bytes=500-0", RequestedRange::Unsatisfiable),
            (
                "bytes=99999999999999999999999-",
                RequestedRange::Part(From(u64::MAX)),
            ),
            ("bytes=0-9,20-29", RequestedRange::Whole),
            ("bytes=", RequestedRange::Whole),
            ("bytes=-", RequestedRange::Whole),
            ("bytes=--5", RequestedRange::Whole),
            ("bytes=1-2-3", RequestedRange::Whole),
            ("bytes=abc", RequestedRange::Whole),
            ("items=0-5", RequestedRange::Whole),
            ("=0-1", RequestedRange::Whole),
            ("", RequestedRange::Whole),
        ] {
            assert_eq!(RequestedRange::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn content_ranges() {
        for text in [
            "0-9",
            "bytes 0-9/*",
            "bytes 0-9/10",
            "bytes 0-9",
            "bytes=0-9",
            " 0-9 ",
        ] {
            assert_eq!(
                text.parse(),
                Ok(ContentRange { start: 0, end: 9 }),
                "{text}"
            );
        }
        for text in [
            "",
            "abc",
            "100",
            "100-",
            "-199",
            "199-100",
            "100--199",
            "+100-+199",
            "0x64-0xc7",
            "100-199-",
            "100 - 199",
            "1e2-199",
            "items 100-199/200",
            "bytes100-199",
            "0-9/x",
            "0-9/",
            "0-18446744073709551616",
        ] {
            assert_eq!(
                text.parse::<ContentRange>(),
                Err(ContentRangeError),
                "{text}"
            );
        }
        assert_eq!(
            format!("0-{}", u64::MAX)
                .parse::<ContentRange>()
                .unwrap()
                .length(),
            None
        );
    }

    proptest! {
        #[test]
        fn content_ranges_round_trip(a: u64, b: u64) {
            let range = ContentRange { start: a.min(b), end: a.max(b) };
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "(bytes)?[ =]?[0-9]{0,21}[-,/ ]{0,2}[0-9]{0,21}[/*]{0,2}.{0,3}") {
            if let Ok(range) = text.parse::<ContentRange>() {
                prop_assert!(range.start <= range.end);
            }
            if let RequestedRange::Part(ReadRange::Inclusive(first, last)) = RequestedRange::parse(&text) {
                prop_assert!(first <= last);
            }
        }
    }
}
