//! The accept loop, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Limits;
use super::app::App;
use super::connection::Shared;
use super::listener::{Listener, Peer, Socket};
use super::places::{Place, Places};
use crate::tls::LiveTls;

/// Serves until told to stop: a first SIGTERM or SIGINT drains, a second one stops at once.
///
/// Returns whether every request in flight was answered.
pub async fn run(
    listener: Listener,
    app: App,
    limits: Limits,
    tls: Option<Arc<LiveTls>>,
    mut signals: Signals,
) -> bool {
    let (stop, stopping) = watch::channel(false);
    let limits = Arc::new(limits);
    let shared = Shared {
        app,
        limits: Arc::clone(&limits),
        tls,
        handshakes: Arc::default(),
        stopping,
    };
    let places = Places::new(limits.connections);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = signals.received() => break,
            accepted = accept(&listener, &places) => accepted,
            // Reaps ended connections, so that the set does not grow.
            Some(_) = connections.join_next() => continue,
        };
        let Some((socket, peer, place)) = accepted else {
            continue;
        };
        let shared = shared.clone();
        connections.spawn(async move {
            shared.serve(socket, peer, &place).await;
            drop(place);
        });
    }

    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    // Clients that come now are better told by a refused connection than by a hanging one.
    drop(listener);
    let _ = stop.send(true);
    let open = connections.len();
    tracing::info!(open, timeout = ?limits.drain, "stopping: requests in flight are finished; signal again to stop at once");
    let drained = tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => true,
        () = tokio::time::sleep(limits.drain) => false,
        () = signals.received() => false,
    };
    if !drained {
        tracing::warn!(
            open = connections.len(),
            "stopping with requests in flight; their uploads can be resumed"
        );
    }
    connections.shutdown().await;
    drained
}

async fn accept(listener: &Listener, places: &Places) -> Option<(Socket, Peer, Place)> {
    // First, because what was accepted must not be dropped with this future.
    let room = places.room().await?;
    match listener.accept().await {
        Ok((socket, peer)) => Some((socket, peer, places.take(room))),
        Err(error) => {
            // Out of file descriptors, usually: an idle connection gives one back, and spinning does not.
            places.close_least_recently_used();
            tracing::warn!(%error, "cannot accept connections");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// The signals that end the process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes over SIGTERM and SIGINT.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
