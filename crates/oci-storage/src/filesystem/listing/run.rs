//! The sorted names of one directory in a file: blocks of names, then where each block begins.
//!
//! The layout is described in `docs/FORMAT.md`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oci_core::Digest;

use super::super::durable::{Disk, open_file_with};
use super::names::Names;
use super::stamp::{Stamp, take_u64};

/// Sorted names that are read block by block.
#[derive(Debug)]
pub(super) struct Run {
    source: Source,
    blocks: Vec<Block>,
    /// The first name of each block.
    firsts: Names,
    pub(super) head: Head,
    /// How long the file was when it was written; the log follows.
    pub(super) end: u64,
}

/// What is known of a run as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// How many names there are.
    pub(super) count: u64,
    /// The directory when it was last read completely, and when that was.
    pub(super) scanned: Stamp,
    pub(super) scanned_at: SystemTime,
    /// The directory that the names are those of; [`Stamp::NONE`] if it is not known.
    pub(super) stamp: Stamp,
}

#[derive(Debug)]
enum Source {
    File(Arc<File>),
    /// Where nothing can be written.
    Memory(Vec<u8>),
}

#[derive(Debug)]
struct Block {
    offset: u64,
    length: usize,
    sum: u64,
}

impl Run {
    /// Writes sorted names to a file that has no final name yet, and that a power cut may tear.
    pub(super) fn write<'a>(
        disk: &Disk,
        path: &Path,
        relative: &str,
        names: impl Iterator<Item = &'a str>,
        count: usize,
        mut head: Head,
    ) -> io::Result<Self> {
        let file = disk.create(path)?;
        head.count = count as u64;
        let mut offset = HEAD;
        let (blocks, firsts) = encode(names, count, HEAD, |piece| {
            disk.write_at(&file, path, piece, offset)?;
            offset += piece.len() as u64;
            Ok(())
        })?;
        let tail = tail(relative, &blocks, &firsts);
        disk.write_at(&file, path, &tail, offset)?;
        let end = offset + tail.len() as u64;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(head.count.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.extend((tail.len() as u64).to_le_bytes());
        bytes.extend(sum(&tail).to_le_bytes());
        bytes.extend(milliseconds(head.scanned_at).to_le_bytes());
        head.scanned.write(&mut bytes);
        head.stamp.write(&mut bytes);
        bytes.extend(sum(&bytes).to_le_bytes());
        disk.write_at(&file, path, &bytes, 0)?;
        Ok(Self {
            source: Source::File(Arc::new(file)),
            blocks,
            firsts,
            head,
            end,
        })
    }

    /// The same in memory.
    pub(super) fn in_memory<'a>(
        names: impl Iterator<Item = &'a str>,
        count: usize,
        mut head: Head,
    ) -> io::Result<Self> {
        head.count = count as u64;
        let mut bytes = Vec::new();
        let (blocks, firsts) = encode(names, count, 0, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(Self {
            end: bytes.len() as u64,
            source: Source::Memory(bytes),
            blocks,
            firsts,
            head,
        })
    }

    /// Opens a file that [`Run::write`] made for `relative`; `None` if there is none that can be used.
    pub(super) fn open(path: &Path, relative: &str) -> io::Result<Option<Self>> {
        let file = match open_file_with(path, OpenOptions::new().read(true).write(true)) {
            // What cannot be added to is still right as long as nothing changes.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                open_file_with(path, OpenOptions::new().read(true))
            }
            file => file,
        };
        let file = match file {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let Some(head) = read(&file, length, 0, HEAD) else {
            return Ok(None);
        };
        let Some((head, offset, tail_length, tail_sum)) = parse_head(&head) else {
            return Ok(None);
        };
        let tail = read(&file, length, offset, tail_length).filter(|tail| sum(tail) == tail_sum);
        let Some((blocks, firsts)) = tail.and_then(|tail| parse_tail(&tail, relative, offset))
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            source: Source::File(Arc::new(file)),
            blocks,
            firsts,
            head,
            end: offset + tail_length,
        }))
    }

    /// For which directory a file was made; `None` if it cannot be used.
    pub(super) fn relative(path: &Path) -> Option<String> {
        let file = open_file_with(path, OpenOptions::new().read(true)).ok()?;
        let available = file.metadata().ok()?.len();
        let (_, offset, ..) = parse_head(&read(&file, available, 0, HEAD)?)?;
        let length = take_u64(&mut read(&file, available, offset, 8)?.as_slice())?;
        String::from_utf8(read(&file, available, offset + 8, length)?).ok()
    }

    /// The file, to lock it and to add to its log; `None` in memory.
    pub(super) fn file(&self) -> Option<&Arc<File>> {
        match &self.source {
            Source::File(file) => Some(file),
            Source::Memory(_) => None,
        }
    }

    /// Bytes of memory that this holds.
    pub(super) fn memory(&self) -> usize {
        let names = match &self.source {
            Source::File(_) => 0,
            Source::Memory(bytes) => bytes.capacity(),
        };
        names + self.firsts.memory() + self.blocks.capacity() * size_of::<Block>()
    }

    /// The names from `from` on.
    pub(super) fn names_from<'a>(&'a self, from: &'a str) -> Reader<'a> {
        let behind = self.firsts.partition_point(|first| first <= from);
        Reader {
            run: self,
            next: behind.saturating_sub(1),
            block: Vec::new(),
            at: 0,
            from,
        }
    }

    fn block(&self, block: &Block) -> io::Result<Vec<u8>> {
        let bytes = match &self.source {
            Source::File(file) => {
                let mut bytes = vec![0; block.length];
                file.read_exact_at(&mut bytes, block.offset)?;
                bytes
            }
            Source::Memory(bytes) => usize::try_from(block.offset)
                .ok()
                .and_then(|start| bytes.get(start..start.checked_add(block.length)?))
                .unwrap_or_default()
                .to_vec(),
        };
        if sum(&bytes) == block.sum {
            Ok(bytes)
        } else {
            Err(damaged())
        }
    }
}

