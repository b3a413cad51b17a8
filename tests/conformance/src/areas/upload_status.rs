//! GET and DELETE of an upload session.

use http::StatusCode;

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::sha256,
    failure::{Outcome, Within as _, ensure},
};

case_table! { "upload_status";
    Must progress_is_204: "GET of a session answers 204 with Location and Range: 0-<last byte received>.";
    Must empty_session_has_a_range: "GET of a session that has received nothing answers 204 with a Range that reads as numbers.";
    Must one_byte: "After one byte, Range is 0-0.";
    Must location_continues: "The Location of the status is good to continue at.";
    Must unknown_session_is_404: "GET of a session that does not exist is 404 BLOB_UPLOAD_UNKNOWN.";
    Must closed_session_is_404: "GET of a session that was closed is 404 BLOB_UPLOAD_UNKNOWN.";
    Practice strange_ids_are_404: "Session ids that no server gave out are 404 BLOB_UPLOAD_UNKNOWN, whatever they contain.";
    Practice status_changes_nothing: "Asking for the status any number of times changes nothing.";
    Should cancel_is_204: "DELETE of a session answers 204.";
    Should cancelled_session_is_gone: "After DELETE, every request to the session is 404 BLOB_UPLOAD_UNKNOWN.";
    Should cancel_of_unknown_session_is_404: "DELETE of a session that does not exist, or was closed, is 404.";
    Practice cancel_leaves_no_blob: "What a cancelled session had received is no blob.";
    Practice cancel_leaves_other_sessions: "DELETE ends one session only.";
}

async fn progress_is_204(cx: &Ctx) -> Outcome {
    let mut upload = cx.repo().start().await?;
    upload.append(&cx.bytes(321)).await?;
    let reply = upload.status().expect(StatusCode::NO_CONTENT).await?;
    reply.location()?;
    reply.header_is("range", "0-320")?;
    ensure!(reply.length() == 0, "204 with a body");
    Ok(())
}

async fn empty_session_has_a_range(cx: &Ctx) -> Outcome {
    let upload = cx.repo().start().await?;
    upload.has_received(0).await?;
    Ok(())
}

async fn one_byte(cx: &Ctx) -> Outcome {
    let mut upload = cx.repo().start().await?;
    upload.append(&cx.bytes(1)).await?;
    upload
        .status()
        .expect(StatusCode::NO_CONTENT)
        .await?
        .header_is("range", "0-0")?;
    Ok(())
}

async fn location_continues(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let mut upload = repo.start().await?;
    let (first, second) = (cx.bytes(100), cx.bytes(200));
    upload.location = upload.has_received(0).await?.location()?;
    upload.append(&first).await?;
    upload.location = upload.has_received(100).await?.location()?;
    upload.append_at(100, &second).await?;
    upload.location = upload.has_received(300).await?.location()?;
    upload.finish(&sha256(&[first, second].concat())).await?;
    Ok(())
}

async fn unknown_session_is_404(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.push_blob(&cx.bytes(5)).await?;
    let target = format!("{}0b9d5dc1-6c50-4b3a-9a4e-1c6f3f1f7c11", repo.uploads());
    let reply = cx.get(target).send().await?;
    reply.error(StatusCode::NOT_FOUND, &["BLOB_UPLOAD_UNKNOWN"])?;
    Ok(())
}

async fn closed_session_is_404(cx: &Ctx) -> Outcome {
    let mut upload = cx.repo().start().await?;
    let bytes = cx.bytes(10);
    upload.append(&bytes).await?;
    upload.finish(&sha256(&bytes)).await?;
    let reply = upload.status().send().await?;
    reply.error(StatusCode::NOT_FOUND, &["BLOB_UPLOAD_UNKNOWN"])?;
    Ok(())
}

