//! The contracts of [`BlobStore`] and [`ManifestStore`] as tests, for authors of backends.
//!
//! One line in a test file gives one `#[test]` per contract, and one that checks which were skipped:
//!
//! ```
//! use oci_core::memory::MemoryStore;
//! use oci_core::testkit::{StoreUnderTest, Stores};
//!
//! #[derive(Debug, Default)]
//! struct InMemory(MemoryStore);
//!
//! impl StoreUnderTest for InMemory {
//!     fn open(&self) -> Stores {
//!         Stores::both(self.0.clone())
//!     }
//! }
//!
//! oci_core::store_contracts!(InMemory::default(), skips = [
//!     "manifests_outlive_the_process",
//!     "uploads_resume_in_another_process",
//!     "a_damaged_blob_heals_when_pushed_again",
//! ]);
//! ```
//!
//! A case that needs what the store's [`Capabilities`] do not promise is skipped, and `skips` must name
//! exactly those: a contract that silently stops being checked fails the test `skipped_contracts`.
//!
//! [`BlobStore`]: crate::BlobStore
//! [`ManifestStore`]: crate::ManifestStore

// The kit is a test: it says what it expects.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a failed expectation is how a test kit reports"
)]

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use crate::digest::Digest;
use crate::store::{BlobStore, Capabilities, ManifestStore};

mod blobs;
mod cancellation;
mod content;
mod listings;
mod manifests;
mod model;
mod uploads;

pub use content::{Pieces, pieces};

/// A place that keeps data, empty at first, which stores can be opened on again and again.
///
/// Dropping it removes the data.
pub trait StoreUnderTest: Debug + Send + Sync + 'static {
    /// Opens stores on the place, as one more process would. Earlier ones stay open.
    fn open(&self) -> Stores;

    /// Runs a future. Override it for stores that need a runtime.
    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        crate::testing::block_on(future);
    }

    /// Damages the stored content of a blob behind the store's back so that its length changes, if that
    /// can be done; `false` if not.
    fn damage(&self, digest: &Digest) -> bool {
        let _ = digest;
        false
    }

    /// Whether [`StoreUnderTest::damage`] works.
    fn can_damage(&self) -> bool {
        false
    }
}

/// Both planes, opened on one place.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stores {
    /// The content plane.
    pub blobs: Arc<dyn BlobStore>,
    /// The metadata plane.
    pub manifests: Arc<dyn ManifestStore>,
}

impl Stores {
    /// One type that is both planes.
    pub fn both<S: BlobStore + ManifestStore>(store: S) -> Self {
        let store = Arc::new(store);
        Self {
            blobs: Arc::clone(&store) as Arc<dyn BlobStore>,
            manifests: store,
        }
    }

    /// Two types, one for each plane.
    pub fn new(blobs: impl BlobStore, manifests: impl ManifestStore) -> Self {
        Self {
            blobs: Arc::new(blobs),
            manifests: Arc::new(manifests),
        }
    }
}

/// Runs the contract called `name` on a fresh place, or skips it.
///
/// # Panics
/// If the contract does not hold, or there is none of that name.
pub fn run(name: &str, place: &dyn StoreUnderTest) {
    let case = CASES
        .iter()
        .find(|case| case.name == name)
        .expect("a contract of this name");
    if case.is_skipped(place) {
        return;
    }
    place.block_on((case.check)(place));
}

/// Checks that exactly the contracts in `expected` are skipped for this store.
///
/// # Panics
/// If not, naming the difference.
pub fn check_skips(place: &dyn StoreUnderTest, expected: &[&str]) {
    let mut skipped: Vec<_> = CASES
        .iter()
        .filter(|case| case.is_skipped(place))
        .map(|case| case.name)
        .collect();
    let mut expected = expected.to_vec();
    skipped.sort_unstable();
    expected.sort_unstable();
    assert_eq!(
        skipped, expected,
        "skipped contracts (left) are not those declared (right)"
    );
}

struct Case {
    name: &'static str,
    needs: Needs,
    check: fn(&dyn StoreUnderTest) -> Check<'_>,
}

impl Case {
    fn is_skipped(&self, place: &dyn StoreUnderTest) -> bool {
        let Capabilities {
            persistent,
            several_processes,
            resumes_without_reading,
            lists_content,
            ..
        } = place.open().blobs.capabilities();
        match self.needs {
            Needs::Nothing => false,
            Needs::Damage => !place.can_damage(),
            Needs::Listing => !lists_content,
            Needs::OtherProcess => !(persistent && several_processes && resumes_without_reading),
            Needs::Persistence => !persistent,
        }
    }
}