/// Reads names in order, a block at a time.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    run: &'a Run,
    next: usize,
    block: Vec<u8>,
    at: usize,
    from: &'a str,
}

impl Iterator for Reader<'_> {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.block.get(self.at..).unwrap_or_default();
            let Some((length, rest)) = rest.split_first() else {
                let block = self.run.blocks.get(self.next)?;
                self.next += 1;
                self.at = 0;
                match self.run.block(block) {
                    Ok(bytes) => self.block = bytes,
                    Err(error) => return Some(Err(error)),
                }
                continue;
            };
            let length = usize::from(*length);
            let name = rest
                .get(..length)
                .and_then(|name| str::from_utf8(name).ok());
            let Some(name) = name else {
                return Some(Err(damaged()));
            };
            self.at += 1 + length;
            if name >= self.from {
                return Some(Ok(name.to_owned()));
            }
        }
    }
}

/// Hands the names to `sink` in large pieces, and says where their blocks are.
fn encode<'a>(
    names: impl Iterator<Item = &'a str>,
    count: usize,
    start: u64,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(Vec<Block>, Names)> {
    let per_block = count.div_ceil(BLOCKS_MAX).max(BLOCK_MIN);
    let (mut blocks, mut firsts) = (Vec::new(), Names::default());
    let (mut piece, mut block) = (Vec::new(), Vec::new());
    let (mut offset, mut in_block) = (start, 0);
    let mut names = names.peekable();
    while let Some(name) = names.next() {
        if in_block == 0 {
            firsts.push(name);
        }
        block.push(u8::try_from(name.len()).map_err(io::Error::other)?);
        block.extend_from_slice(name.as_bytes());
        in_block += 1;
        if in_block == per_block || names.peek().is_none() {
            blocks.push(Block {
                offset,
                length: block.len(),
                sum: sum(&block),
            });
            offset += block.len() as u64;
            piece.append(&mut block);
            in_block = 0;
        }
        if piece.len() >= PIECE {
            sink(&piece)?;
            piece.clear();
        }
    }
    sink(&piece)?;
    blocks.shrink_to_fit();
    firsts.shrink();
    Ok((blocks, firsts))
}

