//! `src/bin/plain_hyper.rs`.

use std::time::Duration;

use http::{Method, StatusCode};

use crate::client::Client;
use crate::image::Image;
use crate::program::Program;

fn start() -> Program {
    Program::start(env!("CARGO_BIN_EXE_plain_hyper"), &[])
}

#[tokio::test]
async fn an_image_goes_in_and_out_over_http_1_and_http_2() {
    let program = start();
    let (http1, http2) = (Client::http1(&program.url()), Client::http2(&program.url()));
    for (name, pusher, puller) in [("one", &http1, &http2), ("two", &http2, &http1)] {
        let image = Image::new(name);
        pusher.push("team/app", name, &image).await.unwrap();
        assert_eq!(puller.pull("team/app", name).await.unwrap(), image);
    }
    // The connections of these clients are idle, and do not hold it up.
    program.stop().await;
}

#[tokio::test]
async fn what_was_begun_is_finished_before_it_stops() {
    let program = start();
    let client = Client::http1(&program.url()).with_pace(Duration::from_millis(300));
    let session = client.begin("team/app").await.unwrap();
    let layer = Image::new("slow").layer;
    let body = client.pieces(&layer);
    let patch = tokio::spawn(async move { client.send(Method::PATCH, &session, body).await });
    tokio::time::sleep(Duration::from_millis(450)).await;
    assert!(!patch.is_finished());
    program.stop().await;
    let answer = patch.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let taken = format!("0-{}", layer.len() - 1);
    assert_eq!(answer.headers()["range"], taken.as_str());
}
