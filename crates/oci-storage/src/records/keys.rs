//! The names of records and extents. They are part of the stored format.
//!
//! | key | record |
//! |---|---|
//! | `blobs/<alg>/<hex>` | where the bytes of a digest are |
//! | `links/<repository>!/<alg>/<hex>` | a blob is visible in a repository |
//! | `manifests/<repository>!/<alg>/<hex>` | a manifest of a repository |
//! | `tags/<repository>!/<tag>` | what a tag points to |
//! | `tagged/<repository>!/<alg>/<hex>/<tag>/<push>` | `push` may have pointed the tag at that manifest |
//! | `referrers/<repository>!/<subject alg>/<hex>/<alg>/<hex>` | an entry of a referrers listing |
//! | `repositories/<repository>!` | a manifest was once put there |
//! | `refs/<alg>/<hex>/<repository>!/<alg>/<hex>/<push>` | the manifest pushed by `push` needs the digest |
//! | `uploads/<id>` | an upload session |
//! | `open/<principal>/<id>` | that session may be open |
//! | `collector/lease` | which collector is at work |
//!
//! A repository's name is followed by `!`, which sorts before all that a name may contain. So a name
//! that is the beginning of another never is a directory of it (`tags/a!/b` and `tags/a/b!/c`), and the
//! keys have the order of the names (`a`, `a-b`, `a/b`).
//!
//! Extents are `data/<alg>/<hex>/<random>` if the digest was known before the first byte, and
//! `data/<upload id>/<random>` otherwise. A record may also name an extent outside `data/`, which somebody
//! else has written and the engine never deletes.

use std::borrow::Cow;

use oci_core::digest::{Algorithm, Digest};
use oci_core::store::UploadId;
use oci_core::{RepositoryName, Tag};

use super::encoding::Nonce;

/// The key of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Key {
    Blob(Digest),
    Link(RepositoryName, Digest),
    Manifest(RepositoryName, Digest),
    Tag(RepositoryName, Tag),
    Tagged(RepositoryName, Digest, Tag, Nonce),
    Referrer(RepositoryName, Digest, Digest),
    Repository(RepositoryName),
    Reference {
        to: Digest,
        repository: RepositoryName,
        from: Digest,
        push: Nonce,
    },
    Upload(UploadId),
    Open(Nonce, UploadId),
    Lease,
}

impl Key {
    pub(super) fn format(&self) -> String {
        match self {
            Self::Blob(digest) => format!("blobs/{}", path(digest)),
            Self::Link(repository, digest) => {
                format!("{}{}", links(repository), path(digest))
            }
            Self::Manifest(repository, digest) => {
                format!("{}{}", manifests(repository), path(digest))
            }
            Self::Tag(repository, tag) => format!("{}{tag}", tags(repository)),
            Self::Tagged(repository, digest, tag, push) => {
                format!("{}{tag}/{push}", tagged(repository, digest))
            }
            Self::Referrer(repository, subject, digest) => {
                format!("{}{}", referrers(repository, subject), path(digest))
            }
            Self::Repository(repository) => format!("{REPOSITORIES}{repository}!"),
            Self::Reference {
                to,
                repository,
                from,
                push,
            } => format!("{}{}/{push}", references_in(to, repository), path(from)),
            Self::Upload(id) => format!("uploads/{id}"),
            Self::Open(principal, id) => format!("{OPEN}{principal}/{id}"),
            Self::Lease => LEASE.to_owned(),
        }
    }

    /// Reads a key back; `None` for one that this version does not write.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once('/')?;
        Some(match kind {
            "blobs" => Self::Blob(digest(rest)?),
            "links" | "manifests" => {
                let (repository, rest) = repository(rest)?;
                let digest = digest(rest)?;
                if kind == "links" {
                    Self::Link(repository, digest)
                } else {
                    Self::Manifest(repository, digest)
                }
            }
            "tags" => {
                let (repository, rest) = repository(rest)?;
                Self::Tag(repository, rest.parse().ok()?)
            }
            "tagged" => {
                let (repository, rest) = repository(rest)?;
                let (rest, push) = rest.rsplit_once('/')?;
                let (rest, tag) = rest.rsplit_once('/')?;
                Self::Tagged(
                    repository,
                    digest(rest)?,
                    tag.parse().ok()?,
                    push.parse().ok()?,
                )
            }
            "referrers" => {
                let (repository, rest) = repository(rest)?;
                let (at, _) = rest.match_indices('/').nth(1)?;
                let (subject, rest) = rest.split_at_checked(at)?;
                Self::Referrer(repository, digest(subject)?, digest(rest.get(1..)?)?)
            }
            "repositories" => Self::Repository(rest.strip_suffix('!')?.parse().ok()?),
            "refs" => {
                let (at, _) = rest.match_indices('/').nth(1)?;
                let (to, rest) = rest.split_at_checked(at)?;
                let (repository, rest) = repository(rest.get(1..)?)?;
                let (from, push) = rest.rsplit_once('/')?;
                Self::Reference {
                    to: digest(to)?,
                    repository,
                    from: digest(from)?,
                    push: push.parse().ok()?,
                }
            }
            "collector" if text == LEASE => Self::Lease,
            "uploads" => Self::Upload(rest.parse().ok()?),
            "open" => {
                let (principal, id) = rest.split_once('/')?;
                Self::Open(principal.parse().ok()?, id.parse().ok()?)
            }
            _ => return None,
        })
    }
}

