//! What was changed in a directory since its run was written: records behind the run, in the same file.

use std::fs::File;
use std::io;

use super::super::durable::Disk;
use super::run::{read, sum};
use super::stamp::Stamp;

use std::path::Path;

/// A child that a registry of this project made or removed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Record {
    pub(super) name: Box<str>,
    /// Made, or removed.
    pub(super) present: bool,
    /// The directory right before. What is not what the record before left means that somebody else
    /// was there.
    pub(super) before: Stamp,
    pub(super) after: Stamp,
}

impl Record {
    fn write(&self, to: &mut Vec<u8>) {
        let begin = to.len();
        to.push(if self.present { b'+' } else { b'-' });
        // A file's name is never longer than 255 bytes.
        to.push(u8::try_from(self.name.len()).unwrap_or_default());
        to.extend_from_slice(self.name.as_bytes());
        self.before.write(to);
        self.after.write(to);
        let sum = sum(to.get(begin..).unwrap_or_default());
        to.extend(sum.to_le_bytes());
    }

    /// Takes a record off the front; `None` if there is none, or one that is torn.
    fn read(from: &mut &[u8]) -> Option<Self> {
        let length = usize::from(*from.get(1)?) + 2 + 2 * 32;
        let (covered, rest) = from.split_at_checked(length)?;
        let (stored, rest) = rest.split_first_chunk()?;
        (u64::from_le_bytes(*stored) == sum(covered)).then_some(())?;
        let present = match covered.first()? {
            b'+' => true,
            b'-' => false,
            _ => return None,
        };
        let (name, mut stamps) = covered.get(2..)?.split_at_checked(length - 2 - 2 * 32)?;
        let record = Self {
            name: str::from_utf8(name).ok()?.into(),
            present,
            before: Stamp::read(&mut stamps)?,
            after: Stamp::read(&mut stamps)?,
        };
        *from = rest;
        Some(record)
    }
}

/// Adds records at `end` and moves it. Whoever does that holds the file's lock.
pub(super) fn append(
    disk: &Disk,
    file: &File,
    path: &Path,
    records: &[Record],
    end: &mut u64,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    for record in records {
        record.write(&mut bytes);
    }
    disk.write_at(file, path, &bytes, *end)?;
    *end += bytes.len() as u64;
    Ok(())
}

/// The records from `end` on, which is moved behind the last that is whole.
pub(super) fn tail(file: &File, end: &mut u64) -> io::Result<Vec<Record>> {
    let length = file.metadata()?.len();
    let available = length.saturating_sub(*end).min(LOG_MAX);
    let bytes = read(file, length, *end, available).unwrap_or_default();
    let mut rest = bytes.as_slice();
    let mut records = Vec::new();
    while let Some(record) = Record::read(&mut rest) {
        records.push(record);
    }
    *end += (bytes.len() - rest.len()) as u64;
    Ok(records)
}

/// Longer, a log is not worth reading: the directory is.
pub(super) const LOG_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_torn_record_ends_the_log(
            names in prop::collection::vec("[a-z]{1,200}", 1..5),
            cut in 1_usize..60,
            flip in any::<prop::sample::Index>(),
        ) {
            let records: Vec<Record> = names
                .iter()
                .map(|name| Record {
                    name: name.as_str().into(),
                    present: name.len() % 2 == 0,
                    before: Stamp::NONE,
                    after: Stamp::NONE,
                })
                .collect();
            let mut bytes = Vec::new();
            let mut last = 0;
            for record in &records {
                last = bytes.len();
                record.write(&mut bytes);
            }
            let read = |bytes: &[u8]| {
                let mut rest = bytes;
                std::iter::from_fn(|| Record::read(&mut rest)).collect::<Vec<_>>()
            };
            prop_assert_eq!(&read(&bytes), &records);
            let whole = &records[..records.len() - 1];
            prop_assert_eq!(read(&bytes[..bytes.len() - cut]), whole);
            let at = last + flip.index(bytes.len() - last);
            bytes[at] ^= 1;
            prop_assert_eq!(read(&bytes), whole);
        }
    }
}
