//! One bcrypt hash as it stands in a password file.

use std::fmt;
use std::str::FromStr;

/// A bcrypt hash whose cost is one that this crate verifies.
///
/// `Display` writes it for a password file; `Debug` hides it.
///
/// ```
/// use oci_auth::htpasswd::PasswordHash;
///
/// let hash = PasswordHash::new("s3cret", PasswordHash::MIN_COST)?;
/// assert!(hash.to_string().starts_with("$2y$04$"));
/// assert!(hash.verify("s3cret"));
/// assert!(!hash.verify("secret"));
/// # Ok::<(), oci_auth::htpasswd::PasswordError>(())
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct PasswordHash {
    text: Box<str>,
    cost: u32,
}

impl PasswordHash {
    /// The lowest cost that is verified: bcrypt knows no lower.
    pub const MIN_COST: u32 = 4;
    /// The highest cost that is verified, about a second of one core. Each step doubles it, so that
    /// a single request at bcrypt's own limit of 31 would take days.
    pub const MAX_COST: u32 = 14;
    /// The cost of new hashes: some 50 ms of one core.
    pub const DEFAULT_COST: u32 = 10;
    /// Hashes of a lower cost are reported when a file is read.
    pub const RECOMMENDED_MIN_COST: u32 = 10;

    /// The longest password, in bytes. bcrypt looks at no more, so a longer one would be as good as
    /// any other with the same beginning.
    pub const MAX_PASSWORD: usize = 72;

    /// Hashes a password with a new random salt, as `htpasswd -nB -C cost` does.
    ///
    /// Takes as long as one verification; not for the thread that polls requests.
    ///
    /// # Errors
    /// A password that is empty, longer than [`MAX_PASSWORD`](Self::MAX_PASSWORD) bytes or has a NUL,
    /// a cost that is not from [`MIN_COST`](Self::MIN_COST) to [`MAX_COST`](Self::MAX_COST), or no
    /// random bytes from the operating system.
    pub fn new(password: &str, cost: u32) -> Result<Self, PasswordError> {
        if password.is_empty() {
            return Err(PasswordError::Empty);
        }
        if password.len() > Self::MAX_PASSWORD {
            return Err(PasswordError::TooLong);
        }
        if password.contains('\0') {
            return Err(PasswordError::Nul);
        }
        if !(Self::MIN_COST..=Self::MAX_COST).contains(&cost) {
            return Err(PasswordError::Cost(cost));
        }
        let parts = bcrypt::hash_with_result(password, cost)
            .map_err(|error| PasswordError::Random(error.to_string()))?;
        Ok(Self {
            text: parts.format_for_version(bcrypt::Version::TwoY).into(),
            cost,
        })
    }

    /// The binary logarithm of the number of rounds.
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// Whether this is the hash of `password`.
    ///
    /// Passwords that bcrypt would cut off (longer than [`MAX_PASSWORD`](Self::MAX_PASSWORD) bytes, or
    /// with a NUL) never match and cost nothing. All others take the same time, whether they match
    /// or not; not for the thread that polls requests.
    pub fn verify(&self, password: &str) -> bool {
        is_verifiable(password) && bcrypt::verify(password, &self.text).unwrap_or(false)
    }