pub(super) const BLOBS: &str = "blobs/";
pub(super) const OPEN: &str = "open/";
pub(super) const REPOSITORIES: &str = "repositories/";
pub(super) const LINKS: &str = "links/";
pub(super) const MANIFESTS: &str = "manifests/";
/// Of tags and of referrers.
pub(super) const TAGS: &str = "tags/";
pub(super) const REFERRERS: &str = "referrers/";
pub(super) const REFERENCES: &str = "refs/";
pub(super) const UPLOADS: &str = "uploads/";
/// Where all extents of the engine are.
pub(super) const EXTENTS: &str = "data/";
const LEASE: &str = "collector/lease";

pub(super) fn open_by(principal: Nonce) -> String {
    format!("{OPEN}{principal}/")
}

pub(super) fn links(repository: &RepositoryName) -> String {
    format!("links/{repository}!/")
}

pub(super) fn manifests(repository: &RepositoryName) -> String {
    format!("manifests/{repository}!/")
}

pub(super) fn tags(repository: &RepositoryName) -> String {
    format!("tags/{repository}!/")
}

pub(super) fn tagged(repository: &RepositoryName, digest: &Digest) -> String {
    format!("tagged/{repository}!/{}/", path(digest))
}

pub(super) fn referrers(repository: &RepositoryName, subject: &Digest) -> String {
    format!("referrers/{repository}!/{}/", path(subject))
}

/// All that any manifest anywhere needs `to` for.
pub(super) fn references(to: &Digest) -> String {
    format!("refs/{}/", path(to))
}

/// The same in one repository.
pub(super) fn references_in(to: &Digest, repository: &RepositoryName) -> String {
    format!("{}{repository}!/", references(to))
}

/// To whom an extent belongs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Owner {
    Content(Digest),
    Upload(UploadId),
}

/// The owner of the extent under a key; `None` for one that this version does not write.
pub(super) fn owner_of(extent: &str) -> Option<Owner> {
    let (owner, name) = extent.strip_prefix(EXTENTS)?.rsplit_once('/')?;
    name.parse::<Nonce>().ok()?;
    if owner.contains('/') {
        Some(Owner::Content(digest(owner)?))
    } else {
        Some(Owner::Upload(owner.parse().ok()?))
    }
}

/// Whether an extent was written by the engine. Records may name others, which belong to somebody else:
/// those are read and never deleted.
pub(super) fn is_own_extent(key: &str) -> bool {
    key.starts_with(EXTENTS)
}

/// A new extent of content that must have this digest.
pub(super) fn extent_of(digest: &Digest, name: Nonce) -> String {
    format!("{EXTENTS}{}/{name}", path(digest))
}

/// A new extent of an upload.
pub(super) fn extent_in(id: &UploadId, name: Nonce) -> String {
    format!("{EXTENTS}{id}/{name}")
}

/// Where to go on in a listing of tags.
pub(super) fn tag_after(repository: &RepositoryName, after: &str) -> String {
    format!("{}{}", tags(repository), bound(after))
}

/// Where to go on in a listing of repositories.
pub(super) fn repository_after(after: &str) -> String {
    format!("{REPOSITORIES}{}!", bound(after))
}

/// Where to go on in a listing of digests under `prefix`; `None` if nothing can follow.
///
/// The digests' text form has a colon where the key has a slash.
pub(super) fn digest_after(prefix: &str, after: &str) -> Option<String> {
    Algorithm::ALL.into_iter().find_map(|algorithm| {
        let own = format!("{algorithm}:");
        match after.strip_prefix(&own) {
            Some(hex) => Some(format!("{prefix}{algorithm}/{}", bound(hex))),
            None if own.as_str() > after => Some(format!("{prefix}{algorithm}/")),
            None => None,
        }
    })
}

/// A text of which exactly the same names are greater, but which only has characters that names
/// have: stores need not cope with others.
fn bound(after: &str) -> Cow<'_, str> {
    let Some((at, stranger)) = after.char_indices().find(|(_, c)| !is_name(*c)) else {
        return Cow::Borrowed(after);
    };
    let kept = after.get(..at).unwrap_or_default();
    // Everything that goes on with a lesser character comes before; the greatest such text is a run of
    // the greatest character that is longer than any name.
    let lesser = (0x21..=b'z')
        .rev()
        .map(char::from)
        .find(|c| is_name(*c) && *c < stranger);
    match lesser {
        Some(lesser) => Cow::Owned(format!("{kept}{lesser}{}", "z".repeat(LONGER_THAN_ANY))),
        None => Cow::Borrowed(kept),
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/' | '_')
}

const LONGER_THAN_ANY: usize = 256;

fn path(digest: &Digest) -> String {
    format!("{}/{}", digest.algorithm(), digest.hex())
}

fn digest(text: &str) -> Option<Digest> {
    let (algorithm, hex) = text.split_once('/')?;
    Digest::from_parts(algorithm.parse().ok()?, hex).ok()
}

fn repository(text: &str) -> Option<(RepositoryName, &str)> {
    let (name, rest) = text.split_once("!/")?;
    Some((name.parse().ok()?, rest))
}
