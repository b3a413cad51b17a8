//! One budget of memory for the bytes of all uploads that wait to be hashed and written.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};

use super::super::lock;

/// How much memory uploads hold, and how much they may.
#[derive(Debug)]
pub(in super::super) struct Budget {
    limit: usize,
    used: AtomicUsize,
    /// Large buffers to use again: new ones cost page faults.
    spare: Mutex<Vec<Memory>>,
}

impl Budget {
    pub(in super::super) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
            spare: Mutex::default(),
        }
    }

    /// How many bytes are held now.
    pub(in super::super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|more| *more <= self.limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    fn take_anyway(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes of one upload, counted against the budget. Frames are copied into it, because a network
/// library's frame keeps a larger buffer alive.
pub(super) struct Buffer {
    budget: Arc<Budget>,
    memory: Memory,
    length: usize,
    /// What is counted, and how far `memory` may be filled.
    room: usize,
    /// How much of `room` is left empty, so that what follows is aligned.
    spared: usize,
}

impl Buffer {
    /// A buffer that suits an upload which has filled buffers before, or not. `None` if the budget is
    /// used up.
    pub(super) fn new(budget: &Arc<Budget>, large: bool) -> Option<Self> {
        let wanted = if large {
            [LARGE, SMALL]
        } else {
            [SMALL, SMALL]
        };
        let room = wanted.into_iter().find(|room| budget.take(*room))?;
        Some(Self::with_room(budget, room))
    }

    /// The small buffer that every upload may have, whatever the budget says, so that none ever waits
    /// for another.
    pub(super) fn beyond_budget(budget: &Arc<Budget>) -> Self {
        budget.take_anyway(SMALL);
        Self::with_room(budget, SMALL)
    }

    fn with_room(budget: &Arc<Budget>, room: usize) -> Self {
        Self {
            budget: Arc::clone(budget),
            memory: Memory::of(budget, room),
            length: 0,
            room,
            spared: 0,
        }
    }

    /// Makes it end where direct writes can go on, for content that begins at `offset`.
    pub(super) fn align_end(mut self, offset: u64) -> Self {
        self.spared = usize::try_from(offset % ALIGNMENT as u64).unwrap_or(0);
        self
    }

    /// Copies as much of `frame` as there is room for.
    pub(super) fn fill(&mut self, frame: &mut Bytes) {
        let taken = frame.len().min(self.room - self.spared - self.length);
        let space = self.memory.space();
        let space = space.get_mut(self.length..self.length + taken);
        if let (Some(space), Some(part)) = (space, frame.get(..taken)) {
            space.copy_from_slice(part);
        }
        self.length += taken;
        frame.advance(taken);
    }

    pub(super) fn is_full(&self) -> bool {
        self.length >= self.room - self.spared
    }

    /// Makes a full buffer larger, if it is not the largest and the budget allows.
    pub(super) fn grow(&mut self) -> bool {
        let Some(room) = [MEDIUM, LARGE].into_iter().find(|room| *room > self.room) else {
            return false;
        };
        if !self.budget.take(room - self.room) {
            return false;
        }
        let mut memory = Memory::of(&self.budget, room);
        let filled = self.as_slice();
        if let Some(space) = memory.space().get_mut(..filled.len()) {
            space.copy_from_slice(filled);
        }
        self.memory = memory;
        self.room = room;
        true
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.memory.bytes().get(..self.length).unwrap_or_default()
    }

    pub(super) fn len(&self) -> u64 {
        self.length as u64
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.budget.give_back(self.room);
        if self.room == LARGE {
            let memory = std::mem::take(&mut self.memory);
            let mut spare = lock(&self.budget.spare);
            if spare.len() < SPARE_MAX {
                spare.push(memory);
            }
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} of {})", self.length, self.room)
    }
}

/// Bytes that begin where a disk can fetch them without the kernel's cache in between.
#[derive(Debug, Default)]
struct Memory {
    allocated: Box<[u8]>,
    start: usize,
    room: usize,
}

impl Memory {
    fn of(budget: &Budget, room: usize) -> Self {
        if room < LARGE {
            return Self {
                allocated: vec![0; room].into_boxed_slice(),
                start: 0,
                room,
            };
        }
        lock(&budget.spare).pop().unwrap_or_else(|| {
            let allocated = vec![0; room + ALIGNMENT].into_boxed_slice();
            Self {
                // On a platform that cannot say, it is merely not aligned.
                start: allocated.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT),
                allocated,
                room,
            }
        })
    }

    fn bytes(&self) -> &[u8] {
        let range = self.start..self.start + self.room;
        self.allocated.get(range).unwrap_or_default()
    }

    fn space(&mut self) -> &mut [u8] {
        let range = self.start..self.start + self.room;
        self.allocated.get_mut(range).unwrap_or_default()
    }
}

/// What an upload begins with: most manifests' configs fit.
const SMALL: usize = 16 * 1024;
const MEDIUM: usize = 64 * 1024;
/// Large enough that system calls and thread switches do not count.
const LARGE: usize = 256 * 1024;
/// 4 MiB beside the budget.
const SPARE_MAX: usize = 16;
/// What direct writes need, of memory, offset and length.
pub(super) const ALIGNMENT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> Bytes {
        vec![7; length].into()
    }

    #[test]
    fn a_buffer_grows_with_its_content_and_is_counted() {
        let budget = Arc::new(Budget::new(1 << 20));
        let mut buffer = Buffer::new(&budget, false).unwrap();
        let mut rest = frame(LARGE + 5);
        let mut rooms = Vec::new();
        loop {
            buffer.fill(&mut rest);
            rooms.push(budget.used());
            if !buffer.grow() {
                break;
            }
        }
        assert_eq!(rooms, [SMALL, MEDIUM, LARGE]);
        assert_eq!((buffer.len(), rest.len()), (LARGE as u64, 5));
        drop(buffer);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn content_that_begins_anywhere_is_soon_aligned() {
        let budget = Arc::new(Budget::new(1 << 20));
        let mut offset = 5_000_001;
        let mut buffer = Buffer::new(&budget, true).unwrap().align_end(offset);
        let mut rest = frame(1 << 20);
        buffer.fill(&mut rest);
        assert!(buffer.is_full());
        offset += buffer.len();
        assert!(offset.is_multiple_of(ALIGNMENT as u64));
        assert_eq!(rest.len() as u64 + buffer.len(), 1 << 20);
    }

    #[test]
    fn a_used_up_budget_allows_one_small_buffer_more() {
        let budget = Arc::new(Budget::new(LARGE));
        let held = Buffer::new(&budget, true).unwrap();
        assert!(Buffer::new(&budget, true).is_none());
        let mut extra = Buffer::beyond_budget(&budget);
        extra.fill(&mut frame(SMALL));
        assert!(!extra.grow());
        assert_eq!(budget.used(), LARGE + SMALL);
        drop(held);
        assert!(extra.grow());
    }
}