async fn strange_ids_are_404(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let upload = repo.start().await?;
    let path = upload.location.split('?').next().unwrap_or_default();
    let own = path.rsplit('/').next().unwrap_or_default();
    let mut ids = vec![
        "x".to_owned(),
        "a".repeat(300),
        "-".into(),
        "0".into(),
        "x%00".into(),
    ];
    // Other spellings of an id that does exist.
    ids.push(format!("{own}0"));
    ids.push(format!("%7B{own}%7D"));
    ids.push(format!("urn:uuid:{own}"));
    for spelling in [own.to_uppercase(), own.replace('-', "")] {
        if spelling != own {
            ids.push(spelling);
        }
    }
    for id in ids {
        let target = format!("{}{id}", repo.uploads());
        let reply = cx.get(&target).send().await.within(&id)?;
        reply.error(StatusCode::NOT_FOUND, &["BLOB_UPLOAD_UNKNOWN"])?;
        let reply = cx.delete(&target).send().await?;
        reply.error(StatusCode::NOT_FOUND, &["BLOB_UPLOAD_UNKNOWN"])?;
        let reply = cx.patch(&target).body("x").send().await?;
        reply.error(StatusCode::NOT_FOUND, &["BLOB_UPLOAD_UNKNOWN"])?;
    }
    upload.has_received(0).await?;
    Ok(())
}

async fn status_changes_nothing(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let mut upload = repo.start().await?;
    let bytes = cx.bytes(100);
    upload.append(&bytes).await?;
    for _ in 0..5 {
        upload.has_received(100).await?;
    }
    upload.finish(&sha256(&bytes)).await?;
    repo.blob_is(&sha256(&bytes), &bytes).await
}

async fn cancel_is_204(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let upload = repo.start().await?;
    upload
        .cancel()
        .expect(StatusCode::NO_CONTENT)
        .await
        .within("nothing received")?;
    let mut upload = repo.start().await?;
    upload.append(&cx.bytes(100)).await?;
    upload
        .cancel()
        .expect(StatusCode::NO_CONTENT)
        .await
        .within("100 bytes received")?;
    Ok(())
}

async fn cancelled_session_is_gone(cx: &Ctx) -> Outcome {
    let mut upload = cx.repo().start().await?;
    let bytes = cx.bytes(100);
    upload.append(&bytes).await?;
    upload.cancel().expect(StatusCode::NO_CONTENT).await?;
    for request in [
        upload.status(),
        upload.patch().body(bytes.clone()),
        upload.put(&sha256(&bytes), bytes.clone()),
        upload.cancel(),
    ] {
        let reply = request.send().await?;
        reply.error(StatusCode::NOT_FOUND, &["BLOB_UPLOAD_UNKNOWN"])?;
    }
    Ok(())
}

async fn cancel_of_unknown_session_is_404(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let mut upload = repo.start().await?;
    let bytes = cx.bytes(100);
    upload.append(&bytes).await?;
    upload.finish(&sha256(&bytes)).await?;
    let reply = upload.cancel().send().await?;
    reply.error(StatusCode::NOT_FOUND, &["BLOB_UPLOAD_UNKNOWN"])?;
    repo.blob_is(&sha256(&bytes), &bytes).await?;
    let target = format!("{}0b9d5dc1-6c50-4b3a-9a4e-1c6f3f1f7c11", repo.uploads());
    let reply = cx.delete(target).send().await?;
    reply.error(StatusCode::NOT_FOUND, &["BLOB_UPLOAD_UNKNOWN"])?;
    Ok(())
}

async fn cancel_leaves_no_blob(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let mut upload = repo.start().await?;
    let bytes = cx.bytes(100);
    upload.append(&bytes).await?;
    upload.cancel().expect(StatusCode::NO_CONTENT).await?;
    repo.push_blob(&cx.bytes(5)).await?;
    repo.blob_is_absent(&sha256(&bytes)).await
}

async fn cancel_leaves_other_sessions(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (mut kept, cancelled) = (repo.start().await?, repo.start().await?);
    let bytes = cx.bytes(100);
    kept.append(&bytes).await?;
    cancelled.cancel().expect(StatusCode::NO_CONTENT).await?;
    kept.has_received(100).await?;
    kept.finish(&sha256(&bytes)).await?;
    Ok(())
}
