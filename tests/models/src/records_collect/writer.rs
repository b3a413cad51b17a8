//! A push: the content, the references, the manifest; and its delete.

use super::{Life, Mutant, RecordsCollect, State, TRIES, Writer, WriterAt, bit, extent_of};
use crate::{Actor, Step};

impl RecordsCollect {
    pub(super) fn writer_steps(&self, state: &State, index: usize, steps: &mut Vec<Step<State>>) {
        let writer = state.writers[index];
        let own = extent_of(index, writer.tries);
        let mut step = |what, change: &dyn Fn(&mut State, &mut Writer)| {
            let mut to = *state;
            let mut writer = writer;
            change(&mut to, &mut writer);
            if writer.at == WriterAt::Gone {
                writer = Writer::default();
            }
            to.writers[index] = writer;
            steps.push(Step::new(Actor::Writer(index), what, to));
        };
        let crashes = !matches!(
            writer.at,
            WriterAt::Gone | WriterAt::Head | WriterAt::Acknowledged
        );
        if self.crashes && crashes {
            step("crash", &|_, writer| writer.at = WriterAt::Gone);
        }
        match writer.at {
            WriterAt::Gone => {}
            WriterAt::Head => {
                if state.life.is_there() {
                    step("HEAD 200", &|_, writer| writer.at = WriterAt::ReadRevision);
                }
                step("upload begins: reads the fence", &|_, writer| {
                    writer.fence = true;
                    writer.unfenced = state.life == Life::Absent;
                    writer.at = WriterAt::Put;
                });
            }
            WriterAt::Put => step("writes the extent", &|to, writer| {
                to.extents |= bit(own);
                writer.at = WriterAt::Look;
            }),
            WriterAt::Look => {
                if state.extent == own && state.life != Life::Absent {
                    step("finds its content registered", &|_, writer| {
                        if state.life.is_there() {
                            writer.tried = false;
                            writer.at = WriterAt::ReadRevision;
                        } else {
                            again(writer);
                        }
                    });
                } else if writer.fence {
                    step("reads the record", &|_, writer| {
                        writer.current = true;
                        writer.at = WriterAt::Register;
                    });
                } else if self.is(Mutant::RetryWithNewFence) {
                    step("the fence has changed: reads it anew", &|_, writer| {
                        writer.fence = true;
                        writer.current = true;
                        writer.at = WriterAt::Register;
                    });
                } else {
                    step("the fence has changed", &|_, writer| again(writer));
                }
            }
            WriterAt::Register if writer.current => {
                step("CAS: live, naming its extent", &|to, writer| {
                    to.write(Life::Live, own);
                    writer.current = false;
                    writer.tried = false;
                    writer.at = WriterAt::ReadRevision;
                });
                if self.lost && !writer.tried {
                    step("CAS: live, but the answer gets lost", &|to, writer| {
                        to.write(Life::Live, own);
                        writer.current = false;
                        writer.tried = true;
                        writer.at = WriterAt::Look;
                    });
                }
            }
            WriterAt::Register => step("CAS lost", &|_, writer| writer.at = WriterAt::Look),
            WriterAt::ReadRevision => step("PUT: reads the manifest's record", &|_, writer| {
                writer.fence = false;
                writer.unfenced = false;
                writer.revision = true;
                writer.at = WriterAt::Refer;
            }),
            WriterAt::Refer => step("PUT: writes its reference", &|to, writer| {
                to.references[index] |= bit(writer.tries);
                writer.at = WriterAt::Check;
            }),
            WriterAt::Check => match state.life {
                Life::Live => step("PUT: record is live", &|_, writer| {
                    if self.is(Mutant::RevisionReadLate) {
                        writer.revision = true;
                    }
                    writer.at = WriterAt::Revision;
                }),
                Life::Condemned => step("PUT: record is condemned", &|_, writer| {
                    writer.current = true;
                    writer.at = WriterAt::Revive;
                }),
                _ => step("PUT: MANIFEST_BLOB_UNKNOWN", &|_, writer| again(writer)),
            },
            WriterAt::Revive => {
                if writer.current {
                    step("PUT: CAS back to live", &|to, writer| {
                        let extent = to.extent;
                        to.write(Life::Live, extent);
                        writer.current = false;
                        writer.at = WriterAt::Check;
                    });
                } else {
                    step("PUT: CAS lost, reads again", &|_, writer| {
                        writer.at = WriterAt::Check;
                    });
                }
            }
            WriterAt::Revision => {
                if writer.revision {
                    step("PUT: CAS: manifest, 201", &|to, writer| {
                        to.manifests[index] = 1 + writer.tries;
                        writer.revision = false;
                        writer.at = WriterAt::Acknowledged;
                    });
                } else {
                    step("PUT: CAS lost: begins again", &|_, writer| {
                        again(writer);
                        if writer.at == WriterAt::Head {
                            writer.at = WriterAt::ReadRevision;
                        }
                    });
                }
            }
            WriterAt::Acknowledged => step("DELETE: manifest is gone", &|to, writer| {
                to.manifests[index] = 0;
                writer.at = WriterAt::RemoveReference;
            }),
            WriterAt::RemoveReference => step("DELETE: removes its reference", &|to, writer| {
                to.references[index] &= !bit(writer.tries);
                writer.at = WriterAt::Gone;
            }),
        }
    }
}

/// Starts again with an extent and a nonce of its own, or gives up. What it wrote stays behind.
fn again(writer: &mut Writer) {
    let tries = writer.tries + 1;
    *writer = if tries < TRIES {
        Writer {
            at: WriterAt::Head,
            tries,
            ..Writer::default()
        }
    } else {
        Writer::default()
    };
}
