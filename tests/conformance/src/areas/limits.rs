//! Sizes that must be accepted, and sizes that must be refused with the right status.

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use crate::{
    case::case_table,
    ctx::Ctx,
    documents::{Document, OCI_INDEX, image_index, with},
    failure::{Outcome, Within as _, ensure, fail},
    request::Req,
};

case_table! { "limits";
    Should manifest_of_four_mebibytes: "A manifest of exactly 4 MiB is accepted and served.";
    Should larger_manifest_is_413: "A manifest of 4 MiB and a byte is 413, in the error envelope.";
    Should larger_streamed_manifest_is_413: "The same when its length is not known beforehand.";
    Practice many_large_manifests: "Twenty oversized manifests at once are all refused with 413.";
    Practice long_query: "A query of 16 KiB is served or refused, never a server error.";
    Practice long_path: "A path of 16 KiB is refused in the envelope or with 414.";
    Practice many_parameters: "Ten thousand parameters are served or refused, never a server error.";
    Practice many_headers: "Eighty headers are served.";
    Practice long_media_type: "An absurd Content-Type is refused.";
    Practice large_annotation: "An annotation of a megabyte is kept.";
}

/// An index of exactly `length` bytes.
fn index_of(cx: &Ctx, length: usize) -> Document {
    let make = |filler: usize| {
        let filler = "x".repeat(filler);
        let annotations = json!({"word": cx.prefix(), "filler": filler});
        Document::json(
            OCI_INDEX,
            &with(image_index(vec![]), "annotations", annotations),
        )
    };
    let empty = make(0).bytes.len();
    make(length.saturating_sub(empty))
}

async fn manifest_of_four_mebibytes(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let document = index_of(cx, 4 << 20);
    ensure!(
        document.bytes.len() == 4_194_304,
        "the document has {}",
        document.bytes.len()
    );
    repo.push("large", &document).await?;
    repo.manifest_is("large", &document).await
}

/// 413 with one of the codes that are in use for it.
///
/// A server may close the connection under so large a body, and a client that is still writing may
/// then miss the answer: it tries again. `wire.early_413_is_seen` is about clients that read.
async fn is_413<'a>(request: impl Fn() -> Req<'a>) -> Outcome {
    let mut last = None;
    for _ in 0..10 {
        match request().attempt().await? {
            Ok(reply) => {
                let codes = ["MANIFEST_INVALID", "SIZE_INVALID"];
                reply.error(StatusCode::PAYLOAD_TOO_LARGE, &codes)?;
                return Ok(());
            }
            Err(error) => last = Some(error),
        }
    }
    fail!(
        "no answer in ten attempts: {}",
        last.map_or_else(String::new, |error| error.to_string())
    )
}

async fn larger_manifest_is_413(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let document = index_of(cx, (4 << 20) + 1);
    is_413(|| repo.put_manifest("large", &document)).await?;
    repo.head_manifest("large")
        .expect(StatusCode::NOT_FOUND)
        .await?;
    Ok(())
}

async fn larger_streamed_manifest_is_413(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let document = index_of(cx, (4 << 20) + 1);
    let chunks: Vec<Bytes> = (0..document.bytes.len())
        .step_by(100_000)
        .map(|at| {
            document
                .bytes
                .slice(at..(at + 100_000).min(document.bytes.len()))
        })
        .collect();
    let put = || {
        let put = cx
            .put(repo.manifest("large"))
            .header("content-type", OCI_INDEX);
        put.chunks(chunks.clone())
    };
    is_413(put).await
}

async fn many_large_manifests(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let document = index_of(cx, 5 << 20);
    let puts = (0..20).map(|_| is_413(|| repo.put_manifest("large", &document)));
    for outcome in futures_util::future::join_all(puts).await {
        outcome?;
    }
    Ok(())
}

async fn long_query(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("v1")).await?;
    let reply = cx
        .get(format!("{}?x={}", repo.tags(), "y".repeat(16_000)))
        .send()
        .await?;
    ensure!(
        matches!(reply.code().as_u16(), 200 | 400 | 414 | 431),
        "{}",
        reply.failure("expected 200, 400, 414 or 431")
    );
    Ok(())
}

async fn long_path(cx: &Ctx) -> Outcome {
    for target in [
        format!("/v2/{}/tags/list", "a/".repeat(8000) + "b"),
        format!("/v2/{}/manifests/{}", cx.prefix(), "t".repeat(16_000)),
    ] {
        let reply = cx.get(target).send().await?;
        ensure!(
            matches!(reply.code().as_u16(), 400 | 404 | 414 | 431),
            "{}",
            reply.failure("expected 400, 404, 414 or 431")
        );
    }
    Ok(())
}

async fn many_parameters(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("v1")).await?;
    let reply = cx
        .get(format!("{}?{}", repo.tags(), "n=1&".repeat(10_000)))
        .send()
        .await?;
    ensure!(
        matches!(reply.code().as_u16(), 200 | 400 | 414 | 431),
        "{}",
        reply.failure("expected 200, 400, 414 or 431")
    );
    Ok(())
}

async fn many_headers(cx: &Ctx) -> Outcome {
    let mut get = cx.get("/v2/");
    for _ in 0..80 {
        get = get.header("x-filler", "some value");
    }
    get.expect(StatusCode::OK).await?;
    Ok(())
}

async fn long_media_type(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let media_type = format!("application/{}", "x".repeat(4000));
    let document = Document::new(&media_type, image.manifest.bytes);
    let reply = repo.put_manifest("v1", &document).send().await?;
    reply.error(StatusCode::BAD_REQUEST, &["MANIFEST_INVALID"])?;
    Ok(())
}

async fn large_annotation(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let document = index_of(cx, 1 << 20);
    repo.push("v1", &document).await.within("pushing")?;
    repo.manifest_is("v1", &document).await
}
