use super::{INDEXED, KEPT, LEADS, Mutant, RESTORED, RecordsUntagged, WHOLE};
use crate::check::{assert_caught, assert_holds};

/// An index is pushed, too.
fn indexed() -> RecordsUntagged {
    RecordsUntagged {
        index: true,
        ..RecordsUntagged::default()
    }
}

/// A tag is moved away and another points there.
fn moved() -> RecordsUntagged {
    RecordsUntagged {
        mover: true,
        ..RecordsUntagged::default()
    }
}

/// That is moved back.
fn refused() -> RecordsUntagged {
    RecordsUntagged {
        refused: true,
        ..moved()
    }
}

fn two_collectors() -> RecordsUntagged {
    RecordsUntagged {
        collectors: 2,
        ..RecordsUntagged::default()
    }
}

#[test]
fn a_push_and_a_collector() {
    assert_holds(RecordsUntagged::default(), 1_933);
}

#[test]
fn a_push_an_index_and_a_collector_of_stale_references() {
    assert_holds(
        RecordsUntagged {
            stale: true,
            ..indexed()
        },
        87_111,
    );
}

#[test]
fn a_push_a_tag_that_moves_an_index_and_a_collector() {
    assert_holds(
        RecordsUntagged {
            mover: true,
            ..indexed()
        },
        101_398,
    );
}

#[test]
fn a_push_and_two_collectors_of_stale_references() {
    assert_holds(
        RecordsUntagged {
            stale: true,
            ..two_collectors()
        },
        215_354,
    );
}

#[test]
fn a_push_an_index_and_two_collectors() {
    assert_holds(
        RecordsUntagged {
            crashes: false,
            collectors: 2,
            ..indexed()
        },
        370_711,
    );
}

#[test]
fn a_push_a_tag_that_moves_a_delete_and_a_collector() {
    assert_holds(
        RecordsUntagged {
            deleter: true,
            ..moved()
        },
        568_234,
    );
}

#[test]
fn two_pushes_of_a_tag_each_and_a_collector() {
    assert_holds(
        RecordsUntagged {
            writers: 2,
            ..RecordsUntagged::default()
        },
        515_988,
    );
}

#[test]
fn two_pushes_of_a_tag_that_moves_and_a_collector() {
    assert_holds(
        RecordsUntagged {
            writers: 2,
            same_tag: true,
            crashes: false,
            ..moved()
        },
        2_764_524,
    );
}

#[test]
fn a_push_a_tag_that_is_moved_back_and_a_collector_of_stale_references() {
    assert_holds(
        RecordsUntagged {
            stale: true,
            ..refused()
        },
        19_449,
    );
}

#[test]
fn a_tag_that_is_moved_back_an_index_and_two_collectors() {
    assert_holds(
        RecordsUntagged {
            writers: 0,
            index: true,
            collectors: 2,
            ..refused()
        },
        31_544,
    );
}

macro_rules! mutants {
    ($($test:ident: $mutant:ident loses $invariant:ident in $model:expr;)*) => {$(
        #[test]
        fn $test() {
            let model = RecordsUntagged { mutant: Some(Mutant::$mutant), ..$model };
            assert_caught(model, $invariant);
        }
    )*};
}

mutants! {
    mutant_tags_not_swapped: TagsNotSwapped loses KEPT in RecordsUntagged::default();
    mutant_looks_before_condemned: LooksBeforeCondemned loses KEPT in RecordsUntagged::default();
    mutant_parents_not_listed: ParentsNotListed loses INDEXED in indexed();
    mutant_ends_by_name: EndsByName loses KEPT in RecordsUntagged::default();
    mutant_references_first: ReferencesFirst loses WHOLE in two_collectors();
    mutant_hint_after_revision: HintAfterRevision loses KEPT in RecordsUntagged::default();
    mutant_tag_read_late: TagReadLate loses LEADS in RecordsUntagged::default();
    mutant_index_looks_first: IndexLooksFirst loses INDEXED in indexed();
    mutant_index_leaves_condemned: IndexLeavesCondemned loses INDEXED in indexed();
    mutant_origin_not_referenced: OriginNotReferenced loses RESTORED in refused();
    mutant_origin_not_protected: OriginNotProtected loses RESTORED in refused();
    mutant_cleans_without_look: CleansWithoutLook loses KEPT in two_collectors();
    mutant_cleans_all_hints: CleansAllHints loses KEPT in two_collectors();
}
