//! What each sort of record says. Part of the stored format: fields are only ever added.

use oci_core::Descriptor;
use oci_core::digest::Digest;
use oci_core::store::TagState;
use serde::{Deserialize, Serialize};

use super::encoding::{Header, Nonce};
use super::keys::is_own_extent;

/// Whether what a record describes is there.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Life {
    Live,
    /// A collector is about to remove it. Until then it is there, and a pusher who needs it makes it
    /// live again.
    Condemned,
    /// It is gone. The record stays for a while, so that a late writer sees that it was there.
    Dead,
}

impl Life {
    pub(super) fn is_there(self) -> bool {
        self != Self::Dead
    }
}

/// Where the bytes of a digest are. Inline content is the body.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct BlobRecord {
    pub(super) life: Life,
    pub(super) size: u64,
    /// One after the other they are the content; none if it is inline.
    pub(super) extents: Vec<Extent>,
    /// Changed before orphaned extents of this digest are deleted. Content is only registered if this
    /// is still what it was before the content's first byte was stored.
    pub(super) fence: Fence,
    /// When somebody was last told that it exists, in seconds of Unix time.
    pub(super) touched: u64,
    /// Of a dead one: it was taken away because its bytes did not have the digest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) damaged: bool,
    /// How often its content has ended. A dead one still says which extents those were, unless they were damaged.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) ends: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Header for BlobRecord {
    const KIND: u8 = 1;
}

impl BlobRecord {
    /// Whether any of `extents` is part of content that is there.
    pub(super) fn holds(&self, extents: &[String]) -> bool {
        let mut own = self.extents.iter();
        self.life.is_there() && own.any(|extent| extents.contains(&extent.key))
    }

    /// Whether `extents` may have been registered, and have ended, since the content of the digest had ended so
    /// often.
    pub(super) fn may_have_ended(
        blob: Option<&Self>,
        ends: Option<u64>,
        extents: &[String],
    ) -> bool {
        let Some(ends) = ends else {
            return true;
        };
        let now = blob.map_or(0, |blob| blob.ends);
        let others = blob.is_some_and(|blob| {
            now == ends.saturating_add(1)
                && !blob.life.is_there()
                && !blob.damaged
                && !(blob.extents.iter()).any(|extent| extents.contains(&extent.key))
        });
        now != ends && !others
    }

    /// The bytes that its end frees. What somebody else has written stays.
    pub(super) fn own_bytes(&self) -> u64 {
        if self.extents.is_empty() {
            return self.size;
        }
        let own = self.extents.iter().filter(|it| is_own_extent(&it.key));
        own.map(|extent| extent.length).sum()
    }
}

/// `None` if there is no record.
pub(super) type Fence = Option<Nonce>;

/// The first `length` bytes of an extent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Extent {
    pub(super) key: String,
    pub(super) length: u64,
}

/// A blob is visible in a repository.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct LinkRecord {
    pub(super) life: Life,
    pub(super) touched: u64,
}

impl Header for LinkRecord {
    const KIND: u8 = 2;
}

/// A manifest of a repository. Its bytes are the body.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct RevisionRecord {
    pub(super) life: Life,
    /// The push that wrote it, whose references keep what it needs.
    pub(super) push: Nonce,
    pub(super) media_type: String,
    /// What it needs, through all child indexes, and what it names that may be elsewhere. Each has a reference record of `push`.
    pub(super) references: Vec<Digest>,
    pub(super) subject: Option<Digest>,
    /// Of a dead one: tags, referrer entry and references may still be there.
    pub(super) pending: bool,
    pub(super) touched: u64,
}

impl Header for RevisionRecord {
    const KIND: u8 = 3;
}

/// What a tag points to; nothing if it was removed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct TagRecord {
    pub(super) to: Option<TagTarget>,
    /// When it was written. 0 if that is not known: older versions did not say.
    #[serde(default)]
    pub(super) touched: u64,
}

impl Header for TagRecord {
    const KIND: u8 = 4;
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct TagTarget {
    pub(super) digest: Digest,
    pub(super) push: Nonce,
}

/// An entry of a referrers listing; nothing if it was removed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct ReferrerRecord {
    pub(super) descriptor: Option<Descriptor>,
    /// As that of a tag.
    #[serde(default)]
    pub(super) touched: u64,
}

impl Header for ReferrerRecord {
    const KIND: u8 = 5;
}

/// Says something by being there: a reference, a repository, a tag that may point somewhere, an open
/// session.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct MarkRecord {
    pub(super) since: u64,
}

impl Header for MarkRecord {
    const KIND: u8 = 6;
}

/// An upload session. The body is the hash state, then the inline tail.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct SessionRecord {
    pub(super) repository: String,
    pub(super) principal: String,
    pub(super) algorithm: String,
    pub(super) phase: Phase,
    /// How many bytes were received.
    pub(super) offset: u64,
    pub(super) hash_length: u64,
    /// Bytes that are in finished extents, first.
    pub(super) extents: Vec<Extent>,
    /// Then those in the parts of an unfinished one.
    pub(super) parts: Option<PartsRecord>,
    /// Then those that are not enough for a part. The inline tail follows.
    pub(super) tails: Vec<Extent>,
    /// If the digest was named at the beginning: the digest, and its fence then.
    pub(super) expected: Option<(Digest, Fence)>,
    pub(super) touched: u64,
    /// While it is finishing: how often content of the digest had ended before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ends: Option<u64>,
}

impl Header for SessionRecord {
    const KIND: u8 = 7;
}

impl SessionRecord {
    /// Every extent that holds bytes of the session, finished or not.
    pub(super) fn extent_keys(&self) -> impl Iterator<Item = &str> {
        let finished = self.extents.iter().chain(&self.tails);
        let unfinished = self.parts.iter().map(|parts| &parts.key);
        finished
            .map(|extent| &extent.key)
            .chain(unfinished)
            .map(String::as_str)
    }

    /// The same and those of the content that it is becoming.
    pub(super) fn named_keys(&self) -> impl Iterator<Item = &str> {
        let becoming = match &self.phase {
            Phase::Finishing(_, keys) => keys.as_slice(),
            _ => &[],
        };
        self.extent_keys()
            .chain(becoming.iter().map(String::as_str))
    }
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    Open,
    /// The content is about to be registered under this digest, and consists of these extents.
    Finishing(Digest, Vec<String>),
    /// It was.
    Done(Digest),
    Aborted,
}

/// Which collector is at work on the store.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct LeaseRecord {
    /// Nobody any more, if it has ended.
    pub(super) holder: Option<Nonce>,
    /// When that was written, by the holder's clock.
    pub(super) renewed: u64,
    /// When the last run that was complete began, by its clock.
    #[serde(default)]
    pub(super) complete: Option<u64>,
}

impl Header for LeaseRecord {
    const KIND: u8 = 8;
}

/// An extent that is written in parts of one size.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct PartsRecord {
    pub(super) key: String,
    pub(super) upload: String,
    pub(super) part_size: u64,
    pub(super) parts: Vec<String>,
}

impl PartsRecord {
    pub(super) fn length(&self) -> u64 {
        self.part_size.saturating_mul(self.parts.len() as u64)
    }
}

/// A tag and where its record stood when it was read.
/// What maintenance is told of a tag.
pub(super) fn state_of(target: &TagTarget) -> TagState {
    let mut state = TagState::new(target.digest);
    state.push = Some(target.push.number());
    state
}

pub(super) fn target_of(record: Option<&TagRecord>) -> Option<&TagTarget> {
    record.and_then(|record| record.to.as_ref())
}
