//! Races between clients.

use bytes::Bytes;
use futures_util::future::{join, join_all};
use http::StatusCode;
use serde_json::json;

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::sha256,
    documents::{Document, OCI_INDEX, image_index, with},
    failure::{Failure, Outcome, Within as _, ensure},
    reply::Reply,
};

case_table! { "concurrency";
    Practice two_chunks_at_one_offset: "Of two chunks for the same place, sent at once, exactly one is taken.";
    Practice two_streams: "Two streams into one session never interleave.";
    Practice chunk_against_closing_put: "A chunk that races the closing PUT never becomes part of a blob with another digest.";
    Practice two_closing_puts: "Of two closing PUTs at once, at least one answers 201, and the blob is right.";
    Practice cancel_against_closing_put: "A cancel that races the closing PUT leaves either the blob or nothing.";
    Practice same_blob_by_many: "Many clients may push the same blob at once.";
    Practice many_uploads: "Many uploads into one repository run side by side.";
    Practice same_tag_by_many: "Of many pushes to one tag the last wins, and every manifest is there.";
    Practice many_tags: "Tags pushed at once are all listed.";
    Practice same_manifest_under_many_tags: "One manifest pushed under many tags at once gets all of them.";
    Practice mounts_by_many: "Many repositories may mount the same blob at once.";
    Practice readers_of_a_moving_tag: "While a tag moves, readers see the old or the new manifest, never none.";
    Practice delete_against_push [Deletes]: "A delete that races a push of the same tag leaves a tag that works, or none.";
    Practice many_referrers: "Referrers pushed at once are all listed.";
    Practice readers_while_pushing: "Listing while others push shows a list that is sorted and whole.";
}

async fn two_chunks_at_one_offset(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for round in 0..10 {
        let (one, two) = (cx.bytes(200_000), cx.bytes(200_000));
        let upload = repo.start().await?;
        let (first, second) = join(
            upload.patch_at(0, &one).send(),
            upload.patch_at(0, &two).send(),
        )
        .await;
        let (first, second) = (first?, second?);
        let (winner, loser, bytes) = if first.code() == StatusCode::ACCEPTED {
            (first, second, one)
        } else {
            (second, first, two)
        };
        winner.status(StatusCode::ACCEPTED).within(round)?;
        is_the_loser(&loser).within(round)?;
        let upload = crate::repo::Upload {
            cx,
            location: winner.location()?,
        };
        upload.has_received(200_000).await?;
        upload.finish(&sha256(&bytes)).await?;
        repo.blob_is(&sha256(&bytes), &bytes).await?;
    }
    Ok(())
}

/// What the one that lost a race over a session may be told.
fn is_the_loser(reply: &Reply) -> Outcome {
    reply.status_in(&[
        StatusCode::RANGE_NOT_SATISFIABLE,
        StatusCode::CONFLICT,
        StatusCode::NOT_FOUND,
        StatusCode::LOCKED,
        StatusCode::TOO_MANY_REQUESTS,
    ])?;
    reply.error_codes()?;
    Ok(())
}

async fn two_streams(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for round in 0..5 {
        let pieces = |cx: &Ctx| -> Vec<Bytes> { (0..10).map(|_| cx.bytes(20_000)).collect() };
        let (one, two) = (pieces(cx), pieces(cx));
        let upload = repo.start().await?;
        let (first, second) = join(
            upload.patch().chunks(one.clone()).send(),
            upload.patch().chunks(two.clone()).send(),
        )
        .await;
        let (first, second) = (first?, second?);
        let (one, two) = (one.concat(), two.concat());
        let taken = |reply: &Reply| reply.code() == StatusCode::ACCEPTED;
        let candidates = match (taken(&first), taken(&second)) {
            (true, true) => {
                vec![
                    [one.clone(), two.clone()].concat(),
                    [two.clone(), one.clone()].concat(),
                ]
            }
            (true, false) => vec![one],
            (false, true) => vec![two],
            (false, false) => return Err(first.failure("neither stream was taken")).within(round),
        };
        for reply in [&first, &second] {
            if !taken(reply) {
                is_the_loser(reply).within(round)?;
            }
        }
        let status = upload.status().expect(StatusCode::NO_CONTENT).await?;
        let upload = crate::repo::Upload {
            cx,
            location: status.location()?,
        };
        let mut stored = false;
        for candidate in candidates {
            let reply = upload.put(&sha256(&candidate), Bytes::new()).send().await?;
            if reply.code() == StatusCode::CREATED {
                repo.blob_is(&sha256(&candidate), &candidate).await?;
                stored = true;
                break;
            }
        }
        ensure!(
            stored,
            "round {round}: the bytes of the two streams are mixed"
        );
    }
    Ok(())
}

