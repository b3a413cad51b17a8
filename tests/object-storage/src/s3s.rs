//! A second S3 server, in this process: `s3s-fs`, which keeps objects in files.
//!
//! It checks signatures and checksums, which moto does not, and holds little in memory. Of several racing
//! creations more than one may win, and it cannot hold the keys `p` and `p/q` at once.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use oci_storage::object::S3Options;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::moto::{ACCESS_KEY, BUCKET, SECRET_KEY, options, variables};

/// s3s-fs, with one bucket. It ends when this is dropped.
#[derive(Debug)]
pub struct S3sFs {
    address: SocketAddr,
    traffic: Arc<Traffic>,
    runtime: Option<Runtime>,
    _files: tempfile::TempDir,
}

/// Bytes on the connections of the server, heads of requests and answers included.
#[derive(Debug, Default)]
pub struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    /// What its clients have sent.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// What it has sent to them.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl S3sFs {
    /// A server whose objects are in a new directory below `scratch`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(scratch: &Path) -> anyhow::Result<Self> {
        let files = tempfile::tempdir_in(scratch).context("a directory for objects")?;
        std::fs::create_dir(files.path().join(BUCKET)).context("the bucket")?;
        let objects = FileSystem::new(files.path());
        let objects = objects.map_err(|error| anyhow::anyhow!("s3s-fs: {error:?}"))?;
        let mut service = S3ServiceBuilder::new(objects);
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = service.build();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let listener = {
            let _guard = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let address = listener.local_addr()?;
        let traffic = Arc::new(Traffic::default());
        runtime.spawn(serve(listener, service, Arc::clone(&traffic)));
        Ok(Self {
            address,
            traffic,
            runtime: Some(runtime),
            _files: files,
        })
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What went over its connections so far.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// How a client reaches its bucket, below `root`.
    pub fn options(&self, root: &str) -> S3Options {
        let mut options = options(self.endpoint(), root);
        // It answers 500 to every write of a long key, after it has written it.
        options.http.retry_pause = Some(Duration::from_millis(1));
        options
    }

    /// How registryd reaches its bucket, below `root`.
    pub fn variables(&self, root: &str) -> Vec<(String, String)> {
        variables(&self.endpoint(), BUCKET, root)
    }
}

impl Drop for S3sFs {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Whoever drops it may be a task that must not wait.
            runtime.shutdown_background();
        }
    }
}

async fn serve(listener: TcpListener, service: S3Service, traffic: Arc<Traffic>) {
    while let Ok((stream, _)) = listener.accept().await {
        // Or each answer waits for the client's delayed acknowledgement of its head.
        let _ = stream.set_nodelay(true);
        let (service, traffic) = (service.clone(), Arc::clone(&traffic));
        tokio::spawn(async move {
            let stream = TokioIo::new(Counted { stream, traffic });
            let server = Builder::new(TokioExecutor::new());
            // A client that goes away is none of its business.
            let _ = server.serve_connection(stream, service).await;
        });
    }
}

/// A connection whose bytes are counted.
struct Counted {
    stream: TcpStream,
    traffic: Arc<Traffic>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read_now = buffer.filled().len() - before;
        self.traffic
            .received
            .fetch_add(read_now as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = written {
            self.traffic
                .sent
                .fetch_add(written as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