    /// Something to verify against that takes as long as a hash of this cost. Nobody knows a
    /// password that it would match, and nobody may be let in if there were one.
    pub(super) fn decoy(cost: u32) -> Self {
        let cost = cost.clamp(Self::MIN_COST, Self::MAX_COST);
        Self {
            text: format!("$2y${cost:02}${}", ".".repeat(53)).into(),
            cost,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it comes from the version of `crypt_blowfish` that mistook bytes above 127.
    pub(super) fn has_sign_bug(&self) -> bool {
        self.text.starts_with("$2x$")
    }
}

impl FromStr for PasswordHash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.starts_with("$2") {
            return Err(HashError::NotBcrypt(HashKind::of(text)));
        }
        let cost = match text.as_bytes() {
            [
                b'$',
                b'2',
                b'a' | b'b' | b'x' | b'y',
                b'$',
                tens,
                ones,
                b'$',
                ..,
            ] if text.len() == 60 && tens.is_ascii_digit() && ones.is_ascii_digit() => {
                u32::from(tens - b'0') * 10 + u32::from(ones - b'0')
            }
            _ => return Err(HashError::Malformed),
        };
        if text.parse::<bcrypt::HashParts>().is_err() {
            return Err(HashError::Malformed);
        }
        if !(Self::MIN_COST..=Self::MAX_COST).contains(&cost) {
            return Err(HashError::Cost(cost));
        }
        Ok(Self {
            text: text.into(),
            cost,
        })
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

/// Why a text is not a [`PasswordHash`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// bcrypt, but verifying it would be as good as free, or would take minutes.
    #[error("the bcrypt cost is {0}; from 4 to 14 are verified")]
    Cost(u32),
    /// It begins like a bcrypt hash and does not go on like one.
    #[error("the bcrypt hash is cut off or damaged; it has 60 characters such as `$2y$10$…`")]
    Malformed,
    /// Another kind of hash.
    #[error("it is {0}, and only bcrypt is verified")]
    NotBcrypt(HashKind),
}

/// What stands where a bcrypt hash should be.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum HashKind {
    /// `$apr1$`, what `htpasswd` writes without `-B`.
    Apr1,
    /// `$argon2…`.
    Argon2,
    /// 13 characters: the crypt of old Unix, which looks at eight characters of a password.
    Crypt,
    /// `$1$`.
    Md5Crypt,
    /// A password that was not hashed at all, or something unknown.
    PlainOrUnknown,
    /// `{SHA}`, what `htpasswd -s` writes: SHA-1 without salt.
    Sha1,
    /// `$5$` or `$6$`.
    ShaCrypt,
    /// `$y$`.
    Yescrypt,
}

impl HashKind {
    fn of(text: &str) -> Self {
        let crypt = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/');
        let starts = |prefix| text.starts_with(prefix);
        match () {
            () if starts("$apr1$") => Self::Apr1,
            () if starts("$argon2") => Self::Argon2,
            () if starts("$1$") => Self::Md5Crypt,
            () if starts("{SHA}") => Self::Sha1,
            () if starts("$5$") || starts("$6$") => Self::ShaCrypt,
            () if starts("$y$") => Self::Yescrypt,
            () if text.len() == 13 && text.bytes().all(crypt) => Self::Crypt,
            () => Self::PlainOrUnknown,
        }
    }
}

impl fmt::Display for HashKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Apr1 => "an Apache MD5 hash (apr1)",
            Self::Argon2 => "an Argon2 hash",
            Self::Crypt => "a hash of the old Unix crypt, or a plain password",
            Self::Md5Crypt => "an MD5-crypt hash",
            Self::PlainOrUnknown => "a plain password or an unknown kind of hash",
            Self::Sha1 => "a SHA-1 hash without salt",
            Self::ShaCrypt => "a SHA-crypt hash",
            Self::Yescrypt => "a yescrypt hash",
        })
    }
}

/// Why a password cannot be hashed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// The cost is outside what is verified later.
    #[error("the bcrypt cost is {0}; choose one from 4 to 14, 10 is the usual one")]
    Cost(u32),
    /// There is no password.
    #[error("the password is empty")]
    Empty,
    /// bcrypt stops at a NUL.
    #[error("the password has a NUL character, where bcrypt would stop reading it")]
    Nul,
    /// The operating system gave no random bytes for the salt.
    #[error("no random bytes for the salt: {0}")]
    Random(String),
    /// bcrypt would cut it off.
    #[error("the password is longer than the 72 bytes that bcrypt reads; choose a shorter one")]
    TooLong,
}

