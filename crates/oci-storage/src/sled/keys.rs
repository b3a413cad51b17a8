//! The names and the bytes of what is in the database. They are a stored format.
//!
//! | key | value |
//! |---|---|
//! | `f` | the format |
//! | `r<key>` | a record: 16 bytes of version, then `0` and its bytes, or `1` and the run that holds them |
//! | `e<key>` | an extent: `1`, the second of Unix time when it was written, its runs |
//! | `u<upload>` | an extent in parts: `1`, the second of its last part, its key |
//! | `v<upload><index>` | a part: `1`, the same second, its one run |
//! | `p<run><index>` | a piece: 64 KiB of a run, the last one less |
//! | `g<run>` | that the run may be garbage: the key of who names it if it is not |
//!
//! A run is content that was written at once: 16 random bytes, and 8 for its length. Numbers are
//! big-endian, so that keys sort by them.

use super::error::Fault;

pub(super) const FORMAT: &[u8] = b"f";
pub(super) const FORMAT_VALUE: &str = "registryd sled 1";

pub(super) const RECORD: u8 = b'r';
pub(super) const EXTENT: u8 = b'e';
pub(super) const UPLOAD: u8 = b'u';
pub(super) const PART: u8 = b'v';
pub(super) const PIECE: u8 = b'p';
pub(super) const GARBAGE: u8 = b'g';

/// The length of a piece.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// 16 random bytes that name something.
pub(super) type Name = [u8; 16];

pub(super) fn key(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(kind);
    key.extend_from_slice(rest);
    key
}

/// The key of a record or an extent as the engine knows it.
pub(super) fn key_text(key: &[u8]) -> Result<&str, Fault> {
    key.get(1..)
        .and_then(|text| str::from_utf8(text).ok())
        .ok_or_else(|| Fault::Unavailable("a key is not of this format".into()))
}

pub(super) fn piece(run: &Name, index: u64) -> Vec<u8> {
    let mut key = key(PIECE, run);
    key.extend_from_slice(&index.to_be_bytes());
    key
}

pub(super) fn part(upload: &Name, index: u64) -> Vec<u8> {
    let mut key = key(PART, upload);
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// Content that was written at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Run {
    pub(super) name: Name,
    pub(super) length: u64,
}

impl Run {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.name);
        to.extend_from_slice(&self.length.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (name, length) = bytes.split_first_chunk::<16>()?;
        let length = u64::from_be_bytes(length.try_into().ok()?);
        Some(Self {
            name: *name,
            length,
        })
    }

    /// The name that a part has for the engine.
    pub(super) fn text(&self) -> String {
        format!("{}-{}", text(&self.name), self.length)
    }

    /// How many pieces it has.
    pub(super) fn pieces(&self) -> u64 {
        self.length.div_ceil(PIECE_BYTES as u64)
    }
}

/// A name as text.
pub(super) fn text(name: &Name) -> String {
    format!("{:032x}", u128::from_be_bytes(*name))
}

/// A text as a name, if [`text`] made it.
pub(super) fn name(text: &str) -> Option<Name> {
    let canonical =
        text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let number = canonical.then(|| u128::from_str_radix(text, 16).ok())??;
    Some(number.to_be_bytes())
}

/// A record's value.
#[derive(Debug)]
pub(super) enum Body<'a> {
    Inline(&'a [u8]),
    InRun(Run),
}

pub(super) fn record(version: &Name, body: &Body<'_>) -> Vec<u8> {
    let mut value = version.to_vec();
    match body {
        Body::Inline(bytes) => {
            value.push(0);
            value.extend_from_slice(bytes);
        }
        Body::InRun(run) => {
            value.push(1);
            run.encode(&mut value);
        }
    }
    value
}

pub(super) fn parse_record(value: &[u8]) -> Result<(Name, Body<'_>), Fault> {
    let parsed = || {
        let (version, rest) = value.split_first_chunk::<16>()?;
        let (kind, rest) = rest.split_first()?;
        let body = match kind {
            0 => Body::Inline(rest),
            1 => Body::InRun(Run::decode(rest)?),
            _ => return None,
        };
        Some((*version, body))
    };
    parsed().ok_or_else(|| Fault::Unavailable("a record is not of this format".into()))
}

/// An extent or a part: when it was written, and the runs it consists of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Written {
    pub(super) at: u64,
    pub(super) runs: Vec<Run>,
}

impl Written {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut value = vec![1];
        value.extend_from_slice(&self.at.to_be_bytes());
        for run in &self.runs {
            run.encode(&mut value);
        }
        value
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, Fault> {
        let parsed = || {
            let rest = value.strip_prefix(&[1])?;
            let (at, rest) = rest.split_first_chunk::<8>()?;
            let runs = rest.chunks(24).map(Run::decode).collect::<Option<_>>()?;
            Some(Self {
                at: u64::from_be_bytes(*at),
                runs,
            })
        };
        parsed().ok_or_else(|| Fault::Unavailable("an extent is not of this format".into()))
    }

    pub(super) fn length(&self) -> u64 {
        self.runs.iter().map(|run| run.length).sum()
    }
}

/// An extent that is being written in parts: when it was last worked on, and its key.
pub(super) fn upload(at: u64, of: &str) -> Vec<u8> {
    let mut value = vec![1];
    value.extend_from_slice(&at.to_be_bytes());
    value.extend_from_slice(of.as_bytes());
    value
}

pub(super) fn parse_upload(value: &[u8]) -> Option<(u64, &str)> {
    let (at, of) = value.strip_prefix(&[1])?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*at), str::from_utf8(of).ok()?))
}

/// The runs that a value names; none if it cannot be read.
pub(super) fn runs_of(key: &[u8], value: &[u8]) -> Result<Vec<Run>, Fault> {
    match key.first() {
        Some(&RECORD) => Ok(match parse_record(value)?.1 {
            Body::Inline(_) => Vec::new(),
            Body::InRun(run) => vec![run],
        }),
        _ => Ok(Written::decode(value)?.runs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_else_is() {
        let given = [7; 16];
        assert_eq!(name(&text(&given)), Some(given));
        for bad in [
            "",
            "7",
            &text(&given)[1..],
            &format!("+{}", &text(&given)[1..]),
        ] {
            assert_eq!(name(bad), None, "{bad}");
        }
    }

    #[test]
    fn values_are_read_back_and_cut_ones_refused() {
        let run = |name: u8, length| Run {
            name: [name; 16],
            length,
        };
        let written = Written {
            at: 1_700_000_000,
            runs: vec![run(1, 65_537), run(2, 3)],
        };
        let bytes = written.encode();
        assert_eq!(Written::decode(&bytes).unwrap(), written);
        assert_eq!(written.length(), 65_540);
        assert!(Written::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(Written::decode(b"").is_err());

        let value = record(&[9; 16], &Body::InRun(run(3, 70_000)));
        assert!(matches!(
            parse_record(&value).unwrap(),
            (version, Body::InRun(found)) if version == [9; 16] && found == run(3, 70_000)
        ));
        assert!(parse_record(&value[..20]).is_err());
        assert_eq!(parse_upload(&upload(5, "data/x/y")), Some((5, "data/x/y")));
    }
}
