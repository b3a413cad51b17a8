//! When certificates are renewed, and when a failure is tried again.

use std::time::Duration;

use time::OffsetDateTime;

use super::super::Facts;

/// With a third of its life left, and up to a thirtieth earlier: by its fingerprint, so that the moment is
/// the same after a restart, and not the same for all registries that began together.
pub(crate) fn due(facts: &Facts) -> OffsetDateTime {
    let life = facts.not_after - facts.not_before;
    let [one, two, ..] = facts.fingerprint.bytes();
    let share = f64::from(u16::from_le_bytes([one, two])) / f64::from(u16::MAX);
    facts.not_after - life / 3 - life * (share / 30.0)
}

/// How long to wait after so many failures in a row.
///
/// Four attempts in the first hour: authorities count failed validations by the hour. What the authority
/// asks for goes first, within reason.
pub(crate) fn again_after(failures: u32, retry_after: Option<Duration>) -> Duration {
    let exponent = failures.saturating_sub(1).min(8);
    let wait = (FIRST * 4_u32.pow(exponent)).min(LONGEST);
    let mut random = [0; 1];
    // Without randomness, a half is as good as any.
    let share = getrandom::fill(&mut random).map_or(0x7f, |()| random[0]);
    let wait = wait + wait / 4 * u32::from(share) / u32::from(u8::MAX);
    match retry_after {
        Some(asked) => asked.clamp(FIRST, A_WEEK),
        None => wait,
    }
}

const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(6 * 3600);
const A_WEEK: Duration = Duration::from_secs(7 * 86400);
/// The shortest pause of the loop.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// How often the clock is looked at.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// How long an order of another process is waited for.
pub(super) const OTHERS: Duration = Duration::from_secs(20);
