//! Changing a password file, as Apache's `htpasswd` does.

use super::hash::PasswordHash;

/// A user name that a password file can hold.
///
/// ```
/// use oci_auth::htpasswd::UserName;
///
/// assert!("alice".parse::<UserName>().is_ok());
/// assert!("alice:admin".parse::<UserName>().is_err());
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct UserName(String);

impl UserName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 255;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for UserName {
    type Err = UserNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(UserNameError::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(UserNameError::TooLong);
        }
        if text.contains(|c: char| c == ':' || c.is_control()) {
            return Err(UserNameError::Character);
        }
        let edge = |c: char| c.is_whitespace() || c == '\u{feff}';
        if text.starts_with('#') || text.starts_with(edge) || text.ends_with(edge) {
            return Err(UserNameError::Edge);
        }
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Display for UserName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a [`UserName`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UserNameError {
    /// It has a colon, which ends the name in the file, or a control character.
    #[error("a user name has no colon and no control characters")]
    Character,
    /// It would be read back as a comment, or without the space around it.
    #[error("a user name does not start with `#`, nor start or end with space")]
    Edge,
    /// There is no name.
    #[error("the user name is empty")]
    Empty,
    /// More than [`UserName::MAX_LEN`] bytes.
    #[error("a user name has at most 255 bytes")]
    TooLong,
}

/// The line that `htpasswd -nB` prints, without the line end.
pub fn line(user: &UserName, hash: &PasswordHash) -> String {
    format!("{user}:{hash}")
}

/// The contents of `file` with this hash for `user`.
///
/// The user's line is replaced where it stands, further lines of the same user go away, and a new
/// user comes at the end. Everything else stays byte for byte: comments, line ends, other users.
///
/// Writing it back in one step (a new file, renamed over the old one) is the caller's part; a
/// running [`HtpasswdAuthenticator`](super::HtpasswdAuthenticator) then takes it up within a second.
///
/// ```
/// use oci_auth::htpasswd::{self, HtpasswdTable, PasswordHash};
///
/// let hash = PasswordHash::new("s3cret", PasswordHash::DEFAULT_COST)?;
/// let file = htpasswd::set_user(b"# team\n", &"alice".parse()?, &hash);
/// assert!(file.starts_with(b"# team\nalice:$2y$10$"));
///
/// let (table, _) = HtpasswdTable::parse(&file);
/// assert!(table.verify("alice", "s3cret"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn set_user(file: &[u8], user: &UserName, hash: &PasswordHash) -> Vec<u8> {
    let mut new = Vec::with_capacity(file.len() + 128);
    let mut entry = Some(line(user, hash));
    for (old, start) in lines(file) {
        if !is_of(start, user) {
            new.extend_from_slice(old);
        } else if let Some(entry) = entry.take() {
            let lead = old.len() - start.len();
            // What comes before may be a byte order mark.
            new.extend_from_slice(old.get(..lead).unwrap_or_default());
            new.extend_from_slice(entry.as_bytes());
            new.extend_from_slice(if old.ends_with(b"\r\n") {
                b"\r\n"
            } else {
                b"\n"
            });
        }
    }
    if let Some(entry) = entry {
        if !new.is_empty() && !new.ends_with(b"\n") && new != BOM {
            new.push(b'\n');
        }
        new.extend_from_slice(entry.as_bytes());
        new.push(b'\n');
    }
    new
}

/// The contents of `file` without any line of `user`, or `None` if there was none.
pub fn remove_user(file: &[u8], user: &UserName) -> Option<Vec<u8>> {
    let mut new = Vec::with_capacity(file.len());
    let mut found = false;
    for (old, start) in lines(file) {
        if is_of(start, user) {
            found = true;
        } else {
            new.extend_from_slice(old);
        }
    }
    found.then_some(new)
}

/// Every line with its end, and the same line without what comes before the user name.
fn lines(file: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    file.split_inclusive(|byte| *byte == b'\n')
        .enumerate()
        .map(|(index, line)| {
            let start = match line.strip_prefix(BOM) {
                Some(rest) if index == 0 => rest,
                _ => line,
            };
            (line, start.trim_ascii_start())
        })
}

fn is_of(line: &[u8], user: &UserName) -> bool {
    line.strip_prefix(user.as_str().as_bytes())
        .is_some_and(|rest| rest.starts_with(b":"))
}

const BOM: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::HtpasswdTable;
    use super::*;

