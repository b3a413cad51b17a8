//! The stalls that end within seconds; the `timeouts` program runs all of them.

mod server;

use registry_crash_tests::stall::Case;

fn run(case: Case) -> anyhow::Result<String> {
    let scratch = server::scratch()?;
    case.run(&server::program()?, scratch.path())
}

#[test]
fn a_silent_connection_is_closed() {
    run(Case::Silence).unwrap();
}

#[test]
fn a_tls_handshake_that_does_not_end_is_closed() {
    run(Case::Handshake).unwrap();
}

#[test]
fn the_first_sigterm_lets_an_upload_finish() {
    run(Case::Drain).unwrap();
}

#[test]
fn the_second_sigterm_stops_at_once() {
    run(Case::SecondSignal).unwrap();
}

#[test]
fn a_refusal_is_seen_before_the_body_is_read() {
    run(Case::EarlyAnswer).unwrap();
}
