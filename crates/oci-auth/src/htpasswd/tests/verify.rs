//! How often and how expensively passwords are verified.

use std::pin::pin;

use super::*;

#[tokio::test]
async fn right_passwords_are_remembered_for_a_while_and_wrong_ones_never() {
    let (lab, authenticator) = Lab::with(&[("alice", "s3cret", 4)]);
    for _ in 0..3 {
        login(&authenticator, "alice", "s3cret").await.unwrap();
    }
    assert_eq!(lab.costs(), [4]);
    for _ in 0..3 {
        assert_wrong(login(&authenticator, "alice", "wrong").await);
        assert_wrong(login(&authenticator, "eve", "s3cret").await);
    }
    assert_eq!(lab.costs(), [4; 6]);

    lab.clock.advance(Duration::from_secs(299));
    login(&authenticator, "alice", "s3cret").await.unwrap();
    assert!(lab.costs().is_empty());
    lab.clock.advance(Duration::from_secs(1));
    login(&authenticator, "alice", "s3cret").await.unwrap();
    assert_eq!(lab.costs(), [4]);
}

#[tokio::test]
async fn a_remembered_password_opens_no_other_split() {
    let (_lab, authenticator) = Lab::with(&[("ab", "cde", 4), ("abc", "x", 4), ("a", "y", 4)]);
    login(&authenticator, "ab", "cde").await.unwrap();
    for (user, password) in [("a", "bcde"), ("abc", "de"), ("abcd", "e"), ("", "abcde")] {
        assert_wrong(login(&authenticator, user, password).await);
    }
}

/// The work of bcrypt in rounds.
fn work(costs: &[u32]) -> u64 {
    costs.iter().map(|cost| 1 << cost).sum()
}

#[tokio::test]
async fn wrong_passwords_cost_the_same_for_every_user_there_is_or_is_not() {
    let (lab, authenticator) = Lab::with(&[("alice", "a", 6), ("bob", "b", 6)]);
    for user in ["alice", "bob", "eve", "", "\u{0}"] {
        assert_wrong(login(&authenticator, user, "wrong").await);
        assert_eq!(lab.costs(), [6], "{user:?}");
    }
    // Also while a right password of the user is remembered.
    login(&authenticator, "alice", "a").await.unwrap();
    assert_eq!(lab.costs(), [6]);
    assert_wrong(login(&authenticator, "alice", "wrong").await);
    assert_eq!(lab.costs(), [6]);
}

#[tokio::test]
async fn different_costs_in_one_file_tell_nothing() {
    let lab = Lab::new();
    let mut text = file(&[("old", "a", 4), ("mid", "b", 6), ("new", "c", 7)]);
    text.push_str("weak:$apr1$x$y\n");
    std::fs::write(lab.path(), text).unwrap();
    let authenticator = lab.open();
    for user in ["old", "mid", "new", "weak", "nobody"] {
        assert_wrong(login(&authenticator, user, "wrong").await);
        assert_eq!(work(&lab.costs()), 1 << 7, "{user}");
    }
    // Who has the right password pays for no more than its own hash.
    login(&authenticator, "old", "a").await.unwrap();
    assert_eq!(lab.costs(), [4]);
}

#[tokio::test]
async fn a_file_without_users_makes_work_all_the_same() {
    let (lab, authenticator) = Lab::with(&[]);
    assert_eq!(lab.problems(), [ProblemKind::NoUsers]);
    assert_wrong(login(&authenticator, "eve", "x").await);
    assert_eq!(lab.costs(), [PasswordHash::DEFAULT_COST]);
}

/// Even if somebody found a password to the hash that stands in for a missing one.
#[tokio::test]
async fn nobody_logs_in_without_a_hash() {
    let lab = Lab::new();
    std::fs::write(lab.path(), file(&[("alice", "a", 4)]) + "weak:$apr1$x$y\n").unwrap();
    let check: Check = Arc::new(|_, _| true);
    let authenticator =
        HtpasswdAuthenticator::open_with(&lab.path(), lab.options(), check).unwrap();
    login(&authenticator, "alice", "x").await.unwrap();
    assert_wrong(login(&authenticator, "weak", "x").await);
    assert_wrong(login(&authenticator, "eve", "x").await);
}

#[tokio::test]
async fn what_bcrypt_would_cut_off_is_refused_unasked() {
    let password = "p".repeat(72);
    let (lab, authenticator) = Lab::with(&[("alice", &password, 4), ("bob", "secret", 4)]);
    login(&authenticator, "alice", &password).await.unwrap();
    lab.costs();
    for user in ["alice", "nobody"] {
        assert_wrong(login(&authenticator, user, &format!("{password}x")).await);
        assert_wrong(login(&authenticator, user, &"x".repeat(4096)).await);
    }
    assert_wrong(login(&authenticator, "bob", "secret\0x").await);
    assert!(lab.costs().is_empty());
}

