//! The users of a password file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::hash::{HashError, PasswordHash};
use super::problem::{Problem, ProblemKind};

/// The users of a password file and their bcrypt hashes.
///
/// A file has one `user:hash` per line. Blank lines, lines that begin with `#`, a byte order mark,
/// CRLF and space around a line do not matter; what stands after a second colon is not looked at.
/// Of two lines for one user the first counts, as with Apache.
///
/// ```
/// use oci_auth::htpasswd::{HtpasswdTable, ProblemKind};
///
/// let file = b"# team\n\
///     alice:$2y$05$28u2aZ9toolCqAEUDElOY.62z/8Dw5wPUWzbbmTY6YO6eOwdl/KVm\n\
///     bob:$apr1$kZ3a$abcdefghijklmnop\n";
/// let (table, problems) = HtpasswdTable::parse(file);
/// assert!(table.verify("alice", "s3cret"));
/// assert_eq!(problems[0].kind, ProblemKind::LowCost(5));
/// assert_eq!(problems[1].line, Some(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct HtpasswdTable {
    users: HashMap<Box<str>, User>,
    highest_cost: Option<u32>,
    known_kinds: usize,
    lines: usize,
}

impl HtpasswdTable {
    /// Reads a whole file. Whatever cannot be used is left out and reported.
    ///
    /// A user whose hash cannot be verified stays in the table, without a way to log in. At most 100
    /// problems are listed.
    pub fn parse(file: &[u8]) -> (Self, Vec<Problem>) {
        let mut table = Self::default();
        let mut problems = Problems::default();
        if file.starts_with(b"\xff\xfe") || file.starts_with(b"\xfe\xff") {
            table.lines = 1;
            problems.add(Problem::new(ProblemKind::Utf16));
            return (table, problems.finish());
        }
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        for (index, line) in file.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if !(line.is_empty() || line.starts_with(b"#")) {
                table.lines += 1;
                table.read_line(index + 1, line, &mut problems);
            }
        }
        if table.highest_cost.is_none() {
            problems.add(Problem::new(ProblemKind::NoUsers));
        }
        (table, problems.finish())
    }

    /// Whether `password` is that of `user`.
    ///
    /// For tools. It blocks for tens of milliseconds, and how long it takes tells whether the user
    /// exists; a server wants [`HtpasswdAuthenticator`](super::HtpasswdAuthenticator).
    pub fn verify(&self, user: &str, password: &str) -> bool {
        self.hash(user).is_some_and(|hash| hash.verify(password))
    }

    /// The names of all users in no particular order, also of those that cannot log in.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(AsRef::as_ref)
    }

    /// The hash of a user that can log in.
    pub fn hash(&self, user: &str) -> Option<&PasswordHash> {
        self.users.get(user)?.hash.as_ref()
    }

    /// The number of users, also of those that cannot log in.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there are no users at all.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The highest cost of a hash in the table, if anybody can log in.
    pub(super) fn highest_cost(&self) -> Option<u32> {
        self.highest_cost
    }

    /// Whether the file is something else altogether: it has lines, and in none of them a user with
    /// a hash of any known kind.
    pub(super) fn is_foreign(&self) -> bool {
        self.lines > 0 && self.known_kinds == 0
    }

    fn read_line(&mut self, number: usize, line: &[u8], problems: &mut Problems) {
        let mut report = |kind| problems.add(Problem::new(kind).at(number));
        if line.len() > MAX_LINE {
            return report(ProblemKind::LineTooLong);
        }
        let Ok(line) = std::str::from_utf8(line) else {
            return report(ProblemKind::NotUtf8);
        };
        let Some((user, rest)) = line.split_once(':') else {
            return report(ProblemKind::MissingColon);
        };
        if user.is_empty() {
            return report(ProblemKind::EmptyUser);
        }
        let mut report = |kind| problems.add(Problem::new(kind).at(number).of(user));
        let vacant = match self.users.entry(user.into()) {
            Entry::Vacant(vacant) => vacant,
            Entry::Occupied(first) => {
                let first = first.get().line;
                return report(ProblemKind::Duplicate { first });
            }
        };
        let hash = rest.split(':').next().unwrap_or_default().parse();
        if !matches!(
            hash,
            Err(HashError::NotBcrypt(super::HashKind::PlainOrUnknown))
        ) {
            self.known_kinds += 1;
        }
        let hash: Option<PasswordHash> = match hash {
            Ok(hash) => Some(hash),
            Err(error) => {
                report(match error {
                    HashError::Cost(cost) => ProblemKind::Cost(cost),
                    HashError::Malformed => ProblemKind::MalformedHash,
                    HashError::NotBcrypt(kind) => ProblemKind::Unsupported(kind),
                });
                None
            }
        };
        if let Some(hash) = &hash {
            if hash.cost() < PasswordHash::RECOMMENDED_MIN_COST {
                report(ProblemKind::LowCost(hash.cost()));
            }
            if hash.has_sign_bug() {
                report(ProblemKind::SignBug);
            }
            self.highest_cost = self.highest_cost.max(Some(hash.cost()));
        }
        vacant.insert(User { hash, line: number });
    }
}

