//! The world of the filesystem model: names in directories, who is where, the delta log.

/// Most digests one manifest refers to.
pub(super) const MAX_BLOBS: usize = 2;
/// Most repositories.
const MAX_REPOSITORIES: usize = 2;
/// Most names in directories: every blob's `data`, and its membership link in each repository.
pub(super) const MAX_NAMES: usize = MAX_BLOBS * (1 + MAX_REPOSITORIES);
/// Most writers.
pub(super) const MAX_WRITERS: usize = 3;
/// Most collector runs.
pub(super) const MAX_COLLECTORS: usize = 2;

/// No file under this name.
const ABSENT: u8 = 0;
/// The file that is there from the start, last used longer ago than the grace period.
pub(super) const OLD_FILE: u8 = 1;
/// The file a writer renames into place: each writer's is another one.
pub(super) const fn file_of_writer(writer: usize) -> u8 {
    2 + writer as u8
}
/// The file the uploader renames into place.
pub(super) const FILE_OF_UPLOADER: u8 = 5;

/// A set of names, manifests or digests, one bit each.
pub(super) type Set = u8;

/// One name in a directory: a blob's `data`, or a membership link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Name {
    /// What a reader finds: which file (inode), or none.
    pub(super) file: u8,
    /// The files whose modification time is within the grace period.
    pub(super) fresh: Set,
    /// What the disk is sure to hold after power loss, were nothing below to survive.
    durable: u8,
    /// Renames since the last fsync of the directory, oldest in the lowest four bits. Any subset
    /// of them may survive power loss.
    unsynced: u64,
}

impl Name {
    pub(super) const fn holding(file: u8, track: bool) -> Self {
        Self {
            file,
            fresh: 0,
            durable: if track { file } else { ABSENT },
            unsynced: 0,
        }
    }

    pub(super) const fn exists(self) -> bool {
        self.file != ABSENT
    }

    pub(super) const fn is_fresh(self) -> bool {
        self.fresh & (1 << self.file) != 0
    }

    pub(super) const fn touch(&mut self) {
        self.fresh |= 1 << self.file;
    }

    /// Renames a new file over the name.
    pub(super) const fn rename_onto(&mut self, file: u8, track: bool) {
        self.file = file;
        self.touch();
        if track {
            self.record(file);
        }
    }

    /// Renames the file away into the trash.
    pub(super) const fn rename_away(&mut self, track: bool) {
        if track {
            self.record(AWAY | self.file);
        }
        self.file = ABSENT;
    }

    /// The directory is synced: the disk holds what a reader finds.
    pub(super) const fn sync(&mut self, track: bool) {
        if track {
            self.durable = self.file;
            self.unsynced = 0;
        }
    }

    const fn record(&mut self, rename: u8) {
        let mut at = 0;
        while self.unsynced >> at != 0 {
            at += 4;
        }
        assert!(
            at < u64::BITS,
            "more unsynced renames of one name than the model has room for"
        );
        self.unsynced |= (rename as u64) << at;
    }

    /// Every file (or none) that the name may hold after power loss.
    pub(super) fn after_power_loss(self) -> Vec<Self> {
        let mut files = vec![self.durable];
        let mut rest = self.unsynced;
        while rest != 0 {
            let rename = (rest & 0xF) as u8;
            rest >>= 4;
            let file = rename & !AWAY;
            for before in files.clone() {
                let after = match rename & AWAY {
                    0 => file,
                    _ if before == file => ABSENT,
                    _ => before,
                };
                if !files.contains(&after) {
                    files.push(after);
                }
            }
        }
        let settle = |file| Self {
            file,
            fresh: self.fresh,
            durable: file,
            unsynced: 0,
        };
        files.into_iter().map(settle).collect()
    }
}

/// Marks an unsynced rename as one that took the file away.
const AWAY: u8 = 8;

/// How far a writer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum WriterAt {
    /// Not part of this check.
    #[default]
    Absent,
    Start,
    Head,
    Mount,
    MountSync,
    Upload,
    Commit,
    CommitLink,
    CommitSync,
    ClaimStat,
    ClaimSync,
    Put,
    Check,
    Sync,
    WriteManifest,
    Publish,
    PublishSync,
    Acknowledge,
    Done,
    DeleteSync,
    DeleteAcknowledge,
    /// The manifest was deleted and the client was told so.
    Deleted,
    /// Power was lost in the middle of a delete: present or not, both are right.
    DeleteInterrupted,
    /// Crashed, or the power was lost: nobody was told anything.
    Crashed,
    /// The client was answered `MANIFEST_BLOB_UNKNOWN`.
    Refused,
}

/// One client's push of one manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Writer {
    pub(super) at: WriterAt,
    /// Which of the manifest's digests it is busy with.
    pub(super) blob: u8,
    /// The digests which it was told exist. Once refused: of these, the one found missing.
    pub(super) promised: Set,
    /// Holds the lock shared.
    pub(super) shared: bool,
    /// The files whose directories it synced before it entered the section.
    pub(super) synced: [u8; MAX_BLOBS * 2],
}

/// How far the uploader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum UploaderAt {
    #[default]
    Gone,
    Start,
    /// In the shared section; `false` in the mutant that commits without it.
    Commit {
        shared: bool,
    },
    Sync,
}

/// How far a collector run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum CollectorAt {
    #[default]
    Ended,
    Start,
    Mark,
    SyncBefore,
    Lock,
    Check,
    SyncInside,
    Remove,
}

/// One run of the collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Collector {
    pub(super) at: CollectorAt,
    /// While it marks: the next manifest to read. Then: the batch it is busy with.
    pub(super) cursor: u8,
    /// Names it found reachable.
    pub(super) marked: Set,
    /// Names of this batch still to be renamed away.
    pub(super) doomed: Set,
}

/// Everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) names: [Name; MAX_NAMES],
    /// Manifests whose bytes can be read by digest.
    pub(super) written: Set,
    /// Manifests whose revision and tag a reader finds.
    pub(super) visible: Set,
    /// Of these, the ones that are sure to survive power loss.
    pub(super) durable: Set,
    /// Manifests of which a client was told that they are stored.
    pub(super) acknowledged: Set,
    pub(super) writers: [Writer; MAX_WRITERS],
    pub(super) uploader: UploaderAt,
    pub(super) collectors: [Collector; MAX_COLLECTORS],
    /// The collector that holds the lock exclusively, plus one.
    pub(super) exclusive: u8,
    /// The delta log: names, and manifests to close over.
    pub(super) logged_names: Set,
    pub(super) logged_manifests: Set,
    /// How often the power may still fail.
    pub(super) outages_left: u8,
}

impl State {
    pub(super) fn held_shared(&self) -> bool {
        self.writers.iter().any(|writer| writer.shared)
            || self.uploader == UploaderAt::Commit { shared: true }
    }

    pub(super) const fn held_exclusively(&self) -> bool {
        self.exclusive != 0
    }
}
