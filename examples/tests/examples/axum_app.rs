//! `src/bin/axum_app.rs`.

use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::WWW_AUTHENTICATE;

use crate::client::Client;
use crate::image::Image;
use crate::program::Program;

fn start() -> (Program, Client) {
    let program = Program::start(env!("CARGO_BIN_EXE_axum_app"), &[]);
    let stranger = Client::http1(&program.url());
    (program, stranger)
}

#[tokio::test]
async fn a_push_to_prod_is_deployed_and_no_other() {
    let (program, stranger) = start();
    let alice = stranger.with_basic("alice", "alices-key");
    let image = Image::new("shop");
    alice
        .push("acme/shop", "test", &Image::new("untested"))
        .await
        .unwrap();
    alice.push("acme/shop", "prod", &image).await.unwrap();
    assert_eq!(alice.pull("acme/shop", "prod").await.unwrap(), image);

    let expected = format!("acme/shop@{}\n", image.digest());
    let asked = Instant::now();
    loop {
        let list = alice.get("/deployments").await.unwrap();
        if *list.body() == expected {
            break;
        }
        assert!(list.body().is_empty(), "{list:?}");
        assert!(
            asked.elapsed() < Duration::from_secs(20),
            "nothing deployed"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    program.stop().await;
}

#[tokio::test]
async fn tenants_keep_to_themselves() {
    let (program, stranger) = start();
    let alice = stranger.clone().with_basic("alice", "alices-key");
    let bob = stranger.clone().with_basic("bob", "bobs-key");
    let image = Image::new("shop");
    alice.push("acme/shop", "v1", &image).await.unwrap();

    let refused = bob.pull("acme/shop", "v1").await.unwrap_err();
    assert!(refused.starts_with("GET of the manifest: 403"), "{refused}");
    let refused = bob.push("acme/shop", "v1", &image).await.unwrap_err();
    assert!(refused.starts_with("POST of an upload: 403"), "{refused}");
    // Not even by name: `acme` is no namespace of `acme-two`.
    let refused = alice.push("acme-two/shop", "v1", &image).await.unwrap_err();
    assert!(refused.starts_with("POST of an upload: 403"), "{refused}");

    let seen = alice.get("/v2/_catalog").await.unwrap();
    assert_eq!(seen.body(), r#"{"repositories":["acme/shop"]}"#);
    let seen = bob.get("/v2/_catalog").await.unwrap();
    assert_eq!(seen.body(), r#"{"repositories":[]}"#);
    program.stop().await;
}

#[tokio::test]
async fn strangers_and_wrong_keys_are_asked_to_log_in() {
    let (program, stranger) = start();
    for client in [
        stranger.clone(),
        stranger.clone().with_basic("alice", "bobs-key"),
        stranger.clone().with_basic("mallory", "alices-key"),
    ] {
        for path in ["/v2/", "/v2/acme/shop/tags/list"] {
            let refused = client.get(path).await.unwrap();
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(
                refused.headers()[WWW_AUTHENTICATE],
                r#"Basic realm="Registry""#
            );
        }
    }
    let welcome = stranger.with_basic("alice", "alices-key").get("/v2/").await;
    assert_eq!(welcome.unwrap().status(), StatusCode::OK);
    program.stop().await;
}

#[tokio::test]
async fn the_app_keeps_its_routes_its_users_and_its_404() {
    let (program, stranger) = start();
    let alice = stranger.clone().with_basic("alice", "alices-key");
    assert_eq!(
        stranger.get("/").await.unwrap().body(),
        "Hello, stranger!\n"
    );
    assert_eq!(alice.get("/").await.unwrap().body(), "Hello, alice!\n");
    for path in ["/nothing", "/v2x", "/v22/", "/V2/"] {
        let missing = alice.get(path).await.unwrap();
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
        assert_eq!(missing.body(), "This app has no such page.\n", "{path}");
    }
    let missing = alice.get("/v2/acme/shop/tags/list").await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    let document: serde_json::Value = serde_json::from_slice(missing.body()).unwrap();
    assert_eq!(document["errors"][0]["code"], "NAME_UNKNOWN");
    program.stop().await;
}