#[derive(Clone, Debug)]
struct User {
    hash: Option<PasswordHash>,
    line: usize,
}

/// A list that does not grow with the size of a file full of nonsense.
#[derive(Default)]
struct Problems {
    listed: Vec<Problem>,
    more: usize,
}

impl Problems {
    fn add(&mut self, problem: Problem) {
        if self.listed.len() < MAX_PROBLEMS {
            self.listed.push(problem);
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<Problem> {
        if self.more > 0 {
            self.listed.push(Problem::new(ProblemKind::More(self.more)));
        }
        self.listed
    }
}

/// A user name and a hash have some three hundred bytes at most.
const MAX_LINE: usize = 4096;

const MAX_PROBLEMS: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{HashKind, Severity};
    use super::*;

    fn hash(password: &str) -> String {
        PasswordHash::new(password, 4).unwrap().to_string()
    }

    fn kinds(problems: &[Problem]) -> Vec<(Option<usize>, &ProblemKind)> {
        problems.iter().map(|p| (p.line, &p.kind)).collect()
    }

    #[test]
    fn what_does_not_matter_is_skipped() {
        let hash = hash("x");
        let file = format!(
            "\u{feff}# comment\r\n\r\n   \n  alice:{hash}  \r\nbob:{hash}:Bob, admin\r\n#eve:{hash}\n"
        );
        let (table, problems) = HtpasswdTable::parse(file.as_bytes());
        let mut users: Vec<_> = table.users().collect();
        users.sort_unstable();
        assert_eq!(users, ["alice", "bob"]);
        assert!(table.verify("alice", "x") && table.verify("bob", "x"));
        assert_eq!(
            kinds(&problems),
            [
                (Some(4), &ProblemKind::LowCost(4)),
                (Some(5), &ProblemKind::LowCost(4))
            ]
        );
    }

    #[test]
    fn every_problem_names_line_user_and_fix_and_no_secret() {
        use ProblemKind as P;

        let good = hash("x");
        let lines = [
            "apr1:$apr1$canary$canarycanarycanarycana".to_owned(),
            "sha:{SHA}canarycanarycanarycanarycan=".to_owned(),
            "crypt:canarycanaryc".to_owned(),
            "plain:canary".to_owned(),
            "canary".to_owned(),
            ":canary".to_owned(),
            format!("cut:{}", &good[..50]),
            format!("dear:{}", good.replacen("$04$", "$31$", 1)),
            format!("cheap:{}", good.replacen("$04$", "$03$", 1)),
            format!("signed:{}", good.replacen("2y", "2x", 1)),
            format!("nonascii:$2y$04${}é", "a".repeat(51)),
            format!("long:{}", "canary".repeat(200_000)),
            "apr1:canary".to_owned(),
        ];
        let mut file = lines.join("\n").into_bytes();
        file.extend_from_slice(b"\nlatin\xe91:canary\n");
        let (table, problems) = HtpasswdTable::parse(&file);
        assert_eq!(
            kinds(&problems),
            [
                (Some(1), &P::Unsupported(HashKind::Apr1)),
                (Some(2), &P::Unsupported(HashKind::Sha1)),
                (Some(3), &P::Unsupported(HashKind::Crypt)),
                (Some(4), &P::Unsupported(HashKind::PlainOrUnknown)),
                (Some(5), &P::MissingColon),
                (Some(6), &P::EmptyUser),
                (Some(7), &P::MalformedHash),
                (Some(8), &P::Cost(31)),
                (Some(9), &P::Cost(3)),
                (Some(10), &P::LowCost(4)),
                (Some(10), &P::SignBug),
                (Some(11), &P::MalformedHash),
                (Some(12), &P::LineTooLong),
                (Some(13), &P::Duplicate { first: 1 }),
                (Some(14), &P::NotUtf8),
            ]
        );
        assert_eq!(table.len(), 9);
        assert!(table.verify("signed", "x"));
        assert!(!table.verify("plain", "canary") && !table.verify("dear", "x"));
        let text: Vec<_> = problems
            .into_iter()
            .map(|problem| problem.in_file("/etc/users".as_ref()).to_string())
            .collect();
        assert!(
            text.iter().all(|line| !line.contains("canary")),
            "{text:#?}"
        );
        assert_eq!(
            text[0],
            "/etc/users, line 1, user \"apr1\": the user cannot log in: it is an Apache MD5 hash \
             (apr1), and only bcrypt is verified; set the password again with `htpasswd -B`"
        );
    }

    #[test]
    fn the_first_of_two_lines_counts() {
        let file = format!("alice:{}\nalice:{}\n", hash("first"), hash("second"));
        let (table, problems) = HtpasswdTable::parse(file.as_bytes());
        assert!(table.verify("alice", "first") && !table.verify("alice", "second"));
        assert!(
            problems.contains(
                &Problem::new(ProblemKind::Duplicate { first: 1 })
                    .at(2)
                    .of("alice")
            )
        );
    }

    #[test]
    fn problems_of_a_file_full_of_nonsense_are_counted() {
        let (table, problems) = HtpasswdTable::parse(&b"x\n".repeat(1000));
        assert_eq!(problems.len(), 101);
        // 1000 lines, and that nobody can log in.
        assert_eq!(problems[100].kind, ProblemKind::More(901));
        assert!(table.is_foreign());
    }

    #[test]
    fn foreign_files_are_told_from_empty_ones() {
        for foreign in [
            &b"\xff\xfea\0:\0"[..],
            b"version: 0.1\nlog:\n  level: info\n",
            b"\0\x01\x02",
        ] {
            let (table, problems) = HtpasswdTable::parse(foreign);
            assert!(table.is_foreign());
            assert!(problems.iter().any(|p| p.severity() == Severity::Error));
        }
        for empty in [&b""[..], b"\n\n", b"# nobody\n", b"\xef\xbb\xbf"] {
            let (table, problems) = HtpasswdTable::parse(empty);
            assert!(!table.is_foreign() && table.is_empty());
            assert_eq!(kinds(&problems), [(None, &ProblemKind::NoUsers)]);
        }
        // A file of Apache's default hashes is a password file, though nobody can log in.
        let (table, problems) = HtpasswdTable::parse(b"a:$apr1$x$y");
        assert!(!table.is_foreign());
        assert_eq!(problems.len(), 2);
    }

    #[test]
    fn user_names_are_escaped_for_the_log() {
        let (_, problems) = HtpasswdTable::parse("a\u{1b}[31m\r\u{202e}:x".as_bytes());
        let text = problems[0].to_string();
        assert!(
            !text.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(file in proptest::collection::vec(any::<u8>(), 0..400)) {
            let (table, problems) = HtpasswdTable::parse(&file);
            prop_assert!(table.len() <= file.len());
            for problem in problems {
                prop_assert!(!problem.to_string().contains('\n'));
            }
        }

        #[test]
        fn nothing_like_a_file_makes_it_panic(
            file in r"([a-c#]{0,2}:?(\$2[abxyz]?\$[0-9+]{0,2}\$?[./A-Za-z0-9é]{0,60}|\$apr1\$|\{SHA\})?:?\r?\n){0,8}",
        ) {
            let (table, _) = HtpasswdTable::parse(file.as_bytes());
            for user in table.users() {
                prop_assert!(!user.is_empty() && !user.contains(':'));
            }
        }
    }
}
