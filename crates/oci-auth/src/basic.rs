//! The Basic scheme: RFC 7617, and RFC 9110, "HTTP Authentication".

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use oci_core::{ErrorCode, RegistryError};

/// A user name and a password as a client sent them. Nobody has checked them yet.
///
/// For authenticators of one's own that check passwords elsewhere, say in a directory service.
///
/// ```
/// use oci_auth::BasicCredentials;
///
/// let request = http::Request::get("/v2/")
///     .header("Authorization", "Basic YWxpY2U6czNjcmV0")
///     .body(())?;
/// let credentials = BasicCredentials::from_headers(request.headers())?;
/// assert_eq!(credentials.as_ref().map(|c| c.user()), Some("alice"));
/// assert_eq!(credentials.as_ref().map(|c| c.password()), Some("s3cret"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct BasicCredentials {
    user: String,
    password: String,
}

impl BasicCredentials {
    /// Reads the `Authorization` header, if there is one.
    ///
    /// The user name ends at the first colon; the password may have more. Both are UTF-8.
    ///
    /// # Errors
    /// * 400 if the header is there twice, longer than 16 KiB, not base64 of the standard alphabet
    ///   with padding, not UTF-8 or without a colon.
    /// * 401 if it is of another scheme than Basic.
    ///
    /// Both have the code `UNAUTHORIZED`, and neither repeats what was sent.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, RegistryError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            // Taking either would let a proxy in front and the registry see two different users.
            return Err(malformed("there is more than one"));
        }
        Self::from_value(value.as_bytes()).map(Some)
    }

    /// The user name; it may be empty.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password; it may be empty.
    pub fn password(&self) -> &str {
        &self.password
    }

    fn from_value(value: &[u8]) -> Result<Self, RegistryError> {
        if value.len() > MAX_LEN {
            return Err(malformed("it is longer than 16 KiB"));
        }
        let value = value.trim_ascii();
        let (scheme, encoded) = match value.iter().position(|byte| *byte == b' ') {
            Some(space) => value.split_at(space),
            None => (value, b"".as_slice()),
        };
        if scheme.is_empty() {
            return Err(malformed("it is empty"));
        }
        if !scheme.eq_ignore_ascii_case(b"basic") {
            return Err(RegistryError::new(
                ErrorCode::Unauthorized,
                "this registry takes a user name and a password (scheme Basic); run `docker login` again",
            ));
        }
        let decoded = STANDARD
            .decode(encoded.trim_ascii())
            .map_err(|_| malformed("it is not base64"))?;
        let text = String::from_utf8(decoded).map_err(|_| malformed("it is not UTF-8"))?;
        let (user, password) = text
            .split_once(':')
            .ok_or_else(|| malformed("there is no colon between user name and password"))?;
        Ok(Self {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }
}

impl fmt::Debug for BasicCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicCredentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// The name of what a password is for, as clients may show it to people.
///
/// Printable ASCII, not empty. Anything else is shown differently by every client, if at all.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Realm(String);

impl Realm {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The `WWW-Authenticate` value that asks for a user name and a password.
    ///
    /// It has no `charset`: container clients send UTF-8 with or without being asked, and every
    /// further parameter is one that some client's parser may trip over.
    ///
    /// ```
    /// use oci_auth::Realm;
    ///
    /// let realm: Realm = "Registry Realm".parse()?;
    /// assert_eq!(realm.basic_challenge(), r#"Basic realm="Registry Realm""#);
    /// # Ok::<(), oci_auth::RealmError>(())
    /// ```
    pub fn basic_challenge(&self) -> HeaderValue {
        let mut value = String::from("Basic realm=\"");
        for character in self.0.chars() {
            if matches!(character, '"' | '\\') {
                value.push('\\');
            }
            value.push(character);
        }
        value.push('"');
        // Printable ASCII always is a header value; the parser let nothing else through.
        HeaderValue::from_str(&value)
            .unwrap_or(HeaderValue::from_static(r#"Basic realm="Registry""#))
    }
}

impl Default for Realm {
    /// `Registry`.
    fn default() -> Self {
        Self("Registry".to_owned())
    }
}

impl FromStr for Realm {
    type Err = RealmError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RealmError)
        }
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a [`Realm`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a realm has one or more printable ASCII characters, for example `Registry`")]
#[non_exhaustive]
pub struct RealmError;

fn malformed(reason: &str) -> RegistryError {
    RegistryError::new(
        ErrorCode::Unauthorized,
        format!("the Authorization header is malformed: {reason}"),
    )
    .with_status(StatusCode::BAD_REQUEST)
}

/// Longer than any password that could ever match, shorter than what costs anything to decode.
const MAX_LEN: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: impl AsRef<[u8]>) -> Result<Option<BasicCredentials>, RegistryError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_bytes(value.as_ref()).unwrap(),
        );
        BasicCredentials::from_headers(&headers)
    }

    fn encode(text: impl AsRef<[u8]>) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn credentials_are_read() {
        assert_eq!(
            BasicCredentials::from_headers(&HeaderMap::new()).unwrap(),
            None
        );
        for (value, user, password) in [
            (encode("alice:s3cret"), "alice", "s3cret"),
            (encode("alice:a:b:"), "alice", "a:b:"),
            (encode("alice:"), "alice", ""),
            (encode(":"), "", ""),
            (encode("é:pä$ß"), "é", "pä$ß"),
            ("bAsIc   YTpi ".to_owned(), "a", "b"),
        ] {
            let credentials = read(&value).unwrap().unwrap();
            assert_eq!(credentials.user(), user, "{value}");
            assert_eq!(credentials.password(), password, "{value}");
        }
    }

    #[test]
    fn malformed_headers_are_400_and_other_schemes_401() {
        for value in [
            String::new(),
            "Basic".to_owned(),
            "Basic ".to_owned(),
            "Basic ???".to_owned(),
            "Basic YTpi\u{a0}".to_owned(),
            // Not padded; the alphabet of URLs; two tokens.
            "Basic YWxpY2U6YQ".to_owned(),
            "Basic Pz8_Og==".to_owned(),
            "Basic YTpi YTpi".to_owned(),
            encode("alice"),
            encode(b"\xff:x"),
            encode("x".repeat(20_000) + ":"),
        ] {
            let error = read(&value).unwrap_err();
            assert_eq!(error.status(), StatusCode::BAD_REQUEST, "{value}");
            assert_eq!(error.code(), ErrorCode::Unauthorized);
        }
        for value in ["Bearer abc", "Negotiate", "Basi YTpi", "Basic: YTpi"] {
            let error = read(value).unwrap_err();
            assert_eq!(error.status(), StatusCode::UNAUTHORIZED, "{value}");
        }
    }

    #[test]
    fn two_headers_are_refused_even_if_equal() {
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            headers.append(AUTHORIZATION, HeaderValue::from_static("Basic YTpi"));
        }
        let error = BasicCredentials::from_headers(&headers).unwrap_err();
        assert_eq!(error.status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn nothing_shows_the_password() {
        let credentials = read(encode("alice:canary")).unwrap().unwrap();
        assert!(!format!("{credentials:?}").contains("canary"));
        let error = read("Basic canary!").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }

    #[test]
    fn the_challenge_is_quoted() {
        let realm: Realm = r#"a "b\c""#.parse().unwrap();
        assert_eq!(realm.basic_challenge(), r#"Basic realm="a \"b\\c\"""#);
        for bad in ["", "a\nb", "é", "a\u{7f}"] {
            assert_eq!(bad.parse::<Realm>(), Err(RealmError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_gets_an_answer_below_500(value in proptest::collection::vec(any::<u8>(), 0..200), basic: bool) {
            let value = if basic { [b"Basic ", value.as_slice()].concat() } else { value };
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                headers.insert(AUTHORIZATION, value);
                if let Err(error) = BasicCredentials::from_headers(&headers) {
                    prop_assert!(error.status().is_client_error());
                }
            }
        }

        #[test]
        fn what_is_encoded_is_read(user in "[^:]{0,20}", password in ".{0,80}") {
            let credentials = read(encode(format!("{user}:{password}"))).unwrap().unwrap();
            prop_assert_eq!(credentials.user(), user);
            prop_assert_eq!(credentials.password(), password);
        }

        #[test]
        fn every_realm_makes_a_challenge_that_reads_back(text in "[ -~]{1,40}") {
            let challenge = text.parse::<Realm>().unwrap().basic_challenge();
            let quoted = challenge.to_str().unwrap().strip_prefix("Basic realm=\"").unwrap();
            let mut read = String::new();
            let mut characters = quoted.chars();
            loop {
                match characters.next().unwrap() {
                    '\\' => read.push(characters.next().unwrap()),
                    '"' => break,
                    character => read.push(character),
                }
            }
            prop_assert_eq!(read, text);
            prop_assert_eq!(characters.next(), None);
        }
    }
}
