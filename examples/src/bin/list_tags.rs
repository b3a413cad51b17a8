//! A small client program: prints the tags of a repository.
//!
//! It is here for its tests, which need a registry: see `tests/test_fixture.rs`.
//!
//! ```text
//! cargo run -p registry-examples --bin list_tags -- 127.0.0.1:5000/team/app
//! ```

use std::env;
use std::error::Error;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

#[derive(Deserialize)]
struct TagList {
    tags: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let image = env::args()
        .nth(1)
        .ok_or("usage: list_tags HOST/REPOSITORY")?;
    let (host, repository) = image.split_once('/').ok_or("expected HOST/REPOSITORY")?;

    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let uri = format!("http://{host}/v2/{repository}/tags/list").parse()?;
    let response = client.get(uri).await?;
    if !response.status().is_success() {
        return Err(format!("{image}: {}", response.status()).into());
    }
    #[expect(clippy::disallowed_methods, reason = "it is limited to 1 MiB")]
    let body = Limited::new(response.into_body(), 1 << 20)
        .collect()
        .await?;
    let list: TagList = serde_json::from_slice(&body.to_bytes())?;
    for tag in list.tags {
        println!("{tag}");
    }
    Ok(())
}
