//! What whoever ends a manifest does after it, or finds left to do.

use super::{Life, Mutant, RecordsUntagged, Set, State, bit};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum CleanAt {
    #[default]
    Done,
    List,
    Read,
    Look,
    Rewrite,
    Purge,
    Settle,
}

/// How far somebody is with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Clean {
    pub(super) at: CleanAt,
    /// Whether the manifest's record is the one that is being cleaned up after.
    pub(super) revision: bool,
    /// Whether the tag is as it was read.
    pub(super) tag: bool,
    /// The push that is gone.
    push: u8,
    hints: Set,
    /// Hints that are not needed any more.
    over: Set,
    /// The tag it is busy with.
    pub(super) next: u8,
}

impl Clean {
    /// After a record that was read or written just now.
    pub(super) fn after(state: &State) -> Self {
        Self {
            at: CleanAt::List,
            revision: true,
            push: state.push,
            ..Self::default()
        }
    }

    pub(super) fn is_done(self) -> bool {
        self.at == CleanAt::Done
    }
}

impl RecordsUntagged {
    /// The next step of a clean-up, which always is one: what it does, and the state but for `clean` itself.
    pub(super) fn clean_step(&self, state: &State, clean: Clean) -> (&'static str, State, Clean) {
        let (mut to, mut next) = (*state, clean);
        let tag = usize::from(clean.next);
        let what = match clean.at {
            CleanAt::Done => "has nothing to clean up",
            CleanAt::List => {
                next.hints = state.hints;
                self.go_to_tag(&mut next, 0);
                "cleans up: lists hints"
            }
            CleanAt::Read => {
                next.tag = true;
                next.at = if self.is(Mutant::CleansWithoutLook) {
                    CleanAt::Rewrite
                } else {
                    CleanAt::Look
                };
                "cleans up: reads the tag"
            }
            CleanAt::Look if clean.revision => {
                next.at = CleanAt::Rewrite;
                "cleans up: the manifest is still the dead one"
            }
            CleanAt::Look => {
                next.over |= self.about(bit(clean.push), tag);
                self.go_to_tag(&mut next, tag + 1);
                "cleans up: somebody has done it"
            }
            CleanAt::Rewrite if clean.tag => {
                next.over |= self.about(bit(clean.push), tag);
                next.over |= state.tags[tag].map_or(0, bit);
                to.tags[tag] = None;
                to.tag_changes(tag);
                self.go_to_tag(&mut next, tag + 1);
                "cleans up: CAS: the tag"
            }
            CleanAt::Rewrite => {
                next.at = CleanAt::Read;
                "cleans up: CAS of the tag lost"
            }
            CleanAt::Purge => {
                to.hints &= !if self.is(Mutant::CleansAllHints) {
                    clean.hints
                } else {
                    clean.over
                };
                to.references &= !bit(clean.push);
                next.at = CleanAt::Settle;
                "cleans up: removes references and hints"
            }
            CleanAt::Settle => {
                if clean.revision {
                    to.pending = false;
                    to.revision_changes();
                }
                next = Clean::default();
                "cleans up: CAS: that is done"
            }
        };
        (what, to, next)
    }

    fn go_to_tag(&self, clean: &mut Clean, from: usize) {
        clean.tag = false;
        (clean.at, clean.next) = match self.next_tag(clean.hints, from) {
            Some(tag) => (CleanAt::Read, tag),
            None => (CleanAt::Purge, 0),
        };
    }
}

impl State {
    /// Ends the manifest.
    pub(super) fn end(&mut self, deleted: bool) {
        self.life = Life::Dead;
        self.pending = true;
        self.deleted = deleted;
        self.revision_changes();
    }
}
