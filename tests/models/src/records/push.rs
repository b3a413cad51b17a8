//! The push half: HEAD, upload, mount, manifest PUT, manifest DELETE.

use super::{Condition, MAX_BLOBS, Mutant, Record, Records, State, Writer, WriterAt};
use crate::{Actor, Step};

/// In the raw form, whose numbers grow: more extents than this are not uploaded.
const LAST_RAW_EXTENT: u8 = 4;
/// How often a push starts again before it gives up.
const RETRIES: u8 = 1;

impl Records {
    pub(super) fn writer_steps(&self, state: &State, index: usize, steps: &mut Vec<Step<State>>) {
        let writer = state.writers[index];
        let blob = usize::from(writer.blob);
        let mut step = |what, change: &dyn Fn(&mut State, &mut Writer)| {
            let mut to = *state;
            let mut writer = writer;
            change(&mut to, &mut writer);
            to.writers[index] = writer;
            steps.push(Step::new(Actor::Writer(index), what, to));
        };
        let record = state.records[blob];
        let link = state.records[MAX_BLOBS + blob];
        if !matches!(
            writer.at,
            WriterAt::Gone | WriterAt::Done | WriterAt::DeleteRefs | WriterAt::Deleted
        ) {
            step("crash", &|_, writer| *writer = Writer::default());
        }
        match writer.at {
            WriterAt::Gone | WriterAt::Deleted => {}
            WriterAt::Head => {
                let linked = !self.links || link.exists();
                if record.exists() && linked {
                    step("HEAD 200", &|_, writer| {
                        writer.seen = record;
                        writer.extent = record.extent;
                        self.next_blob(writer);
                    });
                } else if record.exists() {
                    step("mount: blob is there", &|_, writer| {
                        writer.seen_link = link;
                        writer.at = WriterAt::Link;
                    });
                }
                let room = self.reduced || state.next_extent[blob] <= LAST_RAW_EXTENT;
                if (!record.exists() || self.replaces) && room {
                    step("upload begins: reads the record", &|to, writer| {
                        writer.seen = record;
                        writer.seen_link = link;
                        writer.extent = to.next_extent[blob];
                        to.next_extent[blob] += 1;
                        writer.at = WriterAt::PutExtent;
                    });
                }
            }
            WriterAt::PutExtent => step("writes the extent", &|to, writer| {
                to.extents[blob] |= 1 << self.key(writer.extent);
                writer.at = WriterAt::Register;
            }),
            WriterAt::Register => {
                if self.matches(record, writer.seen) {
                    step("CAS: live", &|to, writer| {
                        Self::write(to, blob, Condition::Live, writer.extent);
                        writer.seen = Record::default();
                        if self.links {
                            writer.at = WriterAt::Link;
                        } else {
                            self.next_blob(writer);
                        }
                    });
                } else if writer.tries < RETRIES {
                    step("CAS lost: starts again", &|_, writer| {
                        *writer = again(writer);
                    });
                }
            }
            WriterAt::Link => {
                if self.matches(link, writer.seen_link) {
                    step("link, CAS: live", &|to, writer| {
                        Self::write(to, MAX_BLOBS + blob, Condition::Live, 0);
                        writer.seen_link = Record::default();
                        self.next_blob(writer);
                    });
                } else if writer.tries < RETRIES {
                    step("link, CAS lost: starts again", &|_, writer| {
                        *writer = again(writer);
                    });
                }
            }
            WriterAt::WriteRef => step("PUT: writes its reference", &|to, writer| {
                to.refs[blob] |= 1 << index;
                writer.seen = Record::default();
                if self.last(blob) {
                    writer.blob = 0;
                    writer.at = if self.is(Mutant::CheckBeforeRefs) {
                        WriterAt::Publish
                    } else {
                        WriterAt::Check
                    };
                } else {
                    writer.blob += 1;
                }
            }),
            WriterAt::Check => {
                if self.is(Mutant::NoRecheck) {
                    step("PUT: trusts HEAD", &|_, writer| self.next_check(writer));
                } else {
                    match record.condition {
                        Condition::Live => step("PUT: record is live", &|_, writer| {
                            self.blob_checked(writer);
                        }),
                        Condition::Condemned => step("PUT: record is condemned", &|_, writer| {
                            writer.seen = record;
                            writer.at = WriterAt::Resurrect;
                        }),
                        _ => Self::unknown(writer, &mut step),
                    }
                }
            }
            WriterAt::Resurrect => {
                if self.matches(record, writer.seen) {
                    step("PUT: CAS back to live", &|to, writer| {
                        Self::write(to, blob, Condition::Live, record.extent);
                        writer.seen = Record::default();
                        self.blob_checked(writer);
                    });
                } else {
                    step("PUT: CAS lost, reads again", &|_, writer| {
                        writer.seen = Record::default();
                        writer.at = WriterAt::Check;
                    });
                }
            }
            WriterAt::CheckLink => match link.condition {
                Condition::Live => {
                    step("PUT: link is live", &|_, writer| self.next_check(writer));
                }
                Condition::Condemned => step("PUT: link is condemned", &|_, writer| {
                    writer.seen_link = link;
                    writer.at = WriterAt::ResurrectLink;
                }),
                _ => Self::unknown(writer, &mut step),
            },
            WriterAt::ResurrectLink => {
                if self.matches(link, writer.seen_link) {
                    step("PUT: link, CAS back to live", &|to, writer| {
                        Self::write(to, MAX_BLOBS + blob, Condition::Live, 0);
                        self.next_check(writer);
                    });
                } else {
                    step("PUT: link, CAS lost, reads again", &|_, writer| {
                        writer.at = WriterAt::CheckLink;
                    });
                }
            }
            WriterAt::Publish => step("PUT: revision, tag, 201", &|to, writer| {
                to.acknowledged |= 1 << index;
                writer.at = WriterAt::Done;
            }),
            WriterAt::Done => {
                if self.is(Mutant::DeleteRefsFirst) {
                    step("DELETE: references, before the revision", &|to, writer| {
                        for refs in &mut to.refs {
                            *refs &= !(1 << index);
                        }
                        writer.at = WriterAt::DeleteRefs;
                    });
                } else {
                    step("DELETE: revision is gone", &|to, writer| {
                        to.acknowledged &= !(1 << index);
                        writer.at = WriterAt::DeleteRefs;
                    });
                }
            }
            WriterAt::DeleteRefs => step("DELETE: removes a reference", &|to, writer| {
                to.acknowledged &= !(1 << index);
                to.refs[blob] &= !(1 << index);
                if blob + 1 < self.blobs {
                    writer.blob += 1;
                } else {
                    writer.blob = 0;
                    writer.at = WriterAt::Deleted;
                }
            }),
        }
    }

