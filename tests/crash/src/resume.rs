//! Finishing an upload that a crash interrupted, as a client would.

use crate::{
    ledger::{Interrupted, Ledger},
    payload::Random,
    registry::{Error, Found, Registry},
};

/// What is asked of a session after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Demand {
    /// The session is there with all that was acknowledged, unless its closing request was begun. One
    /// that never acknowledged a byte may be gone.
    Kept,
    /// The session may be gone; where it is, it holds a prefix of what was sent.
    Lenient,
}

/// How a resumed upload went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It went on from this offset.
    Resumed(u64),
    /// The closing request had been carried out.
    WasComplete,
    /// The session was gone: the upload starts again.
    Restarted,
}

/// Asks for the offset, sends the rest, closes.
///
/// # Errors
/// When the registry does not answer, or not as it must. An upload that got no answer is back in
/// the ledger.
pub fn resume(
    registry: &mut Registry,
    ledger: &mut Ledger,
    mut upload: Interrupted,
    demand: Demand,
    random: &mut Random,
) -> Result<Outcome, Error> {
    let repository = upload.session.repository.clone();
    let payload = upload.payload.clone();
    let wrong = |call: &str, problem: String| Error::Wrong {
        call: format!("{call} {}", payload.digest()),
        problem,
    };
    let offset = match registry.upload_status(&mut upload.session) {
        Ok(Found::Here(offset)) => offset,
        Ok(Found::Absent) => return gone(registry, ledger, &upload, demand),
        Err(error) => {
            ledger.interrupted.push(upload);
            return Err(error);
        }
    };
    let floor = if demand == Demand::Kept {
        upload.acknowledged
    } else {
        0
    };
    if offset < floor || offset > upload.sent {
        return Err(wrong(
            "GET upload",
            format!(
                "resumes at {offset}; {} were acknowledged and {} sent",
                upload.acknowledged, upload.sent
            ),
        ));
    }
    // Its content may have been registered, or that of another's upload, which a collector removes meanwhile.
    let may_end = upload.closing && ledger.collected;
    let mut at = offset;
    if offset < payload.len() && random.chance(60) {
        let mut reader = payload.reader(at, payload.len());
        let patched = registry.chunk(&mut upload.session, at, payload.len(), &mut reader);
        // What is in doubt from here on: everything that was sent now, nothing beyond the offset.
        upload.acknowledged = at;
        upload.sent = upload.sent.max(reader.position());
        match patched {
            Ok(reached) if reached == payload.len() => at = reached,
            Ok(reached) => {
                return Err(wrong(
                    "PATCH",
                    format!("acknowledged {reached} of {}", payload.len()),
                ));
            }
            Err(Error::Refused { status: 404, .. }) if may_end => {
                return gone(registry, ledger, &upload, demand);
            }
            Err(error) => {
                ledger.interrupted.push(upload);
                return Err(error);
            }
        }
    }
    ledger.blob_begun(&repository, &payload, upload.kept);
    let mut reader = payload.reader(at, payload.len());
    let rest = payload.len() - at;
    let closed = registry.close(&upload.session, payload.digest(), &mut reader, rest);
    if may_end && matches!(closed, Err(Error::Refused { status: 404, .. })) {
        return gone(registry, ledger, &upload, demand);
    }
    if let Err(error) = closed {
        upload.acknowledged = at;
        upload.sent = upload.sent.max(reader.position());
        upload.closing = true;
        ledger.interrupted.push(upload);
        return Err(error);
    }
    ledger.blob_done(&repository, payload.digest());
    Ok(Outcome::Resumed(offset))
}

fn gone(
    registry: &mut Registry,
    ledger: &mut Ledger,
    upload: &Interrupted,
    demand: Demand,
) -> Result<Outcome, Error> {
    let repository = &upload.session.repository;
    if upload.closing && registry.blob(repository, &upload.payload)? == Found::Here(()) {
        ledger.blob_done(repository, upload.payload.digest());
        return Ok(Outcome::WasComplete);
    }
    if demand == Demand::Kept && !upload.closing && upload.acknowledged > 0 {
        return Err(Error::Wrong {
            call: format!("GET {}", upload.session.location),
            problem: format!(
                "the session is gone; {} bytes of it were acknowledged",
                upload.acknowledged
            ),
        });
    }
    let session = registry.begin(repository)?;
    ledger.blob_begun(repository, &upload.payload, upload.kept);
    let len = upload.payload.len();
    let mut reader = upload.payload.reader(0, len);
    registry.close(&session, upload.payload.digest(), &mut reader, len)?;
    ledger.blob_done(repository, upload.payload.digest());
    Ok(Outcome::Restarted)
}
