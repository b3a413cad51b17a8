//! TLS handshakes that fail: what the log says of them, and how often.

use std::error::Error as _;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustls::{AlertDescription, Error, InvalidMessage};
use tokio::time::Instant;

use super::listener::Peer;

/// Says now and then why handshakes fail: a client that does not trust the certificate would leave no trace
/// otherwise, and a port scan must not fill the log.
#[derive(Debug, Default)]
pub(super) struct Handshakes(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    unsaid: u64,
}

impl Handshakes {
    /// One more has failed. Every one is at `debug`; at `warn` one in ten seconds.
    pub(super) fn failed(&self, peer: &Peer, error: &io::Error) {
        let Some(hint) = reason(error) else {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            return;
        };
        if let Some(unsaid) = self.may_say(Instant::now()) {
            let more = (unsaid > 0).then_some(unsaid);
            tracing::warn!(%peer, %error, more, "TLS handshake failed{hint}");
        } else {
            tracing::debug!(%peer, %error, "TLS handshake failed{hint}");
        }
    }

    /// How many were not said since the last that was; `None` if that is too recent.
    fn may_say(&self, now: Instant) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said
            .last
            .is_some_and(|last| now.duration_since(last) < PAUSE)
        {
            said.unsaid += 1;
            return None;
        }
        said.last = Some(now);
        Some(std::mem::take(&mut said.unsaid))
    }
}

/// What to do about it, if anything is known; `None` for what is no client of TLS, or has just hung up.
fn reason(error: &io::Error) -> Option<&'static str> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate,
        ) => {
            ": the client does not accept the certificate; fix: there, `registryd trust` for the authority that \
             signed it, under a name that the certificate has; here, `registryd cert show` says what it is for"
        }
        Error::AlertReceived(AlertDescription::CertificateExpired) => {
            ": to the client the certificate has expired; fix: renew it, and look at the client's clock"
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => return None,
        Error::NoCertificatesPresented => {
            ": the client shows no certificate, which `http.tls.clientcas` asks for; fix: give it one"
        }
        Error::InvalidCertificate(error) if is_old(error) => {
            ": the client's certificate is X.509 v1, which cannot be verified; fix: make it v3, as `openssl x509 -req` \
             does with an `-extfile`"
        }
        _ => "",
    })
}

/// Whether webpki does not read it for its version. Its errors come as text only, so that it is no dependency.
fn is_old(error: &rustls::CertificateError) -> bool {
    matches!(error, rustls::CertificateError::Other(other)
        if other.source().is_some_and(|error| format!("{error:?}").contains("UnsupportedCertVersion"))
            || format!("{other:?}").contains("UnsupportedCertVersion"))
}

const PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    #[test]
    fn a_client_that_does_not_trust_is_told_apart_from_a_scan() {
        for alert in [
            AlertDescription::UnknownCA,
            AlertDescription::BadCertificate,
        ] {
            let hint = reason(&of(Error::AlertReceived(alert))).unwrap();
            assert!(hint.contains("registryd trust"), "{hint}");
        }
        assert_eq!(reason(&io::ErrorKind::UnexpectedEof.into()), None);
        assert_eq!(reason(&io::ErrorKind::ConnectionReset.into()), None);
    }

    #[test]
    fn many_failures_within_seconds_are_one_line() {
        let handshakes = Handshakes::default();
        let begin = Instant::now();
        assert_eq!(handshakes.may_say(begin), Some(0));
        for _ in 0..1000 {
            assert_eq!(handshakes.may_say(begin + PAUSE / 2), None);
        }
        assert_eq!(handshakes.may_say(begin + PAUSE), Some(1000));
        assert_eq!(handshakes.may_say(begin + PAUSE * 2), Some(0));
    }
}
