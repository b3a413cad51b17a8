//! Stored formats: keys and encoding.

use bytes::Bytes;
use oci_core::digest::{Algorithm, Digest};
use oci_core::store::UploadId;
use oci_core::{RepositoryName, Tag};
use proptest::prelude::*;

use crate::records::encoding::{Nonce, decode, encode, nonce_of};
use crate::records::keys::{self, Key};
use crate::records::model::{Life, LinkRecord, MarkRecord, TagRecord, TagTarget};

fn repositories() -> impl Strategy<Value = RepositoryName> {
    // Short and of few letters, so that one is often the beginning of another.
    "[ab]([-._]?[ab]){0,2}(/[ab]([-._]?[ab]){0,2}){0,2}".prop_map(|name| name.parse().unwrap())
}

fn tags() -> impl Strategy<Value = Tag> {
    "[abAB_][abA0._-]{0,4}".prop_map(|tag| tag.parse().unwrap())
}

fn digests() -> impl Strategy<Value = Digest> {
    (any::<bool>(), 0..6_u8).prop_map(|(wide, seed)| {
        let algorithm = if wide {
            Algorithm::Sha512
        } else {
            Algorithm::Sha256
        };
        Digest::of(algorithm, &[seed])
    })
}

fn nonces() -> impl Strategy<Value = Nonce> {
    any::<[u8; 16]>().prop_map(Nonce::from_random)
}

fn keys() -> impl Strategy<Value = Key> {
    prop_oneof![
        digests().prop_map(Key::Blob),
        (repositories(), digests()).prop_map(|(a, b)| Key::Link(a, b)),
        (repositories(), digests()).prop_map(|(a, b)| Key::Manifest(a, b)),
        (repositories(), tags()).prop_map(|(a, b)| Key::Tag(a, b)),
        (repositories(), digests(), tags(), nonces())
            .prop_map(|(a, b, c, d)| Key::Tagged(a, b, c, d)),
        (repositories(), digests(), digests()).prop_map(|(a, b, c)| Key::Referrer(a, b, c)),
        repositories().prop_map(Key::Repository),
        (digests(), repositories(), digests(), nonces()).prop_map(
            |(to, repository, from, push)| {
                Key::Reference {
                    to,
                    repository,
                    from,
                    push,
                }
            }
        ),
        any::<[u8; 16]>().prop_map(|id| Key::Upload(UploadId::from_random(id))),
        (nonces(), any::<[u8; 16]>()).prop_map(|(a, id)| Key::Open(a, UploadId::from_random(id))),
    ]
}

