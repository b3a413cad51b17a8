//! Collecting what nobody refers to.

use std::fmt;
use std::time::Duration;

use crate::digest::Digest;

/// How a collection is to be done.
///
/// ```
/// use std::time::Duration;
///
/// use oci_core::store::CollectOptions;
///
/// let mut options = CollectOptions::default();
/// options.grace = Duration::from_secs(3600);
/// options.dry_run = true;
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CollectOptions {
    /// What is younger stays, whoever refers to it; 24 hours. A comfort for clients that take their time
    /// between a blob and its manifest: that acknowledged images stay whole does not rest on it.
    pub grace: Duration,
    /// Whether manifests go that no tag leads to, neither by itself, nor through an index, nor as the
    /// subject of what refers to them. Off: every manifest keeps what it needs.
    pub untagged: bool,
    /// Look, say what would go, and remove nothing.
    pub dry_run: bool,
    /// When a collection stops to be looked at by a person, before it has removed anything.
    pub brake: Option<Brake>,
    /// Do nothing, and say [`CollectEnd::Busy`], if a complete collection of the store began less than this
    /// ago, in whatever process: so that of many replicas, each of which collects now and then, not every one
    /// does the same work. None by default. A dry run and a store that keeps no note of it pay no heed.
    pub unless_within: Duration,
    /// Collect also on a file system whose locks may not work, such as NFS.
    pub any_file_system: bool,
}

impl Default for CollectOptions {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(24 * 60 * 60),
            untagged: false,
            dry_run: false,
            brake: Some(Brake::default()),
            unless_within: Duration::ZERO,
            any_file_system: false,
        }
    }
}

/// The amount of garbage that is unusual: more than it stops a collection.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Brake {
    /// The share of all bytes, from 0 to 1; 0.5.
    pub share: f64,
    /// Up to so many bytes go in any case; 1 GiB.
    pub bytes: u64,
}

impl Default for Brake {
    fn default() -> Self {
        Self {
            share: 0.5,
            bytes: 1 << 30,
        }
    }
}

impl Brake {
    /// Whether so much of all is unusual.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share need not be exact to a byte"
    )]
    pub fn stops(&self, garbage: u64, all: u64) -> bool {
        garbage > self.bytes && garbage as f64 > self.share * all as f64
    }
}

/// Who is told how a collection goes. Called on the thread that collects.
///
/// `()` does not listen.
pub trait CollectObserver: Send + Sync + 'static {
    /// Something that goes, or in a dry run, would. Told before the first of them goes.
    fn candidate(&self, candidate: &Candidate<'_>) {
        let _ = candidate;
    }

    /// Bytes of `size` that the store keeps under a name of its own and that are no part of any content or
    /// open upload: of uploads that failed, of content that was replaced. They go, too.
    fn orphan(&self, name: &str, size: u64) {
        let _ = (name, size);
    }

    /// Something that was not understood or not readable, and therefore keeps all that it might need.
    fn kept_whole(&self, what: &str, why: &str) {
        let _ = (what, why);
    }

    /// How far it is, now and then.
    fn progress(&self, phase: Phase, collected: &Collected) {
        let _ = (phase, collected);
    }
}

impl CollectObserver for () {}

/// What a collection is busy with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Phase {
    /// Reading manifests.
    Marking,
    /// Everything was looked at, nothing has been removed.
    Marked,
    /// Removing, batch by batch.
    Removing,
}

/// Content that nothing keeps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// What it is.
    pub kind: CandidateKind,
    /// In which repository; `None` for content, which all share.
    pub repository: Option<&'a str>,
    /// Its digest.
    pub digest: Digest,
    /// The bytes that its removal frees.
    pub size: u64,
}

impl<'a> Candidate<'a> {
    /// A candidate.
    pub fn new(
        kind: CandidateKind,
        repository: Option<&'a str>,
        digest: Digest,
        size: u64,
    ) -> Self {
        Self {
            kind,
            repository,
            digest,
            size,
        }
    }
}

/// What a [`Candidate`] is, and so why it goes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CandidateKind {
    /// Bytes.
    Content,
    /// That a blob is visible in a repository.
    Link,
    /// That a manifest is in a repository.
    Manifest,
}

impl CandidateKind {
    /// Why it goes, in words.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Content => "no manifest refers to it",
            Self::Link => "no manifest of the repository refers to it",
            Self::Manifest => "no tag leads to it",
        }
    }
}

