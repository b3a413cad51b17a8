//! The push half: HEAD, mount, upload commit, manifest PUT, manifest DELETE.

use super::{
    Filesystem, Mutant, Set, State, UploaderAt, Writer, WriterAt, has, set,
    state::{FILE_OF_UPLOADER, MAX_BLOBS, file_of_writer},
};
use crate::{Actor, Step};

impl Filesystem {
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
        let crash = |_: &mut State, writer: &mut Writer| {
            *writer = Writer {
                at: WriterAt::Crashed,
                ..Writer::default()
            };
        };
        let free = !state.held_exclusively();
        let track = self.tracks_disk();
        let closure = self.closure_set(index);
        match writer.at {
            WriterAt::Absent
            | WriterAt::Deleted
            | WriterAt::DeleteInterrupted
            | WriterAt::Crashed
            | WriterAt::Refused
            | WriterAt::Start
            | WriterAt::Done
            | WriterAt::DeleteSync
            | WriterAt::DeleteAcknowledge => {}
            _ => step("crash", &crash),
        }
        match writer.at {
            WriterAt::Absent
            | WriterAt::Deleted
            | WriterAt::DeleteInterrupted
            | WriterAt::Crashed
            | WriterAt::Refused => {}

            // One digest after the other: HEAD, mount or upload.
            WriterAt::Start => {
                let unlocked = self.is(Mutant::HeadOutsideSection);
                if free || unlocked {
                    step("HEAD enters the section", &|_, writer| {
                        writer.at = WriterAt::Head;
                        writer.shared = !unlocked;
                    });
                }
                if self.links && free {
                    step("mount enters the section", &|_, writer| {
                        writer.at = WriterAt::Mount;
                        writer.shared = true;
                    });
                }
                step("uploads without HEAD", &|_, writer| {
                    writer.at = WriterAt::Upload;
                });
            }
            WriterAt::Head => {
                if self
                    .names_of(index, blob)
                    .all(|name| state.names[name].exists())
                {
                    step("HEAD 200: log, touch", &|to, writer| {
                        if !self.is(Mutant::HeadOutsideSection) {
                            to.logged_names |= set(self.names_of(index, blob));
                        }
                        self.touch(to, index, blob);
                        writer.promised |= 1 << blob;
                        self.next_blob(writer);
                    });
                } else {
                    step("HEAD 404", &|_, writer| {
                        writer.at = WriterAt::Upload;
                        writer.shared = false;
                    });
                }
            }
            WriterAt::Mount => {
                if state.names[blob].exists() {
                    step("mount: log, touch, link", &|to, writer| {
                        to.logged_names |= set(self.names_of(index, blob));
                        to.names[blob].touch();
                        to.names[self.link(index, blob)].rename_onto(file_of_writer(index), track);
                        writer.at = WriterAt::MountSync;
                        writer.shared = false;
                    });
                } else {
                    step("mount 202: upload instead", &|_, writer| {
                        writer.at = WriterAt::Upload;
                        writer.shared = false;
                    });
                }
            }
            WriterAt::MountSync => step("mount: fsync link directory, 201", &|to, writer| {
                to.names[self.link(index, blob)].sync(track);
                writer.promised |= 1 << blob;
                self.next_blob(writer);
            }),
            WriterAt::Upload => {
                let unlocked = self.is(Mutant::CommitOutsideSection);
                if free || unlocked {
                    step("upload commit enters the section", &|_, writer| {
                        writer.at = WriterAt::Commit;
                        writer.shared = !unlocked;
                    });
                }
            }
            WriterAt::Commit => step("commit: rename onto data, log", &|to, writer| {
                to.names[blob].rename_onto(file_of_writer(index), track);
                if !self.is(Mutant::CommitOutsideSection) {
                    to.logged_names |= set(self.names_of(index, blob));
                }
                if self.links {
                    writer.at = WriterAt::CommitLink;
                } else {
                    writer.at = WriterAt::CommitSync;
                    writer.shared = false;
                }
            }),
            WriterAt::CommitLink => step("commit: link, leave the section", &|to, writer| {
                to.names[self.link(index, blob)].rename_onto(file_of_writer(index), track);
                writer.at = WriterAt::CommitSync;
                writer.shared = false;
            }),
            WriterAt::CommitSync => step("commit: fsync directories, 201", &|to, writer| {
                for name in self.names_of(index, blob) {
                    to.names[name].sync(track);
                }
                writer.promised |= 1 << blob;
                self.next_blob(writer);
            }),

            // The manifest.
            WriterAt::ClaimStat => {
                let late = self.is(Mutant::SyncBeforeStat);
                step("PUT: look at the references", &|to, writer| {
                    self.remember_or_sync(to, writer, index, !late);
                    writer.at = WriterAt::ClaimSync;
                });
            }
            WriterAt::ClaimSync => {
                let late = self.is(Mutant::SyncBeforeStat);
                step("PUT: fsync their directories", &|to, writer| {
                    self.remember_or_sync(to, writer, index, late);
                    writer.at = WriterAt::Put;
                });
            }
            WriterAt::Put => {
                let unlocked = self.is(Mutant::PutOutsideSection);
                if free || unlocked {
                    step("PUT enters the section, logs", &|to, writer| {
                        if !unlocked && !self.is(Mutant::NoDeltaLog) {
                            if self.shipped() {
                                to.logged_manifests |= 1 << index;
                            } else {
                                to.logged_names |= closure;
                            }
                        }
                        writer.at = WriterAt::Check;
                        writer.shared = !unlocked;
                    });
                }
            }
            WriterAt::Check => {
                let mut names = self.names_of(index, blob);
                let only_data = self.is(Mutant::PutIgnoresLinks);
                let found =
                    names.all(|name| state.names[name].exists() || (only_data && name != blob));
                let last = blob + 1 == self.blobs || self.is(Mutant::PutChecksFirst);
                if found && last {
                    step("PUT: reference is there", &|_, writer| {
                        writer.blob = 0;
                        writer.at = if !self.shipped() || track {
                            WriterAt::Sync
                        } else {
                            WriterAt::WriteManifest
                        };
                    });
                } else if found {
                    step("PUT: reference is there", &|_, writer| writer.blob += 1);
                } else {
                    step("PUT: MANIFEST_BLOB_UNKNOWN", &|_, writer| {
                        writer.at = WriterAt::Refused;
                        writer.shared = false;
                        writer.promised &= 1 << blob;
                    });
                }
            }
            WriterAt::Sync => step("PUT: fsync directories of new references", &|to, writer| {
                if !self.is(Mutant::ClaimWithoutSync) {
                    for name in self.closure(index) {
                        if to.names[name].file != writer.synced[remembered(name)] {
                            to.names[name].sync(track);
                        }
                    }
                }
                writer.synced = [0; MAX_BLOBS * 2];
                if self.is(Mutant::SectionEndsBeforePublish) {
                    writer.shared = false;
                }
                writer.at = if self.shipped() {
                    WriterAt::WriteManifest
                } else {
                    WriterAt::Publish
                };
            }),
            WriterAt::WriteManifest => step("PUT: manifest bytes", &|to, writer| {
                to.written |= 1 << index;
                writer.at = WriterAt::Publish;
            }),
            WriterAt::Publish => step("PUT: revision and tag, leave the section", &|to, writer| {
                to.visible |= 1 << index;
                writer.shared = false;
                writer.at = if !self.shipped() || track {
                    WriterAt::PublishSync
                } else {
                    WriterAt::Acknowledge
                };
            }),
            WriterAt::PublishSync => step("PUT: fsync manifest directories", &|to, writer| {
                to.durable |= 1 << index;
                writer.at = WriterAt::Acknowledge;
            }),
            WriterAt::Acknowledge => step("PUT 201", &|to, writer| {
                to.acknowledged |= 1 << index;
                writer.at = WriterAt::Done;
            }),

            // Later, somebody deletes it.
            WriterAt::Done => step("DELETE: unlink tag and revision", &|to, writer| {
                to.visible &= !(1 << index);
                writer.at = WriterAt::DeleteSync;
            }),
            WriterAt::DeleteSync => step("DELETE: fsync", &|to, writer| {
                to.durable &= !(1 << index);
                writer.at = WriterAt::DeleteAcknowledge;
            }),
            WriterAt::DeleteAcknowledge => step("DELETE 202", &|to, writer| {
                to.acknowledged &= !(1 << index);
                writer.at = WriterAt::Deleted;
            }),
        }
    }

    pub(super) fn uploader_steps(&self, state: &State, steps: &mut Vec<Step<State>>) {
        let mut step = |what, change: &dyn Fn(&mut State)| {
            let mut to = *state;
            change(&mut to);
            steps.push(Step::new(Actor::Uploader, what, to));
        };
        let crash = |to: &mut State| to.uploader = UploaderAt::Gone;
        match state.uploader {
            UploaderAt::Gone => {}
            UploaderAt::Start => {
                let unlocked = self.is(Mutant::CommitOutsideSection);
                if unlocked || !state.held_exclusively() {
                    step("upload commit enters the section", &|to| {
                        to.uploader = UploaderAt::Commit { shared: !unlocked };
                    });
                }
            }
            UploaderAt::Commit { shared } => {
                step("commit: rename onto data, log", &|to| {
                    let file = self.file_of_uploader(to);
                    for name in self.names_of(0, 0) {
                        to.names[name].rename_onto(file, self.tracks_disk());
                    }
                    if shared {
                        to.logged_names |= set(self.names_of(0, 0));
                    }
                    to.uploader = UploaderAt::Sync;
                });
                step("crash", &crash);
            }
            UploaderAt::Sync => {
                step("commit: fsync directories, 201", &|to| {
                    for name in self.names_of(0, 0) {
                        to.names[name].sync(self.tracks_disk());
                    }
                    to.uploader = UploaderAt::Gone;
                });
                step("crash", &crash);
            }
        }
    }

    fn file_of_uploader(&self, state: &State) -> u8 {
        use super::OLD_FILE;
        let deleted = state.names.iter().all(|name| name.file != OLD_FILE);
        if deleted && self.is(Mutant::InodeNumberReused) {
            OLD_FILE
        } else {
            FILE_OF_UPLOADER
        }
    }

    /// HEAD sets the modification times of what it promises.
    fn touch(&self, to: &mut State, index: usize, blob: usize) {
        for name in self.names_of(index, blob) {
            let forgotten = self.is(Mutant::HeadDoesNotTouch)
                || (self.is(Mutant::HeadTouchesDataOnly) && name != blob);
            if !forgotten {
                to.names[name].touch();
            }
        }
    }

    /// Leaves any section and goes on with the next digest, or with the manifest.
    fn next_blob(&self, writer: &mut Writer) {
        writer.shared = false;
        if usize::from(writer.blob) + 1 < self.blobs {
            writer.blob += 1;
            writer.at = WriterAt::Start;
        } else {
            writer.blob = 0;
            writer.at = if self.shipped() && self.tracks_disk() {
                WriterAt::ClaimStat
            } else {
                WriterAt::Put
            };
        }
    }

    /// Before the section: remembers which files the references are, or syncs their directories.
    fn remember_or_sync(&self, to: &mut State, writer: &mut Writer, index: usize, remember: bool) {
        for name in self.closure(index) {
            if remember {
                writer.synced[remembered(name)] = to.names[name].file;
            } else if !self.is(Mutant::ClaimWithoutSync) {
                to.names[name].sync(true);
            }
        }
    }
}

/// Where a writer remembers the file of `name`: its links are all in one repository.
const fn remembered(name: usize) -> usize {
    if name < MAX_BLOBS {
        name
    } else {
        MAX_BLOBS + name % MAX_BLOBS
    }
}

impl Filesystem {
    /// What the delta log protects, as the collector reads it.
    pub(super) fn logged(&self, state: &State) -> Set {
        if self.is(Mutant::NoDeltaLog) {
            return 0;
        }
        let mut kept = state.logged_names;
        for manifest in 0..self.writers {
            let readable = if self.is(Mutant::LogFollowsRevision) {
                state.visible
            } else {
                state.written
            };
            if has(state.logged_manifests & readable, manifest) {
                let first = set(self.names_of(manifest, 0));
                let one = self.is(Mutant::LogClosesOverFirst);
                kept |= if one {
                    first
                } else {
                    self.closure_set(manifest)
                };
            }
        }
        kept
    }
}
