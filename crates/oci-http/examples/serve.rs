//! A registry in memory on an ephemeral port, until Enter is pressed or standard input ends.
//!
//! `cargo run -p oci-http --example serve --features testing`

use std::io;

fn main() -> io::Result<()> {
    let registry = oci_http::testing::spawn_blocking()?;
    println!("{}", registry.url());
    println!(
        "docker tag busybox {0} && docker push {0}",
        registry.reference("busybox")
    );
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}