/// How a collection ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum CollectEnd {
    /// All that was found to be garbage is gone, or is in use again. In a dry run: all was looked at.
    #[default]
    Complete,
    /// Another collection is at work on the same store, or was lately
    /// ([`CollectOptions::unless_within`]); this one did nothing.
    Busy,
    /// The share of garbage is unusual: see [`Brake`]. Nothing was removed.
    Braked,
    /// Pushes held their lock for so long that it could not be had; the rest is left for the next time.
    GaveUp,
    /// Whoever asked for it is gone; the rest is left for the next time.
    Stopped,
}

/// What a collection found and did.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Collected {
    /// How it ended.
    pub end: CollectEnd,
    /// Repositories that were looked through.
    pub repositories: u64,
    /// Of these, the ones that keep all they have, because something in them was not understood.
    pub kept_whole: u64,
    /// Manifests that were read, each in each of its repositories.
    pub manifests_read: u64,
    /// All content: blobs and manifests, by digest.
    pub content: Amount,
    /// Content that nothing refers to and that is still within its grace.
    pub young: Amount,
    /// Of the content that is within its grace, what manifests needed that go: it goes when it is older.
    pub orphaned: Amount,
    /// Content that nothing keeps.
    pub garbage: Amount,
    /// Links of blobs to repositories that nothing keeps.
    pub garbage_links: u64,
    /// Manifests in repositories that nothing keeps.
    pub garbage_manifests: u64,
    /// Of these, the ones that were too many to look at what only they need.
    pub unweighed_manifests: u64,
    /// Bytes that are no part of any content or open upload.
    pub orphans: Amount,
    /// Content that was removed.
    pub removed: Amount,
    /// Of the orphans, those that were removed.
    pub removed_orphans: Amount,
    /// Links that were removed.
    pub removed_links: u64,
    /// Manifests that were removed from repositories.
    pub removed_manifests: u64,
    /// Garbage of any kind that somebody began to use meanwhile, and that stayed.
    pub revived: u64,
    /// How long it took.
    pub duration: Duration,
}

impl Collected {
    /// Whether so much is garbage that a person should look at it first.
    ///
    /// Content that goes later because of the manifests that go now counts as well, and so do leftovers. Content
    /// without a single repository is unusual: a volume that is being restored, or half mounted. Where there were
    /// too many manifests to see what goes with them, their share of all manifests decides, too.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share need not be exact to a manifest"
    )]
    pub fn is_unusual(&self, brake: &Brake) -> bool {
        let goes = [self.garbage, self.orphaned, self.orphans];
        let goes = goes
            .iter()
            .fold(0_u64, |sum, part| sum.saturating_add(part.bytes));
        let most = self.manifests_read as f64 * brake.share;
        (self.repositories == 0 && self.garbage.count > 0)
            || (self.unweighed_manifests > 0 && self.garbage_manifests as f64 > most)
            || brake.stops(goes, self.content.bytes)
    }
}

/// Pieces of content, and their bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// Their length in all.
    pub bytes: u64,
}

impl Amount {
    /// One more, of `bytes`.
    pub fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} blobs, {} bytes", self.count, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brake_stops_what_is_both_much_and_most() {
        let brake = Brake::default();
        let gib = 1 << 30;
        assert!(!brake.stops(gib, gib), "not much");
        assert!(!brake.stops(2 * gib, 5 * gib), "not most");
        assert!(!brake.stops(2 * gib, 4 * gib));
        assert!(brake.stops(2 * gib + 1, 4 * gib));
        assert!(brake.stops(u64::MAX, u64::MAX));
    }

    #[test]
    fn all_that_goes_is_weighed() {
        let brake = Brake::default();
        let mut collected = Collected {
            repositories: 1,
            ..Collected::default()
        };
        collected.content.add(4 << 30);
        collected.garbage.add(1 << 30);
        collected.orphaned.add(1 << 30);
        assert!(!collected.is_unusual(&brake));
        collected.orphans.add(1);
        assert!(collected.is_unusual(&brake));
        collected.orphans = Amount::default();
        // Manifests count where what only they need could not be looked at.
        (collected.manifests_read, collected.garbage_manifests) = (10, 6);
        assert!(!collected.is_unusual(&brake));
        collected.unweighed_manifests = 1;
        assert!(collected.is_unusual(&brake));
        collected.garbage_manifests = 5;
        assert!(!collected.is_unusual(&brake));
    }
}
