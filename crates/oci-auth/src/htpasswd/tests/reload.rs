//! Changes of the file while it is served.

use std::path::Path;
use std::pin::pin;
use std::sync::atomic::AtomicUsize;

use super::*;

#[test]
fn files_that_cannot_be_opened_are_named() {
    let lab = Lab::new();
    let open = || HtpasswdAuthenticator::open(lab.path(), lab.options()).unwrap_err();
    let error = open();
    assert!(error.is_missing());
    assert!(error.to_string().contains("htpasswd -B -c"), "{error}");

    std::fs::write(lab.path(), "version: 0.1\nlog:\n  level: info\n").unwrap();
    let error = open();
    assert!(matches!(error, HtpasswdError::Foreign { .. }), "{error}");
    assert!(!error.is_missing());

    std::fs::remove_file(lab.path()).unwrap();
    std::fs::create_dir(lab.path()).unwrap();
    let error = open();
    assert!(error.to_string().contains("users/htpasswd"), "{error}");
}

#[tokio::test]
async fn a_changed_file_counts_at_once_and_not_more_often_than_every_second() {
    let (lab, authenticator) = Lab::with(&[("alice", "old", 4), ("bob", "b", 4)]);
    login(&authenticator, "alice", "old").await.unwrap();
    login(&authenticator, "bob", "b").await.unwrap();
    lab.replace(&[("alice", "new", 4), ("carol", "c", 4)]);

    lab.clock.advance(Duration::from_millis(999));
    login(&authenticator, "alice", "old").await.unwrap();
    lab.clock.advance(Duration::from_millis(1));
    assert_wrong(login(&authenticator, "alice", "old").await);
    assert_wrong(login(&authenticator, "bob", "b").await);
    login(&authenticator, "alice", "new").await.unwrap();
    login(&authenticator, "carol", "c").await.unwrap();
    assert_eq!(lab.problems(), []);
}

#[tokio::test]
async fn an_idle_registry_sees_a_change_with_the_first_request() {
    let (lab, authenticator) = Lab::with(&[("alice", "a", 4)]);
    login(&authenticator, "alice", "a").await.unwrap();
    lab.write(&[("bob", "b", 4)]);
    lab.clock.advance(Duration::from_secs(60));
    // Not only the request that looks has to wait, but all of them.
    let (one, two, three) = tokio::join!(
        login(&authenticator, "alice", "a"),
        login(&authenticator, "alice", "a"),
        login(&authenticator, "bob", "b"),
    );
    assert_wrong(one);
    assert_wrong(two);
    three.unwrap();
}

#[tokio::test]
async fn a_touched_file_loses_nothing_that_was_learned() {
    let (lab, authenticator) = Lab::with(&[("alice", "a", 4)]);
    login(&authenticator, "alice", "a").await.unwrap();
    let bytes = std::fs::read_to_string(lab.path()).unwrap();
    std::fs::write(lab.path(), bytes).unwrap();
    lab.clock.advance(Duration::from_secs(10));
    login(&authenticator, "alice", "a").await.unwrap();
    assert_eq!(lab.costs(), [4]);
}

/// As Kubernetes changes a mounted Secret: `users` → `..data/users`, `..data` → a new directory.
#[cfg(unix)]
#[tokio::test]
async fn swapped_links_are_followed() {
    use std::os::unix::fs::symlink;
    let lab = Lab::new();
    let at = |name: &str| lab.directory.path().join(name);
    let secret = |name: &str, users: &[(&str, &str, u32)]| {
        std::fs::create_dir(at(name)).unwrap();
        std::fs::write(at(name).join("users"), file(users)).unwrap();
        let _ = std::fs::remove_file(at("..data"));
        symlink(name, at("..data")).unwrap();
    };
    secret("..1", &[("alice", "a", 4)]);
    symlink("..data/users", lab.path()).unwrap();
    let authenticator = lab.open();
    login(&authenticator, "alice", "a").await.unwrap();
    // Long after, so that the first file has a stamp to compare with.
    lab.clock.advance(Duration::from_secs(10));
    login(&authenticator, "alice", "a").await.unwrap();

    secret("..2", &[("alice", "b", 4)]);
    lab.tick();
    assert_wrong(login(&authenticator, "alice", "a").await);
    login(&authenticator, "alice", "b").await.unwrap();
}