    fn some_hash() -> PasswordHash {
        "$2y$10$hmBVxWRJi.Twf0yTZzjfTeU0BG1okKeywFSIsyU0RCcQxVcFMWtDC"
            .parse()
            .unwrap()
    }

    fn set(file: &str, user: &str) -> String {
        let file = set_user(file.as_bytes(), &user.parse().unwrap(), &some_hash());
        String::from_utf8(file)
            .unwrap()
            .replace(some_hash().as_str(), "HASH")
    }

    #[test]
    fn a_user_is_added_or_replaced_in_place() {
        for (before, after) in [
            ("", "alice:HASH\n"),
            ("bob:x", "bob:x\nalice:HASH\n"),
            ("bob:x\n\n", "bob:x\n\nalice:HASH\n"),
            ("alice:x", "alice:HASH\n"),
            ("# a\nalice:x\r\nbob:y\r\n", "# a\nalice:HASH\r\nbob:y\r\n"),
            ("alice:x\nbob:y\nalice:z\n", "alice:HASH\nbob:y\n"),
            ("\u{feff}alice:x\n", "\u{feff}alice:HASH\n"),
            ("\u{feff}", "\u{feff}alice:HASH\n"),
            (
                "alice2:x\nalic:y\n#alice:z\n",
                "alice2:x\nalic:y\n#alice:z\nalice:HASH\n",
            ),
        ] {
            assert_eq!(set(before, "alice"), after, "{before:?}");
        }
    }

    #[test]
    fn a_user_is_removed_with_every_line() {
        let alice: UserName = "alice".parse().unwrap();
        let file = b"#c\nalice:1\nbob:2\nalice:3";
        assert_eq!(remove_user(file, &alice).unwrap(), b"#c\nbob:2\n");
        assert_eq!(remove_user(b"bob:2\n", &alice), None);
    }

    #[test]
    fn names_that_would_not_read_back_are_refused() {
        for (name, error) in [
            ("", UserNameError::Empty),
            ("a:b", UserNameError::Character),
            ("a\nb", UserNameError::Character),
            ("#a", UserNameError::Edge),
            (" a", UserNameError::Edge),
            ("a ", UserNameError::Edge),
            ("\u{feff}a", UserNameError::Edge),
            (&"a".repeat(256), UserNameError::TooLong),
        ] {
            assert_eq!(name.parse::<UserName>(), Err(error), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn who_is_set_reads_back_and_nobody_else_changes(
            names in proptest::collection::vec("[a-c]{1,2}", 0..6),
            ends in proptest::collection::vec("(\r\n|\n|\n\n|\n#a:x\n| \n)", 6),
            user in r"[a-c]{1,2}|[^\x00-\x20:#][^\x00-\x1f:]{0,10}",
        ) {
            let Ok(user) = user.parse::<UserName>() else { return Ok(()) };
            let other = PasswordHash::decoy(10);
            let mut file = String::new();
            for (name, end) in names.iter().zip(&ends) {
                file.extend([name, ":", other.as_str(), end]);
            }
            let new = set_user(file.as_bytes(), &user, &some_hash());
            let (before, _) = HtpasswdTable::parse(file.as_bytes());
            let (after, _) = HtpasswdTable::parse(&new);
            prop_assert_eq!(after.hash(user.as_str()), Some(&some_hash()));
            for name in before.users().filter(|name| *name != user.as_str()) {
                prop_assert_eq!(after.hash(name), before.hash(name));
            }
            let gone = remove_user(&new, &user).unwrap();
            let (after, _) = HtpasswdTable::parse(&gone);
            prop_assert_eq!(after.hash(user.as_str()), None);
        }
    }
}
