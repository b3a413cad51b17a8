//! Clients.

use super::clean::Clean;
use super::{Life, MOVER, Mutant, RecordsUntagged, Set, State, TRIES, bit, nonce_of};
use crate::{Actor, Step};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum WriterAt {
    /// Refused, crashed, or what it wrote was moved or deleted since.
    #[default]
    Gone,
    Read,
    ReadTag,
    Refer,
    Hint,
    Check,
    Revision,
    Tag,
    Tidy,
    Acknowledge,
    Acknowledged,
}

/// A client that pushes the manifest by tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Writer {
    pub(super) at: WriterAt,
    /// Its tag.
    pub(super) by: u8,
    tries: u8,
    /// Whether the manifest's record is as it was read, and the tag.
    pub(super) revision: bool,
    pub(super) tag: bool,
    /// The push that the tag pointed to when it was read, from 1.
    before: u8,
    /// The hints of what it has moved the tag from, and the references of pushes it has replaced.
    moved: Set,
    replaced: Set,
    pub(super) clean: Clean,
}

impl Writer {
    pub(super) fn new(by: u8) -> Self {
        Self {
            at: WriterAt::Read,
            by,
            ..Self::default()
        }
    }

    fn leaves(&mut self) {
        *self = Self {
            by: self.by,
            ..Self::default()
        };
    }

