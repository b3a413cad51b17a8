//! The world of the records model, and the reduction that makes its states few.

/// Most digests one manifest refers to.
pub(super) const MAX_BLOBS: usize = 2;
/// Records: one per blob, one per membership link.
pub(super) const MAX_OBJECTS: usize = 2 * MAX_BLOBS;
pub(super) const MAX_WRITERS: usize = 2;
pub(super) const MAX_COLLECTORS: usize = 2;
pub(super) const MAX_SWEEPERS: usize = 1;

/// A set of writers or extents, one bit each.
pub(super) type Set = u8;

/// What a record says about its blob or link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Condition {
    #[default]
    Absent,
    Live,
    Condemned,
    Dead,
    /// Only in the memory of an actor: the record has changed since, every compare-and-swap fails.
    Changed,
}

/// One version of a record. Versions are compared as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Record {
    pub(super) condition: Condition,
    /// The extent it points at; links have none.
    pub(super) extent: u8,
    /// Makes every version unlike every other.
    pub(super) nonce: u8,
}

impl Record {
    pub(super) const fn exists(self) -> bool {
        matches!(self.condition, Condition::Live | Condition::Condemned)
    }
}

/// How far a writer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum WriterAt {
    /// Not part of this check, crashed or refused.
    #[default]
    Gone,
    Head,
    PutExtent,
    Register,
    Link,
    WriteRef,
    Check,
    Resurrect,
    CheckLink,
    ResurrectLink,
    Publish,
    Done,
    DeleteRefs,
    Deleted,
}

/// One client's push of one manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Writer {
    pub(super) at: WriterAt,
    /// Which of the manifest's digests it is busy with.
    pub(super) blob: u8,
    /// The version of the blob's record it read, for the compare-and-swap to come.
    pub(super) seen: Record,
    /// The same for the membership link.
    pub(super) seen_link: Record,
    /// The extent it uploads.
    pub(super) extent: u8,
    /// How often it started again.
    pub(super) tries: u8,
}

/// How far a collector run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum CollectorAt {
    #[default]
    Ended,
    Read,
    Condemn,
    List,
    Reprieve,
    Kill,
    DeleteExtent,
}

/// One run of the collector over one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Collector {
    pub(super) at: CollectorAt,
    pub(super) object: u8,
    pub(super) seen: Record,
}

/// How far a sweeper is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum SweeperAt {
    #[default]
    Ended,
    Read,
    Bump,
    DeleteExtent,
}

/// One removal of an extent that no record names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Sweeper {
    pub(super) at: SweeperAt,
    pub(super) blob: u8,
    pub(super) seen: Record,
    pub(super) extent: u8,
}

/// Everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// Records of the blobs, then of their membership links.
    pub(super) records: [Record; MAX_OBJECTS],
    /// Extents that exist, per blob.
    pub(super) extents: [Set; MAX_BLOBS],
    /// Whose reference keys exist, per blob.
    pub(super) refs: [Set; MAX_BLOBS],
    /// Manifests of which a client was told that they are stored.
    pub(super) acknowledged: Set,
    pub(super) writers: [Writer; MAX_WRITERS],
    pub(super) collectors: [Collector; MAX_COLLECTORS],
    pub(super) sweepers: [Sweeper; MAX_SWEEPERS],
    /// Never used before, per blob.
    pub(super) next_extent: [u8; MAX_BLOBS],
    /// Never used before.
    pub(super) next_nonce: u8,
}

impl State {
    /// The representative of all states that behave like this one.
    ///
    /// Nonces and extent names are only ever compared for equality, and a nonce that a record no
    /// longer carries never comes back. So a remembered version is either the record's current one
    /// or as good as any other outdated one, and extents can be renumbered in the order in which
    /// they are met. What an actor will not look at again is forgotten.
    pub(super) fn canonical(mut self) -> Self {
        let records = self.records;
        let current = |seen: Record, object: usize| {
            if seen == records[object] {
                Record {
                    nonce: u8::from(seen.condition != Condition::Absent),
                    ..seen
                }
            } else {
                Record {
                    condition: Condition::Changed,
                    ..Record::default()
                }
            }
        };
        for writer in &mut self.writers {
            let blob = usize::from(writer.blob);
            let uploads = matches!(writer.at, WriterAt::PutExtent | WriterAt::Register);
            writer.seen = if uploads || writer.at == WriterAt::Resurrect {
                current(writer.seen, blob)
            } else {
                Record::default()
            };
            writer.seen_link =
                if uploads || matches!(writer.at, WriterAt::Link | WriterAt::ResurrectLink) {
                    current(writer.seen_link, MAX_BLOBS + blob)
                } else {
                    Record::default()
                };
            if !uploads {
                writer.extent = 0;
            }
            if matches!(
                writer.at,
                WriterAt::Done | WriterAt::DeleteRefs | WriterAt::Deleted
            ) {
                writer.tries = 0;
            }
        }
        for run in &mut self.collectors {
            match run.at {
                CollectorAt::Ended => *run = Collector::default(),
                CollectorAt::DeleteExtent => {
                    let extent = run.seen.extent;
                    run.seen = Record {
                        extent,
                        ..Record::default()
                    };
                }
                _ => run.seen = current(run.seen, usize::from(run.object)),
            }
        }
        for sweeper in &mut self.sweepers {
            match sweeper.at {
                SweeperAt::Ended => *sweeper = Sweeper::default(),
                SweeperAt::DeleteExtent => sweeper.seen = Record::default(),
                SweeperAt::Read | SweeperAt::Bump => {
                    sweeper.seen = current(sweeper.seen, usize::from(sweeper.blob));
                }
            }
        }
        for record in &mut self.records {
            record.nonce = u8::from(record.condition != Condition::Absent);
        }
        self.next_nonce = 2;
        for blob in 0..MAX_BLOBS {
            self.renumber_extents(blob);
        }
        self
    }

    fn renumber_extents(&mut self, blob: usize) {
        let before = self.extents[blob];
        let mut names = [0_u8; Set::BITS as usize];
        let mut next = 1;
        let mut name = |extent: &mut u8| {
            if *extent != 0 {
                let name = &mut names[usize::from(*extent)];
                if *name == 0 {
                    *name = next;
                    next += 1;
                }
                *extent = *name;
            }
        };
        name(&mut self.records[blob].extent);
        for writer in self
            .writers
            .iter_mut()
            .filter(|writer| usize::from(writer.blob) == blob)
        {
            name(&mut writer.extent);
            name(&mut writer.seen.extent);
        }
        for run in self
            .collectors
            .iter_mut()
            .filter(|run| usize::from(run.object) == blob)
        {
            name(&mut run.seen.extent);
        }
        for sweeper in self
            .sweepers
            .iter_mut()
            .filter(|sweeper| usize::from(sweeper.blob) == blob)
        {
            name(&mut sweeper.extent);
            name(&mut sweeper.seen.extent);
        }
        let mut after = 0;
        for mut extent in (1..Set::BITS as u8).filter(|extent| before & (1 << extent) != 0) {
            name(&mut extent);
            after |= 1 << extent;
        }
        self.extents[blob] = after;
        self.next_extent[blob] = next;
    }
}