type Check<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// What a case cannot do without.
#[derive(Clone, Copy)]
enum Needs {
    Nothing,
    Damage,
    Listing,
    OtherProcess,
    Persistence,
}

/// Declares the table and the macro from one list, so that they cannot differ.
macro_rules! contracts {
    ($dollar:tt $($name:ident: $needs:ident, $check:path;)*) => {
        const CASES: &[Case] = &[
            $(Case {
                name: stringify!($name),
                needs: Needs::$needs,
                check: |place| Box::pin($check(place)),
            },)*
        ];

        /// One `#[test]` per contract of the storage traits; see [`testkit`](crate::testkit).
        ///
        /// The first argument makes a fresh [`StoreUnderTest`](crate::testkit::StoreUnderTest); `skips`
        /// names the contracts that the store's capabilities do not allow to be checked.
        #[macro_export]
        macro_rules! store_contracts {
            ($dollar place:expr) => { $crate::store_contracts!($dollar place, skips = []); };
            ($dollar place:expr, skips = [$dollar($dollar skip:expr),* $dollar(,)?]) => {
                $(
                    #[test]
                    fn $name() {
                        $crate::testkit::run(stringify!($name), &$dollar place);
                    }
                )*

                #[test]
                fn skipped_contracts() {
                    $crate::testkit::check_skips(&$dollar place, &[$dollar($dollar skip),*]);
                }
            };
        }
    };
}

contracts! { $
    a_blob_is_read_as_it_was_pushed: Nothing, blobs::round_trip;
    a_blob_is_read_by_range: Nothing, blobs::ranges;
    an_unknown_blob_is_not_found: Nothing, blobs::unknown;
    a_wrong_digest_leaves_nothing: Nothing, blobs::mismatch;
    another_algorithm_than_the_running_one_is_verified: Nothing, blobs::other_algorithm;
    the_same_blob_pushed_at_once_by_many: Nothing, blobs::same_blob_at_once;
    a_damaged_blob_heals_when_pushed_again: Damage, blobs::heals;
    content_is_not_hoarded: Nothing, blobs::backpressure;
    a_claim_needs_presence_and_size: Nothing, blobs::claims;
    a_blob_is_visible_only_where_it_was_linked: Nothing, blobs::visibility;

    an_upload_goes_on_after_its_writer_is_gone: Nothing, uploads::resume;
    uploads_resume_in_another_process: OtherProcess, uploads::resume_elsewhere;
    an_atomic_append_that_fails_does_not_count: Nothing, uploads::atomic_rolls_back;
    a_progressive_append_that_fails_keeps_its_prefix: Nothing, uploads::progressive_keeps;
    an_upload_has_one_writer: Nothing, uploads::one_writer;
    many_writers_never_interleave: Nothing, uploads::many_writers;
    an_aborted_upload_is_gone: Nothing, uploads::abort;
    an_upload_belongs_to_its_scope: Nothing, uploads::belongs_to_scope;
    idle_uploads_are_swept_and_counted: Nothing, uploads::sweep;

    a_manifest_is_read_as_it_was_put: Nothing, manifests::round_trip;
    a_manifest_needs_its_references: Nothing, manifests::references;
    tags_move_and_keep_their_preconditions: Nothing, manifests::tags;
    deleting_a_manifest_takes_its_tags: Nothing, manifests::delete;
    an_emptied_repository_is_still_known: Nothing, manifests::emptied;
    referrers_follow_their_manifests: Nothing, manifests::referrers;
    one_tag_put_at_once_by_many: Nothing, manifests::one_tag_at_once;
    manifests_outlive_the_process: Persistence, manifests::persistence;

    tags_are_paged_in_byte_order: Nothing, listings::tags;
    repositories_are_paged_in_byte_order: Nothing, listings::repositories;
    referrers_are_paged_in_byte_order: Nothing, listings::referrers;
    all_content_is_listed_in_byte_order: Listing, listings::content;
    what_is_sound_is_not_discarded: Listing, listings::discard;

    a_dropped_append_leaves_a_prefix: Nothing, cancellation::append;
    a_dropped_checkpoint_leaves_old_or_new: Nothing, cancellation::checkpoint;
    a_dropped_commit_happens_wholly_or_not: Nothing, cancellation::commit;
    a_dropped_put_happens_wholly_or_not: Nothing, cancellation::put;
    a_dropped_delete_happens_wholly_or_not: Nothing, cancellation::delete;

    any_sequence_of_operations_matches_the_model: Nothing, model::sequences;
}