async fn chunk_against_closing_put(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for round in 0..10 {
        let (first, more) = (cx.bytes(50_000), cx.bytes(50_000));
        let mut upload = repo.start().await?;
        upload.append(&first).await?;
        let digest = sha256(&first);
        let (patch, put) = join(
            upload.patch_at(50_000, &more).send(),
            upload.put(&digest, Bytes::new()).send(),
        )
        .await;
        let (patch, put) = (patch?, put?);
        if patch.code() != StatusCode::ACCEPTED {
            is_the_loser(&patch).within(round)?;
        }
        if put.code() == StatusCode::CREATED {
            repo.blob_is(&digest, &first).await.within(round)?;
        } else {
            repo.head_blob(&digest)
                .expect(StatusCode::NOT_FOUND)
                .await
                .within(round)?;
        }
        ensure!(
            put.code() == StatusCode::CREATED || patch.code() == StatusCode::ACCEPTED,
            "round {round}: both were refused"
        );
    }
    Ok(())
}

async fn two_closing_puts(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for round in 0..10 {
        let bytes = cx.bytes(50_000);
        let digest = sha256(&bytes);
        let mut upload = repo.start().await?;
        upload.append(&bytes).await?;
        let (one, two) = join(
            upload.put(&digest, Bytes::new()).send(),
            upload.put(&digest, Bytes::new()).send(),
        )
        .await;
        let (one, two) = (one?, two?);
        let created = |reply: &Reply| reply.code() == StatusCode::CREATED;
        ensure!(
            created(&one) || created(&two),
            "round {round}: {}",
            one.failure("neither is 201")
        );
        for reply in [&one, &two] {
            if !created(reply) {
                is_the_loser(reply).within(round)?;
            }
        }
        repo.blob_is(&digest, &bytes).await?;
    }
    Ok(())
}

async fn cancel_against_closing_put(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for round in 0..10 {
        let bytes = cx.bytes(50_000);
        let digest = sha256(&bytes);
        let mut upload = repo.start().await?;
        upload.append(&bytes).await?;
        let (put, cancel) = join(
            upload.put(&digest, Bytes::new()).send(),
            upload.cancel().send(),
        )
        .await;
        let (put, cancel) = (put?, cancel?);
        if put.code() == StatusCode::CREATED {
            repo.blob_is(&digest, &bytes).await.within(round)?;
        } else {
            is_the_loser(&put).within(round)?;
            cancel.status(StatusCode::NO_CONTENT).within(round)?;
            repo.head_blob(&digest)
                .expect(StatusCode::NOT_FOUND)
                .await?;
        }
    }
    Ok(())
}

async fn same_blob_by_many(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(300_000);
    let pushes = (0..8).map(|_| repo.push_blob(&bytes));
    for digest in join_all(pushes).await {
        repo.blob_is(&digest?, &bytes).await?;
    }
    let repos: Vec<_> = (0..8).map(|_| cx.repo()).collect();
    let bytes = cx.bytes(300_000);
    for digest in join_all(repos.iter().map(|repo| repo.push_blob(&bytes))).await {
        digest?;
    }
    for repo in repos {
        repo.blob_is(&sha256(&bytes), &bytes).await?;
    }
    Ok(())
}

async fn many_uploads(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let blobs: Vec<Bytes> = (1..=16).map(|number| cx.bytes(number * 10_000)).collect();
    let pushes = blobs.iter().map(|bytes| async {
        let mut upload = repo.start().await?;
        let half = bytes.len() / 2;
        upload.append_at(0, &bytes.slice(..half)).await?;
        upload.append_at(half, &bytes.slice(half..)).await?;
        upload.finish(&sha256(bytes)).await
    });
    for reply in join_all(pushes).await {
        reply?;
    }
    for bytes in blobs {
        repo.blob_is(&sha256(&bytes), &bytes).await?;
    }
    Ok(())
}

/// An index that nothing else is like.
fn fresh_index(cx: &Ctx) -> Document {
    let annotations = json!({"word": cx.word()});
    Document::json(
        OCI_INDEX,
        &with(image_index(vec![]), "annotations", annotations),
    )
}

async fn same_tag_by_many(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let documents: Vec<Document> = (0..8).map(|_| fresh_index(cx)).collect();
    for reply in join_all(documents.iter().map(|document| repo.push("hot", document))).await {
        reply?;
    }
    for document in &documents {
        repo.manifest_is(&document.digest(), document).await?;
    }
    let reply = repo.get_manifest("hot").expect(StatusCode::OK).await?;
    ensure!(
        documents
            .iter()
            .any(|document| document.bytes == reply.body()),
        "the tag names something else"
    );
    let tags = repo.list_tags().await?;
    ensure!(tags == ["hot"], "tags are {tags:?}");
    Ok(())
}