    /// The record is dead or absent: the client uploads again, or gives up.
    fn unknown(
        writer: Writer,
        step: &mut impl FnMut(&'static str, &dyn Fn(&mut State, &mut Writer)),
    ) {
        if writer.tries < RETRIES {
            step("PUT: MANIFEST_BLOB_UNKNOWN, pushes again", &|_, writer| {
                *writer = again(writer);
            });
        } else {
            step("PUT: MANIFEST_BLOB_UNKNOWN", &|_, writer| {
                *writer = Writer::default();
            });
        }
    }

    fn next_blob(&self, writer: &mut Writer) {
        if usize::from(writer.blob) + 1 < self.blobs {
            writer.blob += 1;
            writer.at = WriterAt::Head;
        } else {
            writer.blob = 0;
            writer.at = if self.is(Mutant::CheckBeforeRefs) {
                WriterAt::Check
            } else {
                WriterAt::WriteRef
            };
        }
    }

    fn blob_checked(&self, writer: &mut Writer) {
        if self.links && !self.is(Mutant::LinksUnchecked) {
            writer.at = WriterAt::CheckLink;
        } else {
            self.next_check(writer);
        }
    }

    fn next_check(&self, writer: &mut Writer) {
        if self.last(usize::from(writer.blob)) {
            writer.blob = 0;
            writer.at = if self.is(Mutant::CheckBeforeRefs) {
                WriterAt::WriteRef
            } else {
                WriterAt::Publish
            };
        } else {
            writer.blob += 1;
            writer.at = WriterAt::Check;
        }
    }

    fn last(&self, blob: usize) -> bool {
        blob + 1 == self.blobs || self.is(Mutant::ClosureFirstOnly)
    }
}

fn again(writer: &Writer) -> Writer {
    Writer {
        at: WriterAt::Head,
        tries: writer.tries + 1,
        ..Writer::default()
    }
}