#[tokio::test]
async fn a_file_that_goes_or_breaks_changes_nothing_and_is_reported_once() {
    type Damage = fn(&Path);
    let (lab, authenticator) = Lab::with(&[("alice", "a", 4)]);
    let breaks: [(&str, Damage); 4] = [
        ("there is no password file", |path| {
            std::fs::remove_file(path).unwrap();
        }),
        ("is a directory", |path| {
            std::fs::create_dir(path).unwrap();
        }),
        ("line 1: no colon in the line", |path| {
            std::fs::remove_dir(path).unwrap();
            std::fs::write(path, "<html>").unwrap();
        }),
        ("is UTF-16", |path| {
            std::fs::write(path, b"\xff\xfea\0:\0$\x002\0").unwrap();
        }),
    ];
    for (text, damage) in breaks {
        damage(&lab.path());
        for _ in 0..3 {
            lab.tick();
            login(&authenticator, "alice", "a").await.unwrap();
            assert_wrong(login(&authenticator, "eve", "x").await);
        }
        let problems = lab.problems();
        let [ProblemKind::NotReloaded(reason)] = &problems[..] else {
            panic!("{problems:?}");
        };
        assert!(reason.contains(text), "{reason}");
        assert!(reason.contains(lab.path().to_str().unwrap()), "{reason}");
    }
    lab.write(&[("bob", "b", 4)]);
    lab.clock.advance(Duration::from_secs(60));
    login(&authenticator, "bob", "b").await.unwrap();
    assert_wrong(login(&authenticator, "alice", "a").await);
    assert_eq!(lab.problems(), []);
    // The same once more is news again.
    for _ in 0..2 {
        std::fs::remove_file(lab.path()).unwrap();
        lab.tick();
        login(&authenticator, "bob", "b").await.unwrap();
        assert_eq!(lab.problems().len(), 1);
        lab.write(&[("bob", "b", 4)]);
        lab.tick();
        login(&authenticator, "bob", "b").await.unwrap();
    }
}

#[tokio::test]
async fn bad_lines_of_a_new_file_are_reported_and_the_others_count() {
    let (lab, authenticator) = Lab::with(&[("alice", "a", 4), ("bob", "b", 4)]);
    let new = file(&[("bob", "b", 4)]) + "alice:$apr1$x$y\nnonsense\n";
    std::fs::write(lab.path(), new).unwrap();
    lab.clock.advance(Duration::from_secs(60));
    for _ in 0..3 {
        lab.tick();
        assert_wrong(login(&authenticator, "alice", "a").await);
        login(&authenticator, "bob", "b").await.unwrap();
    }
    let problems: Vec<_> = lab.problems();
    assert_eq!(
        problems,
        [
            ProblemKind::Unsupported(HashKind::Apr1),
            ProblemKind::MissingColon
        ]
    );
}

#[tokio::test]
async fn an_emptied_file_shuts_everybody_out() {
    let (lab, authenticator) = Lab::with(&[("alice", "a", 4)]);
    login(&authenticator, "alice", "a").await.unwrap();
    std::fs::write(lab.path(), "").unwrap();
    set_time(&lab);
    for _ in 0..2 {
        lab.tick();
        login(&authenticator, "alice", "a").await.unwrap();
        assert_eq!(lab.problems(), []);
    }
    lab.tick();
    assert_wrong(login(&authenticator, "alice", "a").await);
    assert_eq!(lab.problems(), [ProblemKind::NoUsers]);
}

/// As an editor or Apache's `htpasswd -D` writes: emptied first, then filled from the beginning.
#[tokio::test]
async fn a_file_rewritten_in_place_locks_nobody_out_in_between() {
    let (lab, authenticator) = Lab::with(&[("alice", "a", 4), ("bob", "b", 4)]);
    let whole = std::fs::read_to_string(lab.path()).unwrap();
    for end in [0, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        // However long ago the last change was.
        lab.clock.advance(Duration::from_secs(60));
        login(&authenticator, "bob", "b").await.unwrap();
        set_time(&lab);
        std::fs::write(lab.path(), &whole[..end]).unwrap();
        set_time(&lab);
        lab.tick();
        login(&authenticator, "alice", "a").await.unwrap();
        login(&authenticator, "bob", "b").await.unwrap();
        std::fs::write(lab.path(), &whole).unwrap();
        lab.tick();
        login(&authenticator, "bob", "b").await.unwrap();
    }
    assert!(
        lab.problems()
            .iter()
            .all(|problem| matches!(problem, ProblemKind::NotReloaded(_)))
    );
}

/// Each look met it empty, and the third one took that for what was meant.
#[tokio::test]
async fn a_file_rewritten_over_and_over_locks_nobody_out() {
    let (lab, authenticator) = Lab::with(&[("alice", "a", 4), ("bob", "b", 4)]);
    let whole = std::fs::read_to_string(lab.path()).unwrap();
    for _ in 0..5 {
        std::fs::write(lab.path(), &whole).unwrap();
        std::fs::write(lab.path(), "").unwrap();
        set_time(&lab);
        lab.tick();
        login(&authenticator, "bob", "b").await.unwrap();
    }
}