async fn many_tags(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let named: Vec<(String, Document)> = (0..32)
        .map(|number| (format!("t{number:02}"), fresh_index(cx)))
        .collect();
    for reply in join_all(named.iter().map(|(tag, document)| repo.push(tag, document))).await {
        reply?;
    }
    let expected: Vec<&String> = named.iter().map(|(tag, _)| tag).collect();
    let mut tags = repo.list_tags().await?;
    tags.sort();
    ensure!(tags.iter().eq(expected), "tags are {tags:?}");
    for (tag, document) in &named {
        repo.manifest_is(tag, document).await?;
    }
    Ok(())
}

async fn same_manifest_under_many_tags(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let document = fresh_index(cx);
    let tags: Vec<String> = (0..16).map(|number| format!("t{number:02}")).collect();
    for reply in join_all(tags.iter().map(|tag| repo.push(tag, &document))).await {
        reply?;
    }
    for tag in &tags {
        repo.manifest_is(tag, &document).await?;
    }
    Ok(())
}

async fn mounts_by_many(cx: &Ctx) -> Outcome {
    let source = cx.repo();
    let bytes = cx.bytes(10_000);
    let digest = source.push_blob(&bytes).await?;
    let targets: Vec<_> = (0..16).map(|_| cx.repo()).collect();
    let mounts = targets.iter().map(|target| {
        cx.post(target.uploads())
            .query("mount", &digest)
            .query("from", &source.name)
            .send()
    });
    for reply in join_all(mounts).await {
        reply?.status(StatusCode::CREATED)?;
    }
    for target in targets {
        target.blob_is(&digest, &bytes).await?;
    }
    Ok(())
}

async fn readers_of_a_moving_tag(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let documents = [fresh_index(cx), fresh_index(cx)];
    let [one, two] = &documents;
    repo.push("moving", one).await?;
    let write = async {
        for _ in 0..20 {
            repo.push("moving", two).await?;
            repo.push("moving", one).await?;
        }
        Ok::<(), Failure>(())
    };
    let read = async {
        for _ in 0..60 {
            let reply = repo.get_manifest("moving").expect(StatusCode::OK).await?;
            let document = documents
                .iter()
                .find(|document| document.bytes == reply.body());
            let Some(document) = document else {
                return Err(reply.failure("neither the old nor the new manifest"));
            };
            reply.header_is("docker-content-digest", &document.digest())?;
        }
        Ok(())
    };
    let (written, read) = join(write, read).await;
    written?;
    read
}

async fn delete_against_push(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for round in 0..10 {
        let document = fresh_index(cx);
        let digest = document.digest();
        repo.push("hot", &document).await?;
        let (deleted, pushed) = join(
            cx.delete(repo.manifest(&digest)).send(),
            repo.put_manifest("hot", &document).send(),
        )
        .await;
        deleted?.status_in(&[StatusCode::ACCEPTED, StatusCode::NOT_FOUND])?;
        pushed?.status(StatusCode::CREATED)?;
        let by_tag = repo.get_manifest("hot").send().await?;
        let by_digest = repo.get_manifest(&digest).send().await?;
        by_tag.status_in(&[StatusCode::OK, StatusCode::NOT_FOUND])?;
        if by_tag.code() == StatusCode::OK {
            by_tag.body_is(&document.bytes)?;
            by_digest
                .status(StatusCode::OK)
                .within(format!("round {round}, the tag works"))?;
        }
        let listed = cx.get(repo.tags()).send().await?;
        let has_tag = listed.text().contains("\"hot\"");
        ensure!(
            has_tag == (by_tag.code() == StatusCode::OK),
            "round {round}: the tag is listed: {has_tag}, but answers {}",
            by_tag.code()
        );
    }
    Ok(())
}

async fn many_referrers(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let subject = fresh_index(cx);
    repo.push("v1", &subject).await?;
    let referrers: Vec<Document> = (0..16)
        .map(|_| {
            let index = with(
                image_index(vec![]),
                "annotations",
                json!({"word": cx.word()}),
            );
            Document::json(OCI_INDEX, &with(index, "subject", subject.descriptor()))
        })
        .collect();
    for digest in join_all(
        referrers
            .iter()
            .map(|document| repo.push_untagged(document)),
    )
    .await
    {
        digest?;
    }
    let found = repo.list_referrers(&subject.digest()).await?;
    ensure!(
        found.len() == 16,
        "{} of 16 referrers are listed",
        found.len()
    );
    Ok(())
}

async fn readers_while_pushing(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let document = fresh_index(cx);
    repo.push("t", &document).await?;
    let write = async {
        for number in 0..40 {
            repo.push(&format!("t{number:02}"), &document).await?;
        }
        Ok::<(), Failure>(())
    };
    let read = async {
        let mut seen = 0;
        for _ in 0..40 {
            let tags = repo.list_tags().await?;
            ensure!(tags.is_sorted(), "tags are {tags:?}");
            ensure!(tags.len() >= seen, "{} tags after {seen}", tags.len());
            seen = tags.len();
        }
        Ok(())
    };
    let (written, read) = join(write, read).await;
    written?;
    read
}
