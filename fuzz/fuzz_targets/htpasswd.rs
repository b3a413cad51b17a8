//! Password files: any file is read without a panic, and to the same users each time.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use oci_auth::htpasswd::HtpasswdTable;

fuzz_target!(|file: &[u8]| {
    let (table, problems) = HtpasswdTable::parse(file);
    let lines = file.split(|byte| *byte == b'\n').count();
    assert!(table.len() + problems.len() <= 2 * lines + 2);
    assert_eq!(table.is_empty(), table.len() == 0);
    assert_eq!(table.users().count(), table.len());
    for user in table.users() {
        assert!(!user.contains([':', '\n']));
        let Some(hash) = table.hash(user) else {
            // Known, but without a way to log in, and somebody was told.
            assert!(!problems.is_empty());
            continue;
        };
        // Verifying is slow by design: that it does not panic is tried with the cheap ones.
        if hash.cost() <= 5 {
            let _ = hash.verify("password");
        }
    }
    for problem in &problems {
        assert!(!problem.to_string().is_empty());
    }
    let (again, repeated) = HtpasswdTable::parse(file);
    let names = |table: &HtpasswdTable| table.users().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(names(&again), names(&table));
    assert_eq!(repeated.len(), problems.len());
});
