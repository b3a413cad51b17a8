//! `htpasswd` by its name, and `registryd user`. What Apache's program of Debian 12 answers stands in the
//! tables: exit codes, and messages word for word where they do not speak of its own limits.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests say what they expect, as tests do"
)]

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use oci_auth::htpasswd::HtpasswdTable;

fn run(dir: &Path, program: &str, arguments: &[&str], input: &str) -> Output {
    let path = dir.join(program);
    if !path.exists() {
        symlink(env!("CARGO_BIN_EXE_registryd"), &path).unwrap();
    }
    let mut child = Command::new(path)
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who needs no input may be gone by now.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn verifies(file: &str, user: &str, password: &str) -> bool {
    HtpasswdTable::parse(file.as_bytes())
        .0
        .verify(user, password)
}

#[test]
fn exit_codes_and_messages_are_those_of_apache() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("junk"), "junk\n").unwrap();
    let long = "a".repeat(256);
    let cases: &[(&[&str], &str, i32, &str)] = &[
        (&["-cbB", "f", "alice", "x", "-C", "4"], "", 2, "Usage:"),
        (
            &["-cbB", "-C", "4", "f", "alice", "x"],
            "",
            0,
            "Adding password for user alice\n",
        ),
        (
            &["-bBC4", "f", "alice", "y"],
            "",
            0,
            "Updating password for user alice\n",
        ),
        (
            &["-bBC4", "f", "bob", "z"],
            "",
            0,
            "Adding password for user bob\n",
        ),
        (
            &["-vb", "f", "alice", "y"],
            "",
            0,
            "Password for user alice correct.\n",
        ),
        (
            &["-vb", "f", "alice", "x"],
            "",
            3,
            "password verification failed\n",
        ),
        (&["-vb", "f", "zoe", "x"], "", 6, "User zoe not found\n"),
        (
            &["-v", "f", "alice"],
            "y\n",
            0,
            "Enter password: Password for user alice correct.\n",
        ),
        (
            &["-vi", "f", "alice"],
            "y\n",
            0,
            "Password for user alice correct.\n",
        ),
        (
            &["-D", "f", "bob"],
            "",
            0,
            "Deleting password for user bob\n",
        ),
        (&["-D", "f", "bob"], "", 0, "User bob not found\n"),
        (
            &["-bB", "no", "a", "b"],
            "",
            1,
            "htpasswd: cannot modify file no; use '-c' to create it\n",
        ),
        (
            &["-cbB", "no/f", "a", "b"],
            "",
            1,
            "htpasswd: cannot create file no/f",
        ),
        (
            &["-bB", "f", "a:b", "c"],
            "",
            6,
            "htpasswd: username contains illegal character ':'\n",
        ),
        (
            &["-nbB", &long, "x"],
            "",
            5,
            "htpasswd: username too long (> 255)\n",
        ),
        (
            &["-bB", "junk", "a", "b"],
            "",
            7,
            "htpasswd: The file junk does not appear to be a valid htpasswd file.\n",
        ),
        (
            &["-nbBC", "3", "a", "b"],
            "",
            3,
            "htpasswd: unable to encode with bcrypt",
        ),
        (
            &["-nbBC", "99", "a", "b"],
            "",
            3,
            "htpasswd: unable to encode with bcrypt",
        ),
        (
            &["-nB", "a"],
            "x\ny\n",
            3,
            "New password: Re-type new password: htpasswd: password verification error\n",
        ),
        (
            &["-cn", "f", "a"],
            "",
            2,
            "htpasswd: only one of -c -n -v -D may be specified\n",
        ),
        (
            &["-vD", "f", "a"],
            "",
            2,
            "htpasswd: only one of -c -n -v -D may be specified\n",
        ),
        (&["-x", "a"], "", 2, "htpasswd: illegal option -- x\nUsage:"),
        (&["-bn", "a"], "", 2, "Usage:"),
        (&[], "", 2, "Usage:"),
        (&["--help"], "", 2, "Usage:"),
        // Ours: what contradicts itself is refused, and what a registry would not accept is not written
        // in the first place.
        (&["-biB", "f", "a", "b"], "", 2, "htpasswd: only one of"),
        (&["-nbm", "a", "b"], "", 2, "htpasswd: -m is apr1"),
        (&["-nbs", "a", "b"], "", 2, "htpasswd: -s is SHA-1"),
        (&["-nbd", "a", "b"], "", 2, "htpasswd: -d is the old crypt"),
        (&["-nbp", "a", "b"], "", 2, "htpasswd: -p is no hash"),
    ];
    for (arguments, input, code, message) in cases {
        let output = run(dir.path(), "htpasswd", arguments, input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {said}");
        let whole = message.ends_with('\n');
        let fits = if whole {
            said == *message
        } else {
            said.starts_with(message)
        };
        assert!(fits, "{arguments:?}: {said}");
    }
    assert_eq!(
        std::fs::read_to_string(dir.path().join("junk")).unwrap(),
        "junk\n"
    );
}

