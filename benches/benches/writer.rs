//! The upload writer of the filesystem engine: frames into buffers, hashing and writing, without HTTP and
//! without syncing.
#![expect(clippy::expect_used, reason = "a bench that fails should stop")]

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_core::Stream;
use oci_core::BlobStore;
use oci_core::store::{AppendMode, UploadOptions, UploadScope};
use oci_storage::filesystem::{Durability, Filesystem, Options};
use registry_benches::content;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Below 16 MiB all of it goes through the kernel's cache; beyond, the rest goes around it.
fn append(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    // Below the target directory: a real disk, where the default one may be memory.
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let mut options = Options::default();
    options.durability = Durability::None;
    let store = Filesystem::open(directory.path(), options).expect("a store");
    let scope = UploadScope::new("bench/blob".parse().expect("a name"), "");
    let mut group = c.benchmark_group("writer/append");
    group.sample_size(20);
    for (name, length) in [
        ("64 KiB", 64 << 10),
        ("8 MiB", 8 << 20),
        ("64 MiB", 64 << 20),
    ] {
        group.throughput(Throughput::Bytes(length as u64));
        for frame in [16 << 10, 128 << 10] {
            let content = content(length, 5);
            let frames = format!("frames of {} KiB", frame >> 10);
            group.bench_function(BenchmarkId::new(name, frames), |b| {
                b.to_async(&runtime).iter(|| async {
                    let options = UploadOptions::default();
                    let begun = store.begin_upload(&scope, &options).await;
                    let mut upload = begun.expect("an upload");
                    let frames = pin!(Frames::of(&content, frame));
                    let appended = upload.append(frames, AppendMode::Atomic).await;
                    assert_eq!(appended.expect("it is taken"), length as u64);
                    upload.abort().await.expect("it is ended");
                });
            });
        }
    }
    group.finish();
}

/// A body that is there at once.
struct Frames(VecDeque<Bytes>);

impl Frames {
    fn of(content: &Bytes, length: usize) -> Self {
        let starts = (0..content.len()).step_by(length);
        let frames = starts.map(|start| content.slice(start..content.len().min(start + length)));
        Self(frames.collect())
    }
}

impl Stream for Frames {
    type Item = Result<Bytes, oci_core::BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

criterion_group!(benches, append);
criterion_main!(benches);
