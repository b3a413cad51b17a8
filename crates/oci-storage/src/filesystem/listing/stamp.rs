//! Whether a directory is as it was, from one look at its metadata.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

/// A state of a directory. When a name comes or goes, its time of last change moves, and that time
/// cannot be set back as the time of modification can. The number of links is that of the
/// subdirectories where the file system counts them.
///
/// The device is left out: its number may be another after a restart of the machine.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(in super::super) struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
    links: u64,
}

impl Stamp {
    pub(in super::super) fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            seconds: metadata.ctime(),
            nanoseconds: metadata.ctime_nsec(),
            links: metadata.nlink(),
        }
    }

    /// No directory is like this.
    pub(super) const NONE: Self = Self {
        inode: 0,
        seconds: 0,
        nanoseconds: 0,
        links: 0,
    };

    /// Whether `now` is so far from this change that another one must show. The clock that dates
    /// changes stands still for up to 10 ms on older kernels.
    pub(in super::super) fn is_settled(&self, now: SystemTime) -> bool {
        let (Ok(seconds), Ok(nanoseconds)) =
            (u64::try_from(self.seconds), u32::try_from(self.nanoseconds))
        else {
            return false;
        };
        let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        let apart = now
            .duration_since(changed)
            .unwrap_or_else(|error| error.duration());
        apart > GRAIN
    }

    /// Whether the subdirectories are one more or less between `self` and `after`, if they are
    /// counted: a difference of two is somebody else's.
    pub(super) fn one_step_to(&self, after: &Self, present: bool) -> bool {
        if self.links < 2 || after.links < 2 || self.links == after.links {
            return true;
        }
        if present {
            after.links.checked_sub(1) == Some(self.links)
        } else {
            self.links.checked_sub(1) == Some(after.links)
        }
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.inode.to_le_bytes());
        to.extend(self.seconds.to_le_bytes());
        to.extend(self.nanoseconds.to_le_bytes());
        to.extend(self.links.to_le_bytes());
    }

    pub(super) fn read(from: &mut &[u8]) -> Option<Self> {
        Some(Self {
            inode: take_u64(from)?,
            seconds: take_u64(from)?.cast_signed(),
            nanoseconds: take_u64(from)?.cast_signed(),
            links: take_u64(from)?,
        })
    }
}

/// Takes a little-endian number off the front.
pub(super) fn take_u64(from: &mut &[u8]) -> Option<u64> {
    let (number, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(u64::from_le_bytes(*number))
}

/// Twice what the clocks of file systems need for a step.
const GRAIN: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(links: u64) -> Stamp {
        Stamp {
            inode: 1,
            seconds: 1000,
            nanoseconds: 500,
            links,
        }
    }

    #[test]
    fn links_that_are_counted_tell_of_others() {
        for (before, after, present, expected) in [
            (5, 6, true, true),
            (5, 7, true, false),
            (5, 4, false, true),
            (5, 3, false, false),
            // Not counted, or no longer.
            (1, 1, true, true),
            (2, 2, true, true),
            (64_999, 1, true, true),
        ] {
            let step = stamp(before).one_step_to(&stamp(after), present);
            assert_eq!(step, expected, "{before} {after} {present}");
        }
    }

    #[test]
    fn a_recent_change_may_hide_another() {
        let changed = SystemTime::UNIX_EPOCH + Duration::new(1000, 500);
        assert!(!stamp(2).is_settled(changed));
        assert!(!stamp(2).is_settled(changed + Duration::from_millis(19)));
        assert!(stamp(2).is_settled(changed + Duration::from_millis(21)));
        // The clock was set back since.
        assert!(stamp(2).is_settled(changed - Duration::from_secs(60)));
    }

    #[test]
    fn reads_back() {
        let mut bytes = Vec::new();
        stamp(7).write(&mut bytes);
        assert_eq!(bytes.len(), 32);
        assert_eq!(Stamp::read(&mut bytes.as_slice()), Some(stamp(7)));
        assert_eq!(Stamp::read(&mut &bytes[..31]), None);
    }
}