fn tail(relative: &str, blocks: &[Block], firsts: &Names) -> Vec<u8> {
    let mut tail = (relative.len() as u64).to_le_bytes().to_vec();
    tail.extend_from_slice(relative.as_bytes());
    for (block, first) in blocks.iter().zip(firsts.iter()) {
        tail.extend((block.length as u64).to_le_bytes());
        tail.extend(block.sum.to_le_bytes());
        // Names are of at most 255 bytes.
        tail.push(u8::try_from(first.len()).unwrap_or_default());
        tail.extend_from_slice(first.as_bytes());
    }
    tail
}

fn parse_tail(mut tail: &[u8], relative: &str, names_end: u64) -> Option<(Vec<Block>, Names)> {
    let length = usize::try_from(take_u64(&mut tail)?).ok()?;
    let (path, mut tail) = tail.split_at_checked(length)?;
    (path == relative.as_bytes()).then_some(())?;
    let (mut blocks, mut firsts) = (Vec::new(), Names::default());
    let mut offset = HEAD;
    while !tail.is_empty() {
        let length = take_u64(&mut tail)?;
        let sum = take_u64(&mut tail)?;
        let (first, rest) = tail.split_first()?;
        let (first, rest) = rest.split_at_checked(usize::from(*first))?;
        tail = rest;
        firsts.push(str::from_utf8(first).ok()?);
        blocks.push(Block {
            offset,
            length: usize::try_from(length).ok()?,
            sum,
        });
        offset = offset.checked_add(length)?;
    }
    blocks.shrink_to_fit();
    firsts.shrink();
    (offset == names_end).then_some((blocks, firsts))
}

/// The head, and where the tail is, how long and with which sum.
fn parse_head(bytes: &[u8]) -> Option<(Head, u64, u64, u64)> {
    let (covered, mut rest) = bytes.split_at_checked(bytes.len().checked_sub(8)?)?;
    (take_u64(&mut rest)? == sum(covered)).then_some(())?;
    let mut rest = covered.strip_prefix(MAGIC)?;
    let count = take_u64(&mut rest)?;
    let offset = take_u64(&mut rest)?;
    let length = take_u64(&mut rest)?;
    let tail_sum = take_u64(&mut rest)?;
    let scanned_at = Duration::from_millis(take_u64(&mut rest)?);
    let head = Head {
        count,
        scanned_at: SystemTime::UNIX_EPOCH.checked_add(scanned_at)?,
        scanned: Stamp::read(&mut rest)?,
        stamp: Stamp::read(&mut rest)?,
    };
    Some((head, offset, length, tail_sum))
}

/// Reads what lies in a file of `available` bytes; `None` if it does not.
pub(super) fn read(file: &File, available: u64, offset: u64, length: u64) -> Option<Vec<u8>> {
    (offset.checked_add(length)? <= available).then_some(())?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

/// The first eight bytes of the SHA-256.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let digest = Digest::sha256(bytes);
    digest
        .as_bytes()
        .first_chunk()
        .map_or(0, |first| u64::from_le_bytes(*first))
}

pub(super) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the index of a listing is damaged",
    )
}

/// With the version of the format at its end.
const MAGIC: &[u8] = b"registryd-list\n1";
/// Magic, five numbers, two stamps and the sum.
const HEAD: u64 = 16 + 5 * 8 + 2 * 32 + 8;
/// At most so many first names are held in memory, however many names there are.
const BLOCKS_MAX: usize = 8192;
const BLOCK_MIN: usize = 64;
const PIECE: usize = 256 * 1024;
