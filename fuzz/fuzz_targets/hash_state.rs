//! Hash states that somebody else may have written: refused or restored, and never a panic later.
//!
//! The first byte says how the rest is used: raw, or as the body of a state whose checksum is right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_core::{Algorithm, Digest, Hasher, HasherState};

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else {
        return;
    };
    match mode % 4 {
        0 => restore(rest),
        1 => {
            // Past the checksum, to whatever reads the inner state.
            let mut state = b"OHS1".to_vec();
            state.extend_from_slice(rest);
            seal(&mut state);
            restore(&state);
        }
        2 => {
            // A true state with some bytes exchanged, and sealed again.
            let Some((at, rest)) = rest.split_first() else {
                return;
            };
            let mut hasher = Hasher::new(Algorithm::ALL[usize::from(*at) % 2]);
            hasher.update(rest);
            let mut state = hasher.state().as_bytes().to_vec();
            state.truncate(state.len() - CHECKSUM);
            for (byte, other) in state.iter_mut().skip(usize::from(*at)).zip(rest) {
                *byte ^= other;
            }
            seal(&mut state);
            restore(&state);
        }
        _ => pieces(rest),
    }
});

fn restore(bytes: &[u8]) {
    let Ok(state) = HasherState::from_bytes(bytes) else {
        return;
    };
    assert_eq!(state.as_bytes(), bytes);
    let mut hasher = Hasher::restore(&state).expect("a state that was accepted is restored");
    assert_eq!(hasher.length(), state.length());
    hasher.update(&[7; 300]);
    assert_eq!(hasher.length(), state.length() + 300);
    let again = hasher.state();
    assert_eq!(HasherState::from_bytes(again.as_bytes()), Ok(again));
    let algorithm = hasher.algorithm();
    assert_eq!(hasher.finish().algorithm(), algorithm);
}

/// Saving and restoring between any two pieces changes nothing.
fn pieces(input: &[u8]) {
    for algorithm in Algorithm::ALL {
        let mut hasher = Hasher::new(algorithm);
        for piece in input.chunks(usize::from(input.first().copied().unwrap_or(0)) + 1) {
            hasher.update(piece);
            let state = HasherState::from_bytes(hasher.state().as_bytes()).expect("our own state");
            hasher = Hasher::restore(&state).expect("our own state");
        }
        assert_eq!(hasher.length(), input.len() as u64);
        assert_eq!(hasher.finish(), Digest::of(algorithm, input));
    }
}

fn seal(state: &mut Vec<u8>) {
    let sum = Digest::sha256(state);
    state.extend_from_slice(&sum.as_bytes()[..CHECKSUM]);
}

const CHECKSUM: usize = 8;
