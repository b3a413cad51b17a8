use super::{ACKNOWLEDGED, Mutant, Records};
use crate::check::{assert_caught, assert_holds};

/// One digest, no links, every state on its own.
fn raw() -> Records {
    Records {
        reduced: false,
        ..Records::default()
    }
}

/// Two digests and their membership links, equivalent states once.
fn wide() -> Records {
    Records {
        blobs: 2,
        links: true,
        sweepers: 0,
        ..Records::default()
    }
}

#[test]
fn raw_one_writer_two_collectors() {
    assert_holds(
        Records {
            writers: 1,
            collectors: 2,
            sweepers: 0,
            ..raw()
        },
        3_414,
    );
}

#[test]
fn raw_two_writers_two_collectors() {
    assert_holds(
        Records {
            collectors: 2,
            sweepers: 0,
            ..raw()
        },
        192_844,
    );
}

#[test]
fn raw_with_sweeper() {
    assert_holds(raw(), 41_664);
}

#[test]
fn raw_with_sweeper_after_collection() {
    assert_holds(
        Records {
            stocked: false,
            ..raw()
        },
        240_651,
    );
}

#[test]
fn raw_two_writers_two_collectors_sweeper() {
    assert_holds(
        Records {
            collectors: 2,
            ..raw()
        },
        2_253_270,
    );
}

#[test]
fn reduced_two_writers_two_collectors_sweeper() {
    assert_holds(
        Records {
            collectors: 2,
            ..Records::default()
        },
        332_297,
    );
}

#[test]
fn replacing_uploads_two_collectors_sweeper() {
    assert_holds(
        Records {
            collectors: 2,
            replaces: true,
            ..Records::default()
        },
        1_500_994,
    );
}

#[test]
fn wide_two_writers_two_collectors() {
    assert_holds(
        Records {
            collectors: 2,
            ..wide()
        },
        1_060_264,
    );
}

#[test]
fn wide_two_writers_replacing_uploads() {
    assert_holds(
        Records {
            replaces: true,
            ..wide()
        },
        934_175,
    );
}

#[test]
fn wide_two_writers_with_sweeper_after_collection() {
    assert_holds(
        Records {
            sweepers: 1,
            stocked: false,
            ..wide()
        },
        960_197,
    );
}

#[test]
fn wide_two_collectors_sweeper_replacing_uploads() {
    let model = Records {
        writers: 1,
        collectors: 2,
        sweepers: 1,
        replaces: true,
        ..wide()
    };
    assert_holds(model, 1_758_972);
}

macro_rules! mutants {
    ($($test:ident: $mutant:ident in $model:expr;)*) => {$(
        #[test]
        fn $test() {
            assert_caught(Records { mutant: Some(Mutant::$mutant), ..$model }, ACKNOWLEDGED);
        }
    )*};
}

fn two_collectors(base: &Records) -> Records {
    Records {
        collectors: 2,
        sweepers: 0,
        ..base.clone()
    }
}

mutants! {
    mutant_check_before_refs: CheckBeforeRefs in two_collectors(&raw());
    mutant_no_recheck: NoRecheck in two_collectors(&raw());
    mutant_extent_key_reused: ExtentKeyReused in two_collectors(&raw());
    mutant_no_nonce: NoNonce in two_collectors(&raw());
    mutant_sweep_without_bump: SweepWithoutBump in raw();
    mutant_sweep_without_nonce: NoNonce in raw();

    mutant_tombstone_purged: TombstonePurged in Records { stocked: false, collectors: 0, ..raw() };
    mutant_delete_refs_first: DeleteRefsFirst in raw();
    mutant_closure_first_only: ClosureFirstOnly in wide();
    mutant_links_unchecked: LinksUnchecked in wide();

    wide_mutant_check_before_refs: CheckBeforeRefs in wide();
    wide_mutant_no_recheck: NoRecheck in wide();
    wide_mutant_extent_key_reused: ExtentKeyReused in wide();
    wide_mutant_no_nonce: NoNonce in two_collectors(&wide());
    wide_mutant_sweep_without_bump: SweepWithoutBump in Records { sweepers: 1, ..wide() };
    wide_mutant_sweep_without_nonce: NoNonce in Records { sweepers: 1, stocked: false, ..wide() };
}
