//! The passwords that were found right a short while ago, under keys that reveal nothing.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Stands for one user, one password and one hash of the file.
pub(super) type CacheKey = [u8; 32];

/// Makes [`CacheKey`]s that nobody outside this process can make or guess.
#[derive(Clone)]
pub(super) struct Keyer(Hmac<Sha256>);

impl Keyer {
    pub(super) fn new(secret: &[u8; 64]) -> Self {
        Self(Hmac::new(secret.into()))
    }

    /// The lengths keep `("ab", "c")` and `("a", "bc")` apart; the hash makes a key die with it.
    pub(super) fn key(&self, user: &str, password: &str, hash: &str) -> CacheKey {
        let mut mac = self.0.clone();
        for part in [user, password] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(hash.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Keyer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyer").finish_non_exhaustive()
    }
}

/// Keys that were accepted, each for a while after it was.
#[derive(Debug)]
pub(super) struct Accepted {
    since: HashMap<CacheKey, SystemTime>,
    /// The same in the order of acceptance.
    order: VecDeque<(CacheKey, SystemTime)>,
    capacity: usize,
    ttl: Duration,
}

impl Accepted {
    pub(super) fn new(capacity: usize, ttl: Duration) -> Self {
        Self {
            since: HashMap::new(),
            order: VecDeque::new(),
            capacity,
            ttl,
        }
    }

    pub(super) fn contains(&self, key: &CacheKey, now: SystemTime) -> bool {
        self.since
            .get(key)
            .is_some_and(|since| self.is_alive(*since, now))
    }

    pub(super) fn insert(&mut self, key: CacheKey, now: SystemTime) {
        while let Some((_, since)) = self.order.front() {
            if self.order.len() < self.capacity && self.is_alive(*since, now) {
                break;
            }
            if let Some((oldest, since)) = self.order.pop_front() {
                // Unless it was accepted once more since.
                if self.since.get(&oldest) == Some(&since) {
                    self.since.remove(&oldest);
                }
            }
        }
        if self.capacity > 0 {
            self.since.insert(key, now);
            self.order.push_back((key, now));
        }
    }

    /// A clock that was set back ends everything: better one more verification than a longer life.
    fn is_alive(&self, since: SystemTime, now: SystemTime) -> bool {
        now.duration_since(since).is_ok_and(|age| age < self.ttl)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(300);

    #[test]
    fn entries_end_with_their_time() {
        let mut accepted = Accepted::new(10, TTL);
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        accepted.insert([1; 32], start);
        assert!(accepted.contains(&[1; 32], start));
        assert!(accepted.contains(&[1; 32], start + TTL - Duration::from_nanos(1)));
        assert!(!accepted.contains(&[1; 32], start + TTL));
        assert!(!accepted.contains(&[1; 32], start - Duration::from_secs(1)));
        assert!(!accepted.contains(&[2; 32], start));
        // Accepted again after it ended, it does not end with its first life.
        accepted.insert([1; 32], start + TTL);
        accepted.insert([2; 32], start + TTL + Duration::from_secs(1));
        assert!(accepted.contains(&[1; 32], start + TTL + Duration::from_secs(2)));
    }

    #[test]
    fn the_oldest_goes_when_it_is_full() {
        let mut accepted = Accepted::new(3, TTL);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for i in 0..5 {
            accepted.insert([i; 32], now + Duration::from_secs(i.into()));
        }
        let now = now + Duration::from_secs(5);
        let alive: Vec<u8> = (0..5)
            .filter(|i| accepted.contains(&[*i; 32], now))
            .collect();
        assert_eq!(alive, [2, 3, 4]);
    }

    #[test]
    fn a_key_accepted_twice_lives_by_the_second_time() {
        let mut accepted = Accepted::new(2, TTL);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (id, second) in [(1, 0), (1, 1), (2, 2)] {
            accepted.insert([id; 32], now + Duration::from_secs(second));
        }
        let now = now + Duration::from_secs(2);
        assert!(accepted.contains(&[1; 32], now) && accepted.contains(&[2; 32], now));
    }

    #[test]
    fn a_new_hash_makes_a_new_key() {
        let keyer = Keyer::new(&[7; 64]);
        assert_ne!(keyer.key("a", "b", "old"), keyer.key("a", "b", "new"));
    }

    proptest! {
        /// Against a plain list, also with a clock that jumps.
        #[test]
        fn nothing_lives_too_long_and_memory_is_bounded(
            steps in proptest::collection::vec((0..6u8, -400i64..400, any::<bool>()), 0..60),
            capacity in 0..5usize,
        ) {
            let mut accepted = Accepted::new(capacity, TTL);
            let mut last: HashMap<u8, u64> = HashMap::new();
            let mut clock = 1_000_000u64;
            for (id, step, insert) in steps {
                clock = clock.saturating_add_signed(step);
                let now = SystemTime::UNIX_EPOCH + Duration::from_secs(clock);
                if insert {
                    accepted.insert([id; 32], now);
                    last.insert(id, clock);
                    prop_assert_eq!(accepted.contains(&[id; 32], now), capacity > 0);
                } else if accepted.contains(&[id; 32], now) {
                    let since = last[&id];
                    prop_assert!(since <= clock && clock - since < TTL.as_secs());
                }
                prop_assert!(accepted.since.len() <= capacity);
                prop_assert!(accepted.order.len() <= capacity);
            }
        }

        #[test]
        fn no_other_split_of_the_same_bytes_has_the_same_key(text in "[ -~]{1,80}", hash_len in 0..20usize) {
            let keyer = Keyer::new(&[7; 64]);
            let hash_at = text.len().saturating_sub(hash_len);
            let mut seen = std::collections::HashSet::new();
            for user_at in 0..=hash_at {
                let (user, password) = text[..hash_at].split_at(user_at);
                prop_assert!(seen.insert(keyer.key(user, password, &text[hash_at..])));
            }
            for password_at in 0..=text.len() {
                let (password, hash) = text.split_at(password_at);
                // The empty user with the whole rest as password was above if the hash is the same.
                if password_at != hash_at {
                    prop_assert!(seen.insert(keyer.key("", password, hash)));
                }
            }
        }

        #[test]
        fn keys_depend_on_every_part(
            a in (".{0,8}", ".{0,8}", ".{0,8}"),
            b in (".{0,8}", ".{0,8}", ".{0,8}"),
        ) {
            let keyer = Keyer::new(&[7; 64]);
            let key = |(user, password, hash): &(String, String, String)| keyer.key(user, password, hash);
            prop_assert_eq!(key(&a) == key(&b), a == b);
            prop_assert_ne!(key(&a), Keyer::new(&[8; 64]).key(&a.0, &a.1, &a.2));
        }
    }
}
