//! What a bucket can be relied on for, asked as `registryd` does at its start.
//!
//! ```text
//! cargo run -p oci-storage --features s3,gcs,azure --example probe_bucket -- s3 BUCKET URL KEY SECRET
//! cargo run -p oci-storage --features s3,gcs,azure --example probe_bucket -- gcs BUCKET URL KEYFILE
//! cargo run -p oci-storage --features s3,gcs,azure --example probe_bucket -- azure CONTAINER URL ACCOUNT KEY
//! ```

use std::error::Error;

use oci_storage::object::{
    AzureCredentials, AzureOptions, Bucket, GcsCredentials, GcsOptions, S3Options, probe,
};

fn bucket(words: &[String]) -> Result<Bucket, Box<dyn Error>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(match words.as_slice() {
        ["s3", bucket, url, key, secret] => {
            let mut options = S3Options::new(*bucket);
            options.endpoint = Some((*url).to_owned());
            options.access_key = Some((*key).to_owned());
            options.secret_key = Some((*secret).to_owned());
            options.open()?
        }
        ["gcs", bucket, url, key_file] => {
            let mut options = GcsOptions::new(*bucket);
            options.endpoint = Some((*url).to_owned());
            options.credentials = GcsCredentials::KeyFile(key_file.into());
            options.open()?
        }
        ["azure", container, url, account, key] => {
            let mut options = AzureOptions::new(*account, *container);
            options.endpoint = Some((*url).to_owned());
            options.credentials = AzureCredentials::AccountKey((*key).to_owned());
            options.open()?
        }
        _ => return Err("the words are those of the first lines of this example".into()),
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let bucket = bucket(&words)?;
    let error = match probe(&bucket).await {
        Ok(verdict) => {
            println!("{}: {verdict}", bucket.name());
            return Ok(());
        }
        Err(error) => error,
    };
    let mut next: Option<&dyn Error> = Some(&error);
    while let Some(error) = next {
        println!("{error}");
        next = error.source();
    }
    Err("it cannot be used".into())
}
