//! Short forms of the kill tests; the `kill_cycles` program runs longer ones.

mod server;

use registry_crash_tests::{
    crash::Kill,
    cycles::{self, Plan},
    resume::Demand,
    resume_large,
};

#[test]
fn five_kills_under_eight_pushers_lose_nothing() {
    let scratch = server::scratch().unwrap();
    let mut machine = Kill::new(scratch.path().join("store"));
    let plan = Plan::new(5, Demand::Kept, 1);
    let report = cycles::run(
        &plan,
        &server::program().unwrap(),
        &mut machine,
        scratch.path(),
    )
    .unwrap();
    assert_eq!(report.cycles, 5, "{report}");
    assert!(report.acknowledged > 0, "nothing was pushed: {report}");
    assert!(
        report.violations.is_empty(),
        "{report}: {:#?}\nlog:\n{}\nevidence in {}",
        report.violations,
        report.log,
        scratch.keep().display()
    );
}

#[test]
fn a_killed_upload_resumes_without_being_read_again() {
    let scratch = server::scratch().unwrap();
    resume_large::run(&server::program().unwrap(), 192 << 20, scratch.path()).unwrap();
}
