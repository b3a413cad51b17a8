//! Which uploads this process has open, so that a writer that follows another need not guess whether
//! that one is still at work.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use oci_core::store::UploadId;
use tokio::sync::Semaphore;

use super::super::lock;

/// The uploads that this process has open.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Sessions(Arc<Mutex<HashMap<UploadId, Arc<Entry>>>>);

#[derive(Debug)]
struct Entry {
    /// The writer is gone, and what it leaves is being put in order.
    closing: AtomicBool,
    /// Closed at the end; nobody ever gets a permit.
    ended: Semaphore,
}

impl Sessions {
    /// Takes note of a session that is being opened; `None` if this process has it open already.
    pub(super) fn enter(&self, id: &UploadId) -> Option<Presence> {
        let mut open = lock(&self.0);
        if open.contains_key(id) {
            return None;
        }
        let entry = Arc::new(Entry {
            closing: AtomicBool::new(false),
            ended: Semaphore::new(0),
        });
        open.insert(id.clone(), Arc::clone(&entry));
        Some(Presence(Some(Held {
            sessions: self.clone(),
            id: id.clone(),
            entry,
        })))
    }

    /// Waits until a session that lost its writer has been put in order.
    pub(in super::super) async fn settled(&self, id: &UploadId) {
        loop {
            let entry = lock(&self.0).get(id).cloned();
            match entry {
                Some(entry) if entry.closing.load(Ordering::Acquire) => {
                    // It fails when the semaphore is closed, which is what is waited for.
                    let _ = entry.ended.acquire().await;
                }
                _ => return,
            }
        }
    }
}

/// That this process has a session open. Dropped, it has not.
#[derive(Debug)]
pub(super) struct Presence(Option<Held>);

#[derive(Debug)]
struct Held {
    sessions: Sessions,
    id: UploadId,
    entry: Arc<Entry>,
}

impl Presence {
    /// The writer is gone.
    pub(super) fn closing(&self) {
        if let Some(held) = &self.0 {
            held.entry.closing.store(true, Ordering::Release);
        }
    }

    /// Passes it on to who puts the session in order.
    pub(super) fn hand_over(&mut self) -> Self {
        Self(self.0.take())
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            lock(&held.sessions.0).remove(&held.id);
            held.entry.ended.close();
        }
    }
}