/// Whether bcrypt reads all of it.
pub(super) fn is_verifiable(password: &str) -> bool {
    password.len() <= PasswordHash::MAX_PASSWORD && !password.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bcrypt_prefix_is_taken() {
        let hash = PasswordHash::new("s3cret", 4).unwrap().to_string();
        for version in ["2a", "2b", "2x", "2y"] {
            let text = hash.replacen("2y", version, 1);
            let parsed: PasswordHash = text.parse().unwrap();
            assert!(parsed.verify("s3cret"), "{version}");
            assert!(!parsed.verify("s3creT"), "{version}");
            assert_eq!(parsed.to_string(), text);
            assert_eq!(parsed.cost(), 4);
        }
    }

    /// Written by Apache's own `htpasswd -nbB -C 10`.
    #[test]
    fn apaches_hashes_match() {
        let text = "$2y$10$hmBVxWRJi.Twf0yTZzjfTeU0BG1okKeywFSIsyU0RCcQxVcFMWtDC";
        let hash: PasswordHash = text.parse().unwrap();
        assert!(hash.verify("x"));
        assert!(!hash.verify("y"));
    }

    #[test]
    fn what_is_no_bcrypt_hash_is_named() {
        let good = PasswordHash::new("x", 4).unwrap().to_string();
        let non_ascii = format!("$2y$04${}é", "a".repeat(51));
        assert_eq!(non_ascii.len(), 60);
        for bad in [
            "$2",
            "$2y$10$",
            "$2$10$abc",
            &good[..59],
            &format!("{good}a"),
            &good.replacen("$04$", "$+4$", 1),
            &good.replacen("$04$", "$4$$", 1),
            &good.replacen("2y", "2z", 1),
            &format!("{}!", &good[..59]),
            &non_ascii,
        ] {
            assert_eq!(
                bad.parse::<PasswordHash>(),
                Err(HashError::Malformed),
                "{bad}"
            );
        }
        for cost in [0, 3, 15, 31, 99] {
            let text = good.replacen("$04$", &format!("${cost:02}$"), 1);
            assert_eq!(text.parse::<PasswordHash>(), Err(HashError::Cost(cost)));
        }
        for (text, kind) in [
            ("$apr1$x$y", HashKind::Apr1),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", HashKind::Sha1),
            ("rqXexS6ZhobKA", HashKind::Crypt),
            ("$1$a$b", HashKind::Md5Crypt),
            ("$6$a$b", HashKind::ShaCrypt),
            ("$y$a$b", HashKind::Yescrypt),
            ("$argon2id$v=19", HashKind::Argon2),
            ("s3cret", HashKind::PlainOrUnknown),
            ("", HashKind::PlainOrUnknown),
        ] {
            assert_eq!(
                text.parse::<PasswordHash>(),
                Err(HashError::NotBcrypt(kind)),
                "{text}"
            );
        }
    }

    #[test]
    fn nothing_is_cut_off() {
        let password = "p".repeat(72);
        let hash = PasswordHash::new(&password, 4).unwrap();
        assert!(hash.verify(&password));
        // bcrypt itself would let this one in.
        assert!(bcrypt::verify(format!("{password}x"), hash.as_str()).unwrap());
        assert!(!hash.verify(&format!("{password}x")));

        let hash = PasswordHash::new("secret", 4).unwrap();
        assert!(!hash.verify("secret\0"));
        assert!(!hash.verify("secret\0x"));
        assert!(!hash.verify("secret\0secret"));
    }

    #[test]
    fn passwords_that_could_not_be_verified_are_not_hashed() {
        for (password, cost, error) in [
            ("", 4, PasswordError::Empty),
            ("a\0b", 4, PasswordError::Nul),
            ("x", 3, PasswordError::Cost(3)),
            ("x", 15, PasswordError::Cost(15)),
            (&"é".repeat(37), 4, PasswordError::TooLong),
        ] {
            assert_eq!(PasswordHash::new(password, cost), Err(error));
        }
    }

    #[test]
    fn a_decoy_is_a_hash_like_any_other() {
        let decoy = PasswordHash::decoy(9);
        let parsed: PasswordHash = decoy.as_str().parse().unwrap();
        assert_eq!(parsed.cost(), 9);
        // An error would be quick; a mismatch has done the work.
        assert!(!bcrypt::verify("x", decoy.as_str()).unwrap());
    }

    #[test]
    fn debug_hides_the_hash() {
        let hash = PasswordHash::new("x", 4).unwrap();
        assert!(!format!("{hash:?}").contains("$2y$"));
    }
}
