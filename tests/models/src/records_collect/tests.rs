use super::{ACKNOWLEDGED, Mutant, RecordsCollect};
use crate::check::{assert_caught, assert_holds};

fn small() -> RecordsCollect {
    RecordsCollect::default()
}

fn sweeping() -> RecordsCollect {
    RecordsCollect {
        sweeper: true,
        ..small()
    }
}

fn stale() -> RecordsCollect {
    RecordsCollect {
        stale: true,
        ..small()
    }
}

fn purging() -> RecordsCollect {
    RecordsCollect {
        purger: true,
        ..small()
    }
}

#[test]
fn two_writers_two_collectors() {
    assert_holds(
        RecordsCollect {
            collectors: 2,
            ..small()
        },
        912_532,
    );
}

#[test]
fn with_a_sweeper() {
    let model = RecordsCollect {
        lost: false,
        ..sweeping()
    };
    assert_holds(model, 3_744_106);
}

#[test]
fn with_stale_references() {
    assert_holds(stale(), 387_264);
}

#[test]
fn with_a_purger() {
    assert_holds(purging(), 89_466);
}

#[test]
fn one_writer_and_everybody() {
    assert_holds(
        RecordsCollect {
            writers: 1,
            collectors: 2,
            sweeper: true,
            stale: true,
            purger: true,
            crashes: true,
            ..small()
        },
        1_301_294,
    );
}

macro_rules! mutants {
    ($($test:ident: $mutant:ident in $model:expr;)*) => {$(
        #[test]
        fn $test() {
            let mutant = Some(Mutant::$mutant);
            assert_caught(RecordsCollect { mutant, ..$model }, ACKNOWLEDGED);
        }
    )*};
}

mutants! {
    mutant_list_before_condemn: ListBeforeCondemn in small();
    mutant_kill_keeps_fence: KillKeepsFence in small();
    mutant_retry_with_new_fence: RetryWithNewFence in small();
    mutant_deletes_what_is_there_now: DeletesWhatIsThereNow in small();
    mutant_sweep_without_fence: SweepWithoutFence in sweeping();
    mutant_sweep_without_look: SweepWithoutLook in sweeping();
    mutant_stale_without_fence: StaleWithoutFence in stale();
    mutant_revision_read_late: RevisionReadLate in stale();
    mutant_purge_unconditionally: PurgeUnconditionally in purging();
    mutant_purge_early: PurgeEarly in purging();
}