proptest! {
    #[test]
    fn keys_are_read_as_they_were_written(key in keys()) {
        let text = key.format();
        prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-!/".contains(&b)), "{text}");
        prop_assert_eq!(Key::parse(&text), Some(key));
    }

    #[test]
    fn strange_keys_are_refused_or_canonical(text in "(blobs|links|tags|tagged|refs|open|x)/[ab!/0-9.-]{0,40}") {
        if let Some(key) = Key::parse(&text) {
            prop_assert_eq!(key.format(), text);
        }
    }

    #[test]
    fn no_key_is_a_directory_of_another(one in keys(), two in keys()) {
        let (one, two) = (one.format(), two.format());
        prop_assert!(!two.starts_with(&format!("{one}/")), "{one} and {two}");
    }

    #[test]
    fn keys_have_the_order_of_the_names(one in repositories(), two in repositories(), a in tags(), b in tags()) {
        let repository = |name: &RepositoryName| Key::Repository(name.clone()).format();
        prop_assert_eq!(repository(&one).cmp(&repository(&two)), one.cmp(&two));
        let tag = |tag: &Tag| Key::Tag(one.clone(), tag.clone()).format();
        prop_assert_eq!(tag(&a).cmp(&tag(&b)), a.cmp(&b));
    }

    #[test]
    fn a_repository_lists_only_its_own(one in repositories(), key in keys()) {
        let text = key.format();
        if text.starts_with(&keys::tags(&one)) {
            prop_assert!(matches!(key, Key::Tag(name, _) if name == one));
        } else if text.starts_with(&keys::manifests(&one)) {
            prop_assert!(matches!(key, Key::Manifest(name, _) if name == one));
        } else if text.starts_with(&keys::links(&one)) {
            prop_assert!(matches!(key, Key::Link(name, _) if name == one));
        }
    }

    /// Any text at all may come as the point to go on from; it is compared as bytes.
    #[test]
    fn pages_go_on_exactly_behind_any_text(
        name in repositories(),
        other in tags(),
        digest in digests(),
        after in prop_oneof![".{0,6}", "[ab!~/.-]{0,5}", "sha(256|512):[0-9a-g]{0,3}", "sha.{0,3}"],
    ) {
        let repository = Key::Repository(name.clone()).format();
        prop_assert_eq!(repository > keys::repository_after(&after), name.as_str() > after.as_str());

        let text = Key::Tag(name.clone(), other.clone()).format();
        prop_assert_eq!(text > keys::tag_after(&name, &after), other.as_str() > after.as_str());

        let prefix = keys::referrers(&name, &digest);
        let text = Key::Referrer(name, digest, digest).format();
        let follows = keys::digest_after(&prefix, &after).is_some_and(|start| text > start);
        prop_assert_eq!(follows, digest.to_string() > after);
    }

    #[test]
    fn records_are_read_as_they_were_written(
        nonce in nonces(), digest in digests(), push in nonces(), body: Vec<u8>,
    ) {
        let record = TagRecord { to: Some(TagTarget { digest, push }), touched: 7 };
        let value = encode(nonce, &record, &body).unwrap();
        let read = decode::<TagRecord>(&value).unwrap().unwrap();
        prop_assert_eq!((read.nonce, read.header), (nonce, record));
        prop_assert_eq!(&read.body[..], &body[..]);
        prop_assert_eq!(nonce_of(&value), Some(nonce));
        prop_assert!(decode::<LinkRecord>(&value).unwrap().is_none(), "another sort");
    }

    #[test]
    fn a_damaged_record_is_absent(
        nonce in nonces(), at: prop::sample::Index, flip in 1..=255_u8, cut: prop::sample::Index,
    ) {
        let whole = encode(nonce, &LinkRecord { life: Life::Live, touched: 7 }, b"body").unwrap();
        let mut value = whole.to_vec();
        // A changed version would be a later one, not damage.
        let at = 4 + at.index(value.len() - 4);
        value[at] ^= flip;
        prop_assert!(decode::<LinkRecord>(&value.into()).unwrap().is_none());
        let cut = whole.slice(..cut.index(whole.len()));
        prop_assert!(decode::<LinkRecord>(&cut).unwrap().is_none());
        prop_assert_eq!(nonce_of(&cut), None);
    }

    #[test]
    fn any_bytes_can_be_looked_at(bytes: Vec<u8>) {
        prop_assert!(!matches!(decode::<MarkRecord>(&Bytes::from(bytes)), Ok(Some(_))));
    }
}

#[test]
fn a_record_of_a_later_version_is_not_taken_for_absent() {
    let value = encode(Nonce::default(), &MarkRecord { since: 1 }, &[]).unwrap();
    let mut value = value.to_vec();
    value[3] = b'2';
    let error = decode::<MarkRecord>(&value.into()).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("upgrade"), "{source}");
}

/// What is stored must be read by every later version: these bytes never change.
#[test]
fn the_encoding_is_frozen() {
    let record = MarkRecord {
        since: 1_700_000_000,
    };
    let value = encode(Nonce::from_random([7; 16]), &record, b"x").unwrap();
    let frozen = [
        b"ORR1".as_slice(),
        &Digest::sha256(&value[12..]).as_bytes()[..8],
        &[7; 16],
        &[6],
        &[20, 0, 0, 0],
        br#"{"since":1700000000}"#,
        b"x",
    ]
    .concat();
    assert_eq!(value, frozen);
    let keys = [
        Key::Tag("a/b".parse().unwrap(), "v1".parse().unwrap()).format(),
        Key::Repository("a".parse().unwrap()).format(),
        Key::Blob(Digest::sha256(b"")).format(),
    ];
    assert_eq!(
        keys,
        [
            "tags/a/b!/v1".to_owned(),
            "repositories/a!".to_owned(),
            format!("blobs/sha256/{}", Digest::sha256(b"").hex()),
        ]
    );
}