    /// Begins again with another nonce, if it has one.
    fn again(&mut self) {
        if self.tries + 1 == TRIES {
            self.leaves();
            return;
        }
        self.tries += 1;
        self.at = WriterAt::Read;
        self.before = 0;
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum MoverAt {
    #[default]
    Gone,
    Read,
    Refer,
    Protect,
    Revision,
    Move,
    Tidy,
    Hint,
    ReadBack,
    LookBack,
    MoveBack,
    Release,
    /// It was refused, and has moved the tag back.
    Returned,
}

/// A client that moves the first tag to another manifest, and may be refused after that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Mover {
    pub(super) at: MoverAt,
    pub(super) tag: bool,
    /// Whether the other manifest's record is as it was read.
    pub(super) revision: bool,
    /// Whether the other manifest is there.
    pub(super) visible: bool,
    /// The hint of what it moves the tag from.
    before: Set,
}

impl Mover {
    pub(super) fn new() -> Self {
        Self {
            at: MoverAt::Read,
            ..Self::default()
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum IndexAt {
    #[default]
    Gone,
    Read,
    Refer,
    Look,
    LookAtBlob,
    Revision,
}

/// A client that pushes an index, which is tagged elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Index {
    at: IndexAt,
    tries: u8,
    /// Whether the index's record is as it was read.
    pub(super) revision: bool,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            at: IndexAt::Read,
            ..Self::default()
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum DeleterAt {
    #[default]
    Gone,
    Read,
    End,
    Clean,
}

/// A client that deletes the manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Deleter {
    at: DeleterAt,
    pub(super) revision: bool,
    pub(super) clean: Clean,
}

impl Deleter {
    pub(super) fn new() -> Self {
        Self {
            at: DeleterAt::Read,
            ..Self::default()
        }
    }
}

impl State {
    /// What was written to a tag is moved or deleted, and nobody relies on it any more.
    pub(super) fn void(&mut self, tag: usize) {
        for writer in &mut self.writers {
            let has_written = matches!(
                writer.at,
                WriterAt::Tidy | WriterAt::Acknowledge | WriterAt::Acknowledged
            );
            if has_written && usize::from(writer.by) == tag {
                writer.leaves();
            }
        }
    }
}

impl RecordsUntagged {
    pub(super) fn writer_steps(&self, state: &State, index: usize, steps: &mut Vec<Step<State>>) {
        let writer = state.writers[index];
        if matches!(writer.at, WriterAt::Gone | WriterAt::Acknowledged) {
            return;
        }
        let mut step = |what, change: &dyn Fn(&mut State, &mut Writer)| {
            let mut to = *state;
            let mut writer = writer;
            change(&mut to, &mut writer);
            to.writers[index] = writer;
            steps.push(Step::new(Actor::Writer(index), what, to));
        };
        if self.crashes {
            step("crash", &|_, writer| writer.leaves());
        }
        if !writer.clean.is_done() {
            let (what, after, clean) = self.clean_step(state, writer.clean);
            step(what, &|to, writer| {
                *to = after;
                writer.clean = clean;
            });
            return;
        }
        let own = bit(nonce_of(index, writer.tries));
        let tag = usize::from(writer.by);
        let late_hint = self.is(Mutant::HintAfterRevision);
        let late_read = self.is(Mutant::TagReadLate);
        match writer.at {
            WriterAt::Gone | WriterAt::Acknowledged => {}
            WriterAt::Read if state.pending => step("reads: a clean-up is due", &|to, writer| {
                writer.clean = Clean::after(to);
            }),
            WriterAt::Read => step("reads the manifest's record", &|_, writer| {
                writer.revision = true;
                writer.at = if late_read {
                    WriterAt::Refer
                } else {
                    WriterAt::ReadTag
                };
            }),
            WriterAt::ReadTag => step("reads the tag", &|to, writer| {
                writer.tag = true;
                writer.before = to.tags[tag].map_or(0, |push| push + 1);
                writer.at = if late_read {
                    WriterAt::Tag
                } else {
                    WriterAt::Refer
                };
            }),
            WriterAt::Refer => step("writes its reference to the blob", &|to, writer| {
                to.references |= own;
                writer.at = if late_hint {
                    WriterAt::Check
                } else {
                    WriterAt::Hint
                };
            }),
            WriterAt::Hint => step("writes its hint", &|to, writer| {
                to.hints |= own;
                writer.at = if late_hint {
                    WriterAt::Tag
                } else {
                    WriterAt::Check
                };
            }),
            WriterAt::Check if state.blob == Life::Dead => {
                step(
                    "MANIFEST_BLOB_UNKNOWN, removes what it wrote",
                    &|to, writer| {
                        to.references &= !own;
                        to.hints &= !own;
                        writer.leaves();
                    },
                );
            }
            WriterAt::Check => step("finds or makes the blob live", &|to, writer| {
                to.revive_blob();
                writer.at = WriterAt::Revision;
            }),
            WriterAt::Revision if writer.revision => step("CAS: the manifest", &|to, writer| {
                if to.life.is_there() {
                    writer.replaced |= bit(to.push);
                }
                to.life = Life::Live;
                to.push = nonce_of(index, writer.tries);
                (to.pending, to.deleted) = (false, false);
                to.revision_changes();
                writer.revision = false;
                writer.at = if late_hint {
                    WriterAt::Hint
                } else if late_read {
                    WriterAt::ReadTag
                } else {
                    WriterAt::Tag
                };
            }),
            WriterAt::Revision => {
                step(
                    "CAS of the manifest lost, removes what it wrote",
                    &|to, writer| {
                        to.references &= !own;
                        to.hints &= !own;
                        writer.again();
                    },
                );
            }
            WriterAt::Tag => step(
                if writer.tag {
                    "CAS: the tag"
                } else {
                    "CAS of the tag lost"
                },
                &|to, writer| {
                    if writer.before != 0 {
                        writer.moved |= bit(writer.before - 1);
                    }
                    writer.before = 0;
                    if writer.tag {
                        writer.tag = false;
                        to.tags[tag] = Some(nonce_of(index, writer.tries));
                        to.tag_changes(tag);
                        writer.at = WriterAt::Tidy;
                        if to.deleted {
                            // It is as if that came last.
                            writer.leaves();
                        }
                    } else {
                        writer.again();
                    }
                },
            ),
            WriterAt::Tidy => step("removes what it has replaced", &|to, writer| {
                to.hints &= !(writer.moved & !own);
                to.references &= !(writer.replaced & !own);
                (writer.moved, writer.replaced, writer.tries) = (0, 0, 0);
                writer.at = WriterAt::Acknowledge;
            }),
            WriterAt::Acknowledge => step("PUT 201", &|_, writer| {
                writer.at = WriterAt::Acknowledged;
            }),
        }
    }

    pub(super) fn mover_steps(&self, state: &State, steps: &mut Vec<Step<State>>) {
        let mover = state.mover;
        let mut step = |what, change: &dyn Fn(&mut State, &mut Mover)| {
            let mut to = *state;
            let mut mover = mover;
            change(&mut to, &mut mover);
            to.mover = mover;
            steps.push(Step::new(Actor::Uploader, what, to));
        };
        match mover.at {
            MoverAt::Gone | MoverAt::Returned => {}
            MoverAt::Read => step(
                "reads the other manifest's record, the first tag",
                &|to, mover| {
                    (mover.revision, mover.tag) = (true, true);
                    mover.before = to.tags[0].map_or(0, bit);
                    mover.at = if !self.refused {
                        MoverAt::Move
                    } else if self.is(Mutant::OriginNotReferenced) {
                        MoverAt::Revision
                    } else {
                        MoverAt::Refer
                    };
                },
            ),
            MoverAt::Refer => step(
                "writes a reference to what the tag leads to",
                &|to, mover| {
                    to.parents |= bit(MOVER);
                    mover.at = if self.is(Mutant::OriginNotProtected) {
                        MoverAt::Revision
                    } else {
                        MoverAt::Protect
                    };
                },
            ),
            MoverAt::Protect => step("makes that live, if it is there", &|to, mover| {
                to.revive();
                mover.at = MoverAt::Revision;
            }),
            MoverAt::Revision if mover.revision => step("CAS: the other manifest", &|_, mover| {
                mover.visible = true;
                mover.at = MoverAt::Move;
            }),
            MoverAt::Revision => step("CAS of the other manifest lost", &|to, mover| {
                to.parents &= !bit(MOVER);
                *mover = Mover::default();
            }),
            MoverAt::Move if mover.tag => step("CAS: the tag points elsewhere", &|to, mover| {
                to.tags[0] = None;
                to.tag_changes(0);
                to.void(0);
                mover.tag = false;
                mover.at = if self.refused {
                    MoverAt::Hint
                } else {
                    MoverAt::Tidy
                };
            }),
            MoverAt::Move => step("CAS of the tag lost", &|to, mover| {
                to.parents &= !bit(MOVER);
                *mover = Mover::new();
            }),
            MoverAt::Tidy => step("removes the hint of what it moved", &|to, mover| {
                to.hints &= !mover.before;
                *mover = Mover::default();
            }),
            MoverAt::Hint => step(
                "refused: writes a hint that the tag is back",
                &|to, mover| {
                    mover.before = 0;
                    to.hints |= bit(MOVER);
                    mover.at = MoverAt::ReadBack;
                },
            ),
            MoverAt::ReadBack if state.tags[0].is_some() => {
                step("reads the tag: somebody has moved it on", &|_, mover| {
                    mover.at = MoverAt::Release;
                });
            }
            MoverAt::ReadBack => step("reads the tag", &|_, mover| {
                mover.tag = true;
                mover.at = MoverAt::LookBack;
            }),
            MoverAt::LookBack => step("looks at what it led to", &|to, mover| {
                mover.at = if to.life.is_there() {
                    MoverAt::MoveBack
                } else {
                    MoverAt::Release
                };
            }),
            MoverAt::MoveBack if mover.tag => step("CAS: the tag is back", &|to, mover| {
                to.tags[0] = Some(MOVER);
                to.tag_changes(0);
                mover.at = MoverAt::Release;
            }),
            MoverAt::MoveBack => step("CAS of the tag lost", &|_, mover| {
                mover.at = MoverAt::ReadBack;
            }),
            MoverAt::Release => step("takes itself away, and its reference", &|to, mover| {
                to.parents &= !bit(MOVER);
                *mover = Mover {
                    at: MoverAt::Returned,
                    ..Mover::default()
                };
            }),
        }
    }

    pub(super) fn index_steps(&self, state: &State, steps: &mut Vec<Step<State>>) {
        let index = state.index;
        if index.at == IndexAt::Gone {
            return;
        }
        let mut step = |what, change: &dyn Fn(&mut State, &mut Index)| {
            let mut to = *state;
            let mut index = index;
            change(&mut to, &mut index);
            to.index = index;
            steps.push(Step::new(Actor::Writer(2), what, to));
        };
        if self.crashes {
            step("crash", &|_, index| *index = Index::default());
        }
        let own = bit(index.tries);
        let looks_first = self.is(Mutant::IndexLooksFirst);
        match index.at {
            IndexAt::Gone => {}
            IndexAt::Read => step("reads the index's record", &|_, index| {
                index.revision = true;
                index.at = if looks_first {
                    IndexAt::Look
                } else {
                    IndexAt::Refer
                };
            }),
            IndexAt::Refer => {
                if state.parents & own == 0 {
                    step("writes its reference to the manifest", &|to, _| {
                        to.parents |= own;
                    });
                } else {
                    step("writes its reference to the blob", &|to, index| {
                        to.index_references |= own;
                        index.at = if looks_first {
                            IndexAt::LookAtBlob
                        } else {
                            IndexAt::Look
                        };
                    });
                }
            }
            IndexAt::Look if state.life.is_there() => {
                step("finds or makes the manifest live", &|to, index| {
                    if !self.is(Mutant::IndexLeavesCondemned) {
                        to.revive();
                    }
                    index.at = if looks_first {
                        IndexAt::Refer
                    } else {
                        IndexAt::LookAtBlob
                    };
                });
            }
            IndexAt::LookAtBlob if state.blob.is_there() => {
                step("finds or makes the blob live", &|to, index| {
                    to.revive_blob();
                    index.at = IndexAt::Revision;
                });
            }
            IndexAt::Look | IndexAt::LookAtBlob => {
                step("refused, removes its references", &|to, index| {
                    to.parents &= !own;
                    to.index_references &= !own;
                    *index = Index::default();
                });
            }
            IndexAt::Revision if index.revision => step("CAS: the index, 201", &|to, index| {
                to.indexed = 1 + index.tries;
                *index = Index::default();
            }),
            IndexAt::Revision => step("CAS of the index lost, begins again", &|to, index| {
                to.parents &= !own;
                to.index_references &= !own;
                let tries = index.tries + 1;
                *index = Index::default();
                if tries < TRIES {
                    index.at = IndexAt::Read;
                    index.tries = tries;
                }
            }),
        }
    }

    pub(super) fn deleter_steps(&self, state: &State, steps: &mut Vec<Step<State>>) {
        let deleter = state.deleter;
        if deleter.at == DeleterAt::Gone {
            return;
        }
        let mut step = |what, change: &dyn Fn(&mut State, &mut Deleter)| {
            let mut to = *state;
            let mut deleter = deleter;
            change(&mut to, &mut deleter);
            to.deleter = deleter;
            steps.push(Step::new(Actor::Deleter(0), what, to));
        };
        if self.crashes {
            step("crash", &|_, deleter| *deleter = Deleter::default());
        }
        match deleter.at {
            DeleterAt::Gone => {}
            DeleterAt::Read if state.life.is_there() => step("reads the record", &|_, deleter| {
                deleter.revision = true;
                deleter.at = DeleterAt::End;
            }),
            DeleterAt::Read if state.pending => step("reads: a clean-up is due", &|to, deleter| {
                deleter.clean = Clean::after(to);
                deleter.at = DeleterAt::Clean;
            }),
            DeleterAt::Read => step("404", &|_, deleter| *deleter = Deleter::default()),
            DeleterAt::End if deleter.revision => {
                step("CAS: the manifest is dead", &|to, deleter| {
                    to.end(true);
                    for tag in 0..super::TAGS {
                        to.void(tag);
                    }
                    *deleter = Deleter {
                        at: DeleterAt::Clean,
                        clean: Clean::after(to),
                        ..Deleter::default()
                    };
                });
            }
            DeleterAt::End => step("CAS lost", &|_, deleter| deleter.at = DeleterAt::Read),
            DeleterAt::Clean => {
                let (what, after, clean) = self.clean_step(state, deleter.clean);
                step(what, &|to, deleter| {
                    *to = after;
                    deleter.clean = clean;
                    if clean.is_done() {
                        *deleter = Deleter::default();
                    }
                });
            }
        }
    }
}
