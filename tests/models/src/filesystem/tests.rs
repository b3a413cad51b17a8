use super::{ACKNOWLEDGED, Filesystem, Form, Grace, Mutant, PROMISED};
use crate::check::{assert_caught, assert_holds};

/// One digest, no links, everything inside the locks.
fn plain() -> Filesystem {
    Filesystem::default()
}

/// Two digests and their membership links, slow calls outside the locks.
fn shipped() -> Filesystem {
    Filesystem {
        uploader: false,
        collectors: 1,
        blobs: 2,
        links: true,
        form: Form::Shipped,
        ..Filesystem::default()
    }
}

#[test]
fn plain_within_grace() {
    assert_holds(
        Filesystem {
            grace: Grace::Honoured,
            ..plain()
        },
        295_317,
    );
}

#[test]
fn plain_without_clocks() {
    assert_holds(plain(), 371_927);
}

#[test]
fn plain_power_loss_with_an_uploader() {
    assert_holds(
        Filesystem {
            writers: 1,
            outages: 1,
            ..plain()
        },
        15_073,
    );
}

#[test]
fn plain_power_loss_with_two_writers() {
    let model = Filesystem {
        uploader: false,
        collectors: 1,
        outages: 1,
        ..plain()
    };
    assert_holds(model, 19_658);
}

#[test]
fn plain_power_lost_twice() {
    assert_holds(
        Filesystem {
            writers: 1,
            outages: 2,
            ..plain()
        },
        17_228,
    );
}

#[test]
fn shipped_two_repositories_within_grace() {
    let model = Filesystem {
        own_repositories: true,
        grace: Grace::Honoured,
        ..shipped()
    };
    assert_holds(model, 2_310_846);
}

#[test]
fn shipped_two_repositories_without_clocks() {
    assert_holds(
        Filesystem {
            own_repositories: true,
            ..shipped()
        },
        2_779_575,
    );
}

#[test]
fn shipped_one_repository_within_grace() {
    assert_holds(
        Filesystem {
            grace: Grace::Honoured,
            ..shipped()
        },
        5_407_891,
    );
}

#[test]
fn shipped_two_runs_without_clocks() {
    let model = Filesystem {
        collectors: 2,
        blobs: 1,
        own_repositories: true,
        ..shipped()
    };
    assert_holds(model, 451_189);
}

#[test]
fn shipped_two_runs_within_grace() {
    let model = Filesystem {
        collectors: 2,
        blobs: 1,
        own_repositories: true,
        grace: Grace::Honoured,
        ..shipped()
    };
    assert_holds(model, 317_118);
}

#[test]
fn shipped_power_loss_with_an_uploader() {
    let model = Filesystem {
        writers: 1,
        uploader: true,
        collectors: 2,
        outages: 1,
        ..shipped()
    };
    assert_holds(model, 863_806);
}

#[test]
fn shipped_power_loss_with_two_writers() {
    let model = Filesystem {
        blobs: 1,
        own_repositories: true,
        outages: 1,
        ..shipped()
    };
    assert_holds(model, 305_340);
}

macro_rules! mutants {
    ($($test:ident: $mutant:ident loses $invariant:ident in $model:expr;)*) => {$(
        #[test]
        fn $test() {
            assert_caught(Filesystem { mutant: Some(Mutant::$mutant), ..$model }, $invariant);
        }
    )*};
}

/// One writer and nothing but the collector within the grace period.
fn one_push_within_grace(base: &Filesystem) -> Filesystem {
    Filesystem {
        writers: 1,
        grace: Grace::Honoured,
        ..base.clone()
    }
}

fn power(base: &Filesystem) -> Filesystem {
    Filesystem {
        writers: 1,
        uploader: true,
        outages: 1,
        ..base.clone()
    }
}

mutants! {
    mutant_batch_without_lock: BatchWithoutLock loses ACKNOWLEDGED in plain();
    mutant_no_delta_log: NoDeltaLog loses ACKNOWLEDGED in plain();
    mutant_log_emptied_without_lock: LogEmptiedWithoutLock loses ACKNOWLEDGED in plain();
    mutant_commit_outside_section: CommitOutsideSection loses PROMISED in one_push_within_grace(&plain());
    mutant_head_outside_section: HeadOutsideSection loses PROMISED in one_push_within_grace(&plain());
    mutant_section_ends_before_publish: SectionEndsBeforePublish loses ACKNOWLEDGED in plain();
    mutant_put_outside_section: PutOutsideSection loses ACKNOWLEDGED in plain();
    mutant_claim_without_sync: ClaimWithoutSync loses ACKNOWLEDGED in power(&plain());
    mutant_trash_without_sync: TrashWithoutSync loses ACKNOWLEDGED in power(&plain());

    mutant_head_does_not_touch: HeadDoesNotTouch loses PROMISED in one_push_within_grace(&plain());
    mutant_head_touches_data_only: HeadTouchesDataOnly loses PROMISED in one_push_within_grace(&shipped());
    mutant_log_closes_over_first: LogClosesOverFirst loses ACKNOWLEDGED in shipped();
    mutant_put_checks_first: PutChecksFirst loses ACKNOWLEDGED in shipped();
    mutant_put_ignores_links: PutIgnoresLinks loses ACKNOWLEDGED in shipped();
    mutant_sync_before_stat: SyncBeforeStat loses ACKNOWLEDGED in power(&shipped());
    mutant_inode_number_reused: InodeNumberReused loses ACKNOWLEDGED in power(&shipped());
    mutant_sync_before_mark: SyncBeforeMark loses ACKNOWLEDGED in power(&shipped());
    mutant_log_follows_revision: LogFollowsRevision loses ACKNOWLEDGED in power(&shipped());

    shipped_mutant_batch_without_lock: BatchWithoutLock loses ACKNOWLEDGED in shipped();
    shipped_mutant_no_delta_log: NoDeltaLog loses ACKNOWLEDGED in shipped();
    shipped_mutant_log_emptied_without_lock: LogEmptiedWithoutLock loses ACKNOWLEDGED in shipped();
    shipped_mutant_commit_outside_section: CommitOutsideSection loses PROMISED in one_push_within_grace(&shipped());
    shipped_mutant_head_outside_section: HeadOutsideSection loses PROMISED in one_push_within_grace(&shipped());
    shipped_mutant_put_outside_section: PutOutsideSection loses ACKNOWLEDGED in shipped();
    shipped_mutant_claim_without_sync: ClaimWithoutSync loses ACKNOWLEDGED in power(&shipped());
    shipped_mutant_trash_without_sync: TrashWithoutSync loses ACKNOWLEDGED in power(&shipped());
}
