//! Stores that break their contracts, which the schedules have to bring to light.

use std::panic::catch_unwind;

use shuttle::scheduler::PctScheduler;

use super::every::{put_and_taken_blob, put_and_taken_link};
use super::manifests::{put_and_collection, put_and_delete, tag_and_collection_of_untagged};
use super::site::{Flaw, Travel};
use super::uploads::{close_and_cancel, two_writers};
use super::{PREEMPTIONS, Scenario, Seen, run};
use crate::records::keys;

/// How many schedules it takes until something is wrong.
fn schedules_until_found(flaw: Flaw, scenario: Scenario) -> Option<usize> {
    let seen = Seen::default();
    let failed = catch_unwind(|| {
        let pct = PctScheduler::new_from_seed(1, PREEMPTIONS, MOST);
        run(pct, Travel::InTurn, flaw, scenario, &seen);
    });
    let passed = seen.lock().unwrap().values().sum::<usize>();
    failed.is_err().then_some(passed + 1)
}

macro_rules! flaws {
    ($($test:ident: $flaw:expr, $scenario:ident;)*) => {$(
        #[test]
        fn $test() {
            let found = schedules_until_found($flaw, $scenario);
            println!("{found:?}");
            assert!(found.is_some());
        }
    )*};
}

flaws! {
    blobs_that_are_swapped_whatever_is_there: Flaw::NoCompare(keys::BLOBS), put_and_taken_blob;
    links_that_are_swapped_whatever_is_there: Flaw::NoCompare(keys::LINKS), put_and_taken_link;
    links_that_a_collection_swaps: Flaw::NoCompare(keys::LINKS), put_and_collection;
    manifests_that_are_swapped_whatever_is_there:
        Flaw::NoCompare(keys::MANIFESTS), tag_and_collection_of_untagged;
    tags_that_are_swapped_whatever_is_there: Flaw::NoCompare(keys::TAGS), put_and_delete;
    sessions_that_are_swapped_whatever_is_there: Flaw::NoCompare(keys::UPLOADS), close_and_cancel;
    sessions_that_two_writers_swap: Flaw::NoCompare(keys::UPLOADS), two_writers;
    listings_that_lack_a_reference: Flaw::LateListings, put_and_taken_blob;
}

const MOST: usize = 2_000;