/// A user who is removed in place is refused as soon as nobody seems to write any more, even if the
/// times of the file are ahead of the clock.
#[tokio::test]
async fn a_user_removed_in_place_is_refused_two_seconds_later() {
    for ahead in [false, true] {
        let (lab, authenticator) = Lab::with(&[("alice", "a", 4), ("bob", "b", 4)]);
        login(&authenticator, "bob", "b").await.unwrap();
        lab.write(&[("alice", "a", 4)]);
        set_time(&lab);
        if ahead {
            let file = std::fs::File::options().write(true).open(lab.path());
            let far = SystemTime::now() + Duration::from_secs(3600);
            file.unwrap().set_modified(far).unwrap();
        }
        lab.tick();
        login(&authenticator, "bob", "b").await.unwrap();
        for _ in 0..3 {
            lab.tick();
            login(&authenticator, "alice", "a").await.unwrap();
        }
        assert_wrong(login(&authenticator, "bob", "b").await);
    }
}

/// Gives the file the time of the lab's clock.
fn set_time(lab: &Lab) {
    let file = std::fs::File::options().write(true).open(lab.path());
    file.unwrap().set_modified(lab.clock.now()).unwrap();
}

/// A verification under way belongs to the file it began with, and so does what it finds.
#[tokio::test]
async fn a_verification_that_outlives_its_file_is_not_remembered() {
    let lab = Lab::new();
    lab.write(&[("alice", "a", 4)]);
    let gate = Gate::default();
    let check = gate.in_front_of(lab.check());
    let authenticator =
        HtpasswdAuthenticator::open_with(&lab.path(), lab.options(), check).unwrap();
    let mut before = Box::pin(login(&authenticator, "alice", "a"));
    assert!(poll(before.as_mut()).is_pending());
    lab.replace(&[("bob", "b", 4)]);
    lab.tick();
    let mut after = Box::pin(login(&authenticator, "alice", "a"));
    assert!(poll(after.as_mut()).is_pending());
    gate.open();
    before.await.unwrap();
    assert_wrong(after.await);
    assert_wrong(login(&authenticator, "alice", "a").await);
}

/// A pool that loses what it is given, as one that is being shut down.
#[derive(Debug)]
struct Lossy;

impl BlockingPool for Lossy {
    fn execute(&self, task: BlockingTask) {
        drop(task);
    }
}

/// A pool that counts.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

impl BlockingPool for Counting {
    fn execute(&self, task: BlockingTask) {
        self.0.fetch_add(1, Ordering::SeqCst);
        task();
    }
}

#[tokio::test]
async fn the_file_is_looked_at_once_a_second_and_only_for_requests_with_credentials() {
    let lab = Lab::new();
    lab.write(&[("alice", "a", 4)]);
    let pool = Arc::new(Counting::default());
    let authenticator = lab.open_with(
        lab.options()
            .blocking_pool(Arc::clone(&pool) as Arc<dyn BlockingPool>),
    );
    for looks in 0..3 {
        for _ in 0..5 {
            login(&authenticator, "alice", "a").await.unwrap();
            assert_eq!(pool.0.load(Ordering::SeqCst), looks);
        }
        lab.tick();
        authenticator.authenticate(&request(None)).await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_look_at_the_file_holds_nobody_up() {
    let lab = Lab::new();
    lab.write(&[("alice", "a", 4)]);
    let authenticator = lab.open_with(lab.options().blocking_pool(Arc::new(Lossy)));
    for _ in 0..3 {
        lab.tick();
        login(&authenticator, "alice", "a").await.unwrap();
    }
}

#[tokio::test]
async fn a_host_that_panics_over_a_problem_still_gets_the_new_file() {
    let lab = Lab::new();
    lab.write(&[("alice", "a", 10)]);
    let authenticator = lab.open_with(lab.options().on_problem(|problem| panic!("{problem}")));
    let new = file(&[("bob", "b", 10)]) + "nonsense\n";
    std::fs::write(lab.path(), new).unwrap();
    lab.clock.advance(Duration::from_secs(60));
    assert_wrong(login(&authenticator, "alice", "a").await);
    login(&authenticator, "bob", "b").await.unwrap();
}

#[tokio::test]
async fn a_request_that_goes_away_takes_no_look_with_it() {
    let (lab, authenticator) = Lab::with(&[("alice", "a", 4)]);
    lab.replace(&[("bob", "b", 4)]);
    lab.tick();
    {
        let gone = pin!(login(&authenticator, "alice", "a"));
        let _ = poll(gone);
    }
    assert_wrong(login(&authenticator, "alice", "a").await);
    login(&authenticator, "bob", "b").await.unwrap();
}