#[test]
fn a_line_is_printed_with_the_empty_one_that_apache_adds() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, input) in [
        (&["-nbBC4", "alice", "s3cret"][..], ""),
        (&["-niBC4", "alice"], "s3cret\n"),
        (&["-nBC4", "alice"], "s3cret\ns3cret\n"),
        (&["-nbC4", "alice", "s3cret"], ""),
    ] {
        let output = run(dir.path(), "htpasswd", arguments, input);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.starts_with("alice:$2y$04$") && text.ends_with("\n\n"),
            "{arguments:?}: {text}"
        );
        assert!(verifies(&text, "alice", "s3cret"), "{arguments:?}");
    }
    let sub = run(
        dir.path(),
        "registryd",
        &["htpasswd", "-nbBC4", "a", "b"],
        "",
    );
    assert!(sub.stdout.starts_with(b"a:$2y$04$"));
}

#[test]
fn called_registry_it_answers_as_distributions_program() {
    let dir = tempfile::tempdir().unwrap();
    for (word, says) in [("-v", "registryd "), ("help", "Usage: ")] {
        let output = run(dir.path(), "registry", &[word], "");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains(says), "{text}");
    }
}

#[test]
fn a_changed_file_keeps_its_mode_and_everything_else_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    std::fs::write(&file, "# team\nbob:$2y$05$keep\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let output = run(dir.path(), "htpasswd", &["-bBC4", "f", "alice", "x"], "");
    assert!(output.status.success());
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.starts_with("# team\nbob:$2y$05$keep\nalice:$2y$04$"),
        "{text}"
    );
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
}

#[test]
fn users_are_added_listed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let user = |arguments: &[&str], input: &str| {
        let mut words = vec!["user"];
        words.extend(arguments);
        words.extend(["--file", "users"]);
        let output = run(dir.path(), "registry", &words, input);
        let out = String::from_utf8(output.stdout).unwrap();
        (
            output.status.success(),
            out,
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert!(user(&["add", "alice", "--password-stdin"], "s3cret\n").0);
    let (fine, password, _) = user(&["add", "bob", "--generate"], "");
    assert!(fine && password.trim().len() == 24, "{password}");
    let file = std::fs::read_to_string(dir.path().join("users")).unwrap();
    assert!(verifies(&file, "alice", "s3cret") && verifies(&file, "bob", password.trim()));
    assert_eq!(user(&["list"], "").1, "alice\nbob\n");
    assert!(!user(&["add", "carol"], "one\ntwo\n").0, "the two differ");
    assert!(user(&["remove", "alice"], "").0);
    let (fine, _, said) = user(&["remove", "alice"], "");
    assert!(!fine && said.contains("no user alice"), "{said}");
    assert_eq!(user(&["list"], "").1, "bob\n");
}

#[test]
fn the_configuration_says_which_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = "version: 0.1\nstorage: inmemory\nhttp: {addr: ':0'}\nauth: {htpasswd: {realm: r, path: people}}\n";
    std::fs::write(dir.path().join("c.yml"), config).unwrap();
    let words = [
        "user",
        "add",
        "alice",
        "--password-stdin",
        "--config",
        "c.yml",
    ];
    let output = run(dir.path(), "registryd", &words, "s3cret\n");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let file = std::fs::read_to_string(dir.path().join("people")).unwrap();
    assert!(verifies(&file, "alice", "s3cret"));
}

#[test]
fn twenty_edits_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let there = run(dir, "htpasswd", &["-cbBC4", "f", "old", "x"], "");
    assert!(there.status.success());
    let edit = |number: usize| {
        let user = format!("user{number}");
        let output = match number {
            0 => run(
                dir,
                "registryd",
                &["user", "remove", "old", "--file", "f"],
                "",
            ),
            1 => {
                let words = ["user", "add", &user, "--file", "f", "--password-stdin"];
                run(dir, "registryd", &words, "x\n")
            }
            _ => run(dir, "htpasswd", &["-bBC4", "f", &user, "x"], ""),
        };
        assert!(output.status.success(), "{output:?}");
    };
    // Both names of the program, before several threads want to make them.
    run(dir, "registryd", &["--version"], "");
    std::thread::scope(|scope| {
        for number in 0..20 {
            scope.spawn(move || edit(number));
        }
    });
    let file = std::fs::read_to_string(dir.join("f")).unwrap();
    let (table, _) = HtpasswdTable::parse(file.as_bytes());
    let mut users: Vec<_> = table.users().map(ToString::to_string).collect();
    let mut wanted: Vec<_> = (1..20).map(|number| format!("user{number}")).collect();
    users.sort();
    wanted.sort();
    assert_eq!(users, wanted);
}

#[test]
fn what_is_not_utf_8_is_refused_rather_than_changed() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let dir = tempfile::tempdir().unwrap();
    let odd = OsStr::from_bytes(b"al\xffice");
    for words in [
        ["htpasswd", "-nbBC4", "alice"].as_slice(),
        &["user", "remove", "--file", "f"],
        &["doctor"],
        &["healthcheck"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_registryd"))
            .args(words)
            .arg(odd)
            .current_dir(dir.path())
            .env_clear()
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains("UTF-8"), "{words:?}: {said}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}
