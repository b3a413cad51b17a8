//! Instructions of what every request passes, counted by valgrind: the same on a busy machine and on an
//! idle one, so a few per cent more are seen.
//!
//! Digests are left out: valgrind does not know the processor's instructions for them, and would count
//! a loop that no machine runs. `cargo bench -p registry-benches --bench digest` times them.
//!
//! `check` runs this and compares with `baseline.md`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    reason = "gungraun's macros make public items without documentation around each bench"
)]
#![expect(clippy::expect_used, reason = "a bench that fails should stop")]

use std::hint::black_box;

use bytes::Bytes;
use gungraun::{LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use oci_core::{Digest, Manifest};
use oci_http::range::RequestedRange;
use oci_http::{ContentRange, Endpoint};
use registry_benches::{image_index, image_manifest};

mod writer;

use writer::{Pushing, pushing};

fn blob() -> String {
    let digest = Digest::sha256(b"content");
    format!("/v2/library/debian/blobs/{digest}")
}

fn encoded() -> String {
    blob().replace(':', "%3A")
}

fn upload() -> String {
    "/v2/library/debian/blobs/uploads/0b9d5dc1-6c50-4b3a-9a4e-1c6f3f1f7c11".to_owned()
}

fn manifest() -> String {
    "/v2/library/debian/manifests/bookworm".to_owned()
}

#[library_benchmark]
#[bench::manifest(setup = manifest)]
#[bench::blob(setup = blob)]
#[bench::encoded(setup = encoded)]
#[bench::upload(setup = upload)]
fn parse(path: String) -> Endpoint {
    Endpoint::parse(black_box(&path), None).expect("an endpoint")
}

fn endpoint(path: fn() -> String) -> Endpoint {
    Endpoint::parse(&path(), None).expect("an endpoint")
}

#[library_benchmark]
#[bench::manifest(args = (manifest,), setup = endpoint)]
#[bench::upload(args = (upload,), setup = endpoint)]
fn format(endpoint: Endpoint) -> String {
    black_box(&endpoint).to_string()
}

#[library_benchmark]
#[bench::image_of_5_layers(args = (5,), setup = image_manifest)]
#[bench::image_of_100_layers(args = (100,), setup = image_manifest)]
#[bench::index_of_10(args = (10,), setup = image_index)]
#[bench::index_of_1000(args = (1000,), setup = image_index)]
fn read(bytes: Bytes) -> Manifest {
    Manifest::parse(black_box(bytes), None).expect("a manifest")
}

#[library_benchmark]
#[bench::both_ends("bytes=10485760-20971519")]
#[bench::to_the_end("bytes=10485760-")]
#[bench::the_last("bytes=-4096")]
fn plan(header: &str) -> Option<std::ops::Range<u64>> {
    match RequestedRange::parse(black_box(header)) {
        RequestedRange::Part(part) => part.resolve(black_box(1 << 30)),
        _ => None,
    }
}

#[library_benchmark]
#[bench::chunk("10485760-20971519")]
fn content_range(header: &str) -> ContentRange {
    black_box(header).parse().expect("a range")
}

#[library_benchmark]
#[bench::one_frame_of_4_kib(args = (1, 4 << 10), setup = pushing)]
#[bench::frames_of_16_kib_to_4_mib(args = (256, 16 << 10), setup = pushing)]
#[bench::frames_of_128_kib_to_4_mib(args = (32, 128 << 10), setup = pushing)]
fn append(pushing: Pushing) -> Pushing {
    pushing.append()
}

library_benchmark_group!(name = router, benchmarks = [parse, format]);
library_benchmark_group!(name = manifests, benchmarks = read);
library_benchmark_group!(name = ranges, benchmarks = [plan, content_range]);
library_benchmark_group!(name = upload_writer, benchmarks = append);

main!(
    config = LibraryBenchmarkConfig::default().env("GLIBC_TUNABLES", ANY_PROCESSOR),
    library_benchmark_groups = [router, manifests, ranges, upload_writer]
);

/// Which `memcpy` glibc takes depends on the processor, and one instruction of some copies everything.
const ANY_PROCESSOR: &str = "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX512F,-AVX512VL,-ERMS,-FSRM";
