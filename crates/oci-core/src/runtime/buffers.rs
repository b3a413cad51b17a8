//! Buffers that files are read into, used again and again: fresh memory costs a page fault for every
//! 4 KiB, which is more than reading them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Memory for the pieces of blobs that are being sent. Cloning is cheap and shares it.
///
/// One buffer is held for each response whose client takes its time. They are large while there are few
/// of them, and small beyond the limit, so that ten thousand slow readers need no more than 16 KiB each.
#[derive(Clone)]
pub struct ReadBuffers {
    shared: Arc<Shared>,
}

impl ReadBuffers {
    /// Lends out up to `limit` bytes in buffers of 256 KiB, and keeps up to an eighth of that for later.
    pub fn new(limit: usize) -> Self {
        let shared = Shared {
            idle: Mutex::default(),
            large: limit / LARGE,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A buffer for a piece of at most `wanted` bytes. It may be shorter than that.
    pub(crate) fn take(&self, wanted: u64) -> Buffer {
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).min(LARGE);
        if wanted > SMALL {
            let mut idle = self.shared.lock();
            if idle.lent < self.shared.large {
                idle.lent += 1;
                let reused = idle.buffers.pop();
                drop(idle);
                let memory = reused.unwrap_or_else(|| Memory::new(LARGE + PAGE));
                return Buffer {
                    memory,
                    length: wanted,
                    home: Some(Arc::clone(&self.shared)),
                };
            }
            drop(idle);
            return Buffer {
                memory: Memory::new(SMALL + PAGE),
                length: SMALL,
                home: None,
            };
        }
        Buffer {
            memory: Memory::unaligned(wanted),
            length: wanted,
            home: None,
        }
    }
}

impl Default for ReadBuffers {
    /// Lends out up to 32 MiB.
    fn default() -> Self {
        Self::new(32 << 20)
    }
}

impl fmt::Debug for ReadBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let idle = self.shared.lock();
        f.debug_struct("ReadBuffers")
            .field("limit", &(self.shared.large * LARGE))
            .field("lent", &(idle.lent * LARGE))
            .field("idle", &(idle.buffers.len() * LARGE))
            .finish()
    }
}

#[derive(Debug)]
struct Shared {
    idle: Mutex<Idle>,
    /// How many large buffers may be lent out at once.
    large: usize,
}

#[derive(Debug, Default)]
struct Idle {
    buffers: Vec<Memory>,
    lent: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Idle> {
        // A list and a count: sound after any panic.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory that goes back where it came from.
pub(crate) struct Buffer {
    memory: Memory,
    length: usize,
    home: Option<Arc<Shared>>,
}

impl Buffer {
    /// All of it, to be read into.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.memory.bytes_mut(self.length)
    }

    /// The first `length` bytes, without copying them.
    pub(crate) fn into_bytes(mut self, length: usize) -> Bytes {
        self.length = self.length.min(length);
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.memory.bytes(self.length)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(home) = self.home.take() else {
            return;
        };
        let mut idle = home.lock();
        idle.lent -= 1;
        if idle.buffers.len() < home.large.div_ceil(8) {
            idle.buffers.push(std::mem::take(&mut self.memory));
        }
    }
}

/// Bytes, of which those from `start` on are used.
///
/// They begin with a page, as what is copied into them does. A large allocation begins 16 bytes behind one, and
/// there some processors (AMD's, since Zen 3) copy at half their speed.
#[derive(Debug, Default)]
struct Memory {
    bytes: Box<[u8]>,
    start: usize,
}

impl Memory {
    /// `size` bytes, up to a page of which is lost.
    fn new(size: usize) -> Self {
        let bytes = vec![0; size].into_boxed_slice();
        // Should it not be known where they lie, they are only slower.
        let start = Some(bytes.as_ptr().align_offset(PAGE)).filter(|start| *start < PAGE);
        Self {
            start: start.unwrap_or(0),
            bytes,
        }
    }

    /// `size` bytes, which are not worth it.
    fn unaligned(size: usize) -> Self {
        Self {
            bytes: vec![0; size].into_boxed_slice(),
            start: 0,
        }
    }

    fn bytes(&self, length: usize) -> &[u8] {
        let end = self.start.saturating_add(length);
        self.bytes.get(self.start..end).unwrap_or_default()
    }

    fn bytes_mut(&mut self, length: usize) -> &mut [u8] {
        let end = self.start.saturating_add(length);
        self.bytes.get_mut(self.start..end).unwrap_or_default()
    }
}

/// What the kernel's cache is made of.
const PAGE: usize = 4096;
/// Large enough that system calls do not count.
const LARGE: usize = 256 * 1024;
/// What is left for each when there are very many.
const SMALL: usize = 16 * 1024 - PAGE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_reused_and_small_beyond_the_limit() {
        let buffers = ReadBuffers::new(2 * LARGE);
        let mut first = buffers.take(u64::MAX);
        assert_eq!(first.space().len(), LARGE);
        assert!(begins_with_a_page(&mut first));
        first.space().fill(7);
        let second = buffers.take(LARGE as u64);
        assert_eq!(buffers.take(u64::MAX).space().len(), SMALL);
        assert!(begins_with_a_page(&mut buffers.take(u64::MAX)));
        let bytes = first.into_bytes(10);
        assert_eq!(bytes, [7; 10].as_slice());
        // Still read from, so still lent.
        assert_eq!(buffers.take(u64::MAX).space().len(), SMALL);
        drop(bytes);
        assert_eq!(buffers.take(u64::MAX).space().len(), LARGE);
        drop(second);
        assert_eq!(buffers.shared.lock().lent, 0);
        assert_eq!(buffers.shared.lock().buffers.len(), 1);
    }

    fn begins_with_a_page(buffer: &mut Buffer) -> bool {
        buffer.space().as_ptr().align_offset(PAGE) == 0
    }

    #[test]
    fn a_small_piece_takes_no_large_buffer() {
        let buffers = ReadBuffers::new(LARGE);
        assert_eq!(buffers.take(100).space().len(), 100);
        assert_eq!(buffers.shared.lock().lent, 0);
        assert_eq!(buffers.take(SMALL as u64 + 1).space().len(), SMALL + 1);
    }
}
