//! Runs: content that was written at once, in pieces.
//!
//! Whoever writes a run first notes that it may be garbage and who will name it, then writes the
//! pieces, then the value that names it, and then takes the note back. Whoever removes one does the
//! same in the other direction. sled's log keeps that order, so after a crash every run is named, or
//! noted, or both; [`Shared::sweep`] removes those that are only noted.

use bytes::Bytes;

use super::Shared;
use super::error::Fault;
use super::keys::{self, GARBAGE, Name, PIECE_BYTES, Run};

impl Shared {
    /// Writes `pieces` as a run that `owner`, a key of the database, is going to name.
    pub(super) fn write_run(&self, owner: &[u8], pieces: &[Bytes]) -> Result<Run, Fault> {
        let name = self.options.ids.random();
        self.tree.insert(keys::key(GARBAGE, &name), owner)?;
        let mut writer = Writer {
            shared: self,
            run: Run { name, length: 0 },
            buffer: Vec::with_capacity(PIECE_BYTES),
        };
        for piece in pieces {
            writer.write(piece)?;
        }
        writer.finish()
    }

    /// Takes back that a run may be garbage: a value names it now.
    pub(super) fn keep_run(&self, run: &Run) -> Result<(), Fault> {
        self.tree.remove(keys::key(GARBAGE, &run.name))?;
        Ok(())
    }

    /// Notes that a run is about to be garbage, unless `owner` still names it.
    pub(super) fn condemn_run(&self, owner: &[u8], run: &Run) -> Result<(), Fault> {
        self.tree.insert(keys::key(GARBAGE, &run.name), owner)?;
        Ok(())
    }

    /// Removes a run that is noted as garbage and that nothing names.
    pub(super) fn remove_run(&self, name: &Name) -> Result<(), Fault> {
        for key in self.tree.scan_prefix(keys::key(keys::PIECE, name)).keys() {
            self.tree.remove(key?)?;
        }
        self.tree.remove(keys::key(GARBAGE, name))?;
        Ok(())
    }

    /// Some bytes of a run from `at` on, at most `most`; `None` if a piece is not there.
    pub(super) fn read_run(
        &self,
        run: &Run,
        mut at: u64,
        most: usize,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let most =
            usize::try_from(run.length.saturating_sub(at)).map_or(most, |left| left.min(most));
        let mut bytes = Vec::with_capacity(most);
        while bytes.len() < most {
            let (index, skip) = (at / PIECE_BYTES as u64, at % PIECE_BYTES as u64);
            let Some(piece) = self.tree.get(keys::piece(&run.name, index))? else {
                return Ok(None);
            };
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            let piece = piece.get(skip..).unwrap_or_default();
            let taken = piece.get(..most - bytes.len()).unwrap_or(piece);
            if taken.is_empty() {
                return Ok(None);
            }
            bytes.extend_from_slice(taken);
            at += taken.len() as u64;
        }
        Ok(Some(bytes))
    }

    /// Removes what a process that was killed began to write or to remove.
    pub(super) fn sweep(&self) -> Result<(), Fault> {
        for noted in self.tree.scan_prefix([GARBAGE]) {
            let (key, owner) = noted?;
            let Some(name) = key.get(1..).and_then(|name| Name::try_from(name).ok()) else {
                continue;
            };
            let named = match self.tree.get(&owner)? {
                Some(value) => keys::runs_of(&owner, &value)?
                    .iter()
                    .any(|run| run.name == name),
                None => false,
            };
            if named {
                self.tree.remove(key)?;
            } else {
                self.remove_run(&name)?;
            }
        }
        Ok(())
    }
}

/// Cuts what it is given into pieces.
struct Writer<'a> {
    shared: &'a Shared,
    run: Run,
    buffer: Vec<u8>,
}

impl Writer<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let room = PIECE_BYTES - self.buffer.len();
            let (taken, rest) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            if taken.len() == PIECE_BYTES {
                self.insert(taken)?;
            } else {
                self.buffer.extend_from_slice(taken);
                if self.buffer.len() == PIECE_BYTES {
                    self.insert_buffer()?;
                }
            }
            bytes = rest;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Run, Fault> {
        self.insert_buffer()?;
        Ok(self.run)
    }

    fn insert_buffer(&mut self) -> Result<(), Fault> {
        let buffer = std::mem::take(&mut self.buffer);
        if !buffer.is_empty() {
            self.insert(&buffer)?;
        }
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn insert(&mut self, piece: &[u8]) -> Result<(), Fault> {
        let key = keys::piece(&self.run.name, self.run.pieces());
        let _changes = self.shared.changes();
        self.shared.tree.insert(key, piece)?;
        self.run.length += piece.len() as u64;
        Ok(())
    }
}