#[tokio::test]
async fn equal_questions_at_once_are_one() {
    let lab = Lab::new();
    lab.write(&[("alice", "s3cret", 4)]);
    let gate = Gate::default();
    let check = gate.in_front_of(lab.check());
    let authenticator =
        HtpasswdAuthenticator::open_with(&lab.path(), lab.options(), check).unwrap();
    let mut right: Vec<_> = (0..20)
        .map(|_| Box::pin(login(&authenticator, "alice", "s3cret")))
        .collect();
    let mut wrong: Vec<_> = (0..20)
        .map(|_| Box::pin(login(&authenticator, "eve", "s3cret")))
        .collect();
    for future in right.iter_mut().chain(&mut wrong) {
        assert!(poll(future.as_mut()).is_pending());
    }
    gate.open();
    for future in right {
        assert_eq!(future.await.unwrap().name(), Some("alice"));
    }
    for future in wrong {
        assert_wrong(future.await);
    }
    assert_eq!(lab.costs(), [4, 4]);
}

#[tokio::test]
async fn a_full_queue_says_come_back() {
    let lab = Lab::new();
    lab.write(&[("alice", "s3cret", 4)]);
    let (gate, shut) = (Gate::default(), Arc::new(AtomicBool::new(false)));
    let check: Check = {
        let (gated, free) = (gate.in_front_of(lab.check()), lab.check());
        let shut = Arc::clone(&shut);
        Arc::new(move |password, hash| {
            let check = if shut.load(Ordering::SeqCst) {
                &gated
            } else {
                &free
            };
            check(password, hash)
        })
    };
    let options = lab.options().verification(2, 64);
    let authenticator = HtpasswdAuthenticator::open_with(&lab.path(), options, check).unwrap();
    login(&authenticator, "alice", "s3cret").await.unwrap();

    shut.store(true, Ordering::SeqCst);
    let passwords: Vec<_> = (0..200).map(|i| format!("wrong{i}")).collect();
    let mut waiting: Vec<_> = passwords
        .iter()
        .map(|password| Box::pin(login(&authenticator, "alice", password)))
        .collect();
    let mut refused = 0;
    waiting.retain_mut(|future| match poll(future.as_mut()) {
        Poll::Pending => true,
        Poll::Ready(result) => {
            let error = result.unwrap_err();
            assert_eq!(error.status(), StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(error.code(), ErrorCode::TooManyRequests);
            assert!(error.retry_after().is_some());
            refused += 1;
            false
        }
    });
    // Two at work and 64 waiting.
    assert_eq!((waiting.len(), refused), (66, 134));
    // Whoever is remembered does not wait, and who asks what is asked already needs no place.
    login(&authenticator, "alice", "s3cret").await.unwrap();
    let mut joined = Box::pin(login(&authenticator, "alice", "wrong65"));
    assert!(poll(joined.as_mut()).is_pending());

    gate.open();
    for future in waiting {
        assert_wrong(future.await);
    }
    assert_wrong(joined.await);
    assert_wrong(login(&authenticator, "alice", "one more").await);
}

#[tokio::test]
async fn verifications_that_nobody_waits_for_are_not_begun() {
    let lab = Lab::new();
    lab.write(&[("alice", "s3cret", 4)]);
    let gate = Gate::default();
    let check = gate.in_front_of(lab.check());
    let options = lab.options().verification(1, 64);
    let authenticator = HtpasswdAuthenticator::open_with(&lab.path(), options, check).unwrap();
    let mut first = Box::pin(login(&authenticator, "alice", "first"));
    assert!(poll(first.as_mut()).is_pending());
    for i in 0..50 {
        let password = format!("{i}");
        let gone = pin!(login(&authenticator, "alice", &password));
        assert!(poll(gone).is_pending());
    }
    gate.open();
    assert_wrong(first.await);
    // In the queue behind all of them.
    login(&authenticator, "alice", "s3cret").await.unwrap();
    assert_eq!(lab.costs(), [4, 4]);
}

#[tokio::test]
async fn a_verification_that_fails_is_503_and_the_next_one_works() {
    let lab = Lab::new();
    lab.write(&[("alice", "s3cret", 4)]);
    let (check, broken) = (lab.check(), AtomicBool::new(true));
    let check: Check = Arc::new(move |password, hash| {
        assert!(!broken.swap(false, Ordering::SeqCst), "on purpose");
        check(password, hash)
    });
    let options = lab.options().verification(1, 0);
    let authenticator = HtpasswdAuthenticator::open_with(&lab.path(), options, check).unwrap();
    let error = login(&authenticator, "alice", "s3cret").await.unwrap_err();
    assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
    login(&authenticator, "alice", "s3cret").await.unwrap();
}
