//! One bound on the content that all uploads together hold in memory.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use oci_core::error::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of memory, handed out in units.
///
/// Nobody waits for more while holding some: who cannot get more at once first stores what it has and
/// gives that back. So waiting always ends, as everybody who holds memory can go on without more.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    units: Arc<Semaphore>,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT as u64).unwrap_or(usize::MAX);
        let units = units.clamp(4 * CHUNK / UNIT, Semaphore::MAX_PERMITS);
        Self {
            units: Arc::new(Semaphore::new(units)),
        }
    }

    /// Memory for `bytes`, if there is some now.
    pub(super) fn try_take(&self, bytes: usize) -> Option<Permit> {
        let units = Arc::clone(&self.units).try_acquire_many_owned(units(bytes));
        units.ok().map(Permit)
    }

    /// Memory for `bytes`, which are at most [`CHUNK`].
    pub(super) async fn take(&self, bytes: usize) -> Result<Permit, StoreError> {
        let units = Arc::clone(&self.units).acquire_many_owned(units(bytes));
        let units = units
            .await
            .map_err(|error| StoreError::unavailable("waiting for memory", error))?;
        Ok(Permit(units))
    }
}

/// Memory that is given back when dropped.
#[derive(Debug)]
pub(super) struct Permit(#[expect(dead_code, reason = "held for its Drop")] OwnedSemaphorePermit);

/// Content on its way to the store, in chunks that count against the budget.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    full: Vec<Bytes>,
    open: BytesMut,
    length: usize,
    permits: Vec<Permit>,
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many bytes can be pushed without more memory.
    pub(super) fn room(&self) -> usize {
        self.open.capacity() - self.open.len()
    }

    /// The size of the next chunk.
    pub(super) fn next_chunk(&self) -> usize {
        // Most blobs that are not layers fit into the first.
        if self.is_empty() { FIRST_CHUNK } else { CHUNK }
    }

    /// Adds a chunk of `size` bytes that `permit` is for.
    pub(super) fn grow(&mut self, size: usize, permit: Permit) {
        self.seal();
        self.open = BytesMut::with_capacity(size);
        self.permits.push(permit);
    }

    /// Appends as much of `piece` as there is room for, and returns how much that was.
    pub(super) fn push(&mut self, piece: &[u8]) -> usize {
        let taken = piece
            .get(..piece.len().min(self.room()))
            .unwrap_or_default();
        self.open.extend_from_slice(taken);
        self.length += taken.len();
        taken.len()
    }

    /// Puts `pieces`, which `permit` is for, in front.
    pub(super) fn prepend(&mut self, mut pieces: Vec<Bytes>, permit: Permit) {
        self.length += pieces.iter().map(Bytes::len).sum::<usize>();
        pieces.append(&mut self.full);
        self.full = pieces;
        self.permits.push(permit);
    }

    /// The content, still counted: cloning pieces copies nothing.
    pub(super) fn pieces(&mut self) -> Vec<Bytes> {
        self.seal();
        self.full.clone()
    }

    fn seal(&mut self) {
        let open = std::mem::take(&mut self.open);
        if !open.is_empty() {
            self.full.push(open.freeze());
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

pub(super) const CHUNK: usize = 256 * 1024;
const FIRST_CHUNK: usize = 16 * 1024;
const UNIT: usize = 16 * 1024;
