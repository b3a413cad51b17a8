//! The names in a directory, packed: a million of them are sorted in memory when an index is made.

use std::fs::File;
use std::io;

use rustix::fs::Dir;

/// Names in one piece of memory, about 8 bytes more than their text each.
#[derive(Debug, Default)]
pub(super) struct Names {
    text: String,
    /// Where each begins in `text`, shifted left by eight, and its length.
    spans: Vec<u64>,
}

impl Names {
    /// The names in a directory, in no order. Names that are not text are nobody's here.
    pub(super) fn read(directory: &File) -> io::Result<Self> {
        Self::first(&mut Dir::read_from(directory)?, usize::MAX)
    }

    /// The same, but of more than `limit` names only so many that it shows.
    pub(super) fn first(directory: &mut Dir, limit: usize) -> io::Result<Self> {
        let mut names = Self::default();
        while let Some(entry) = directory.read() {
            let entry = entry?;
            if let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name);
                if names.len() > limit {
                    break;
                }
            }
        }
        Ok(names)
    }

    /// Adds a name of at most 255 bytes, which no file system exceeds; longer ones are left out.
    pub(super) fn push(&mut self, name: &str) {
        if let Ok(length) = u8::try_from(name.len()) {
            self.spans
                .push((self.text.len() as u64) << 8 | u64::from(length));
            self.text.push_str(name);
        }
    }

    pub(super) fn sort(&mut self) {
        let text = &self.text;
        self.spans
            .sort_unstable_by(|a, b| slice(text, *a).cmp(slice(text, *b)));
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Bytes of text.
    pub(super) fn text_len(&self) -> usize {
        self.text.len()
    }

    /// Bytes of memory that this holds.
    pub(super) fn memory(&self) -> usize {
        self.text.capacity() + self.spans.capacity() * size_of::<u64>()
    }

    pub(super) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.spans.shrink_to_fit();
    }

    /// How many names at the beginning satisfy `predicate`, if none behind them does.
    pub(super) fn partition_point(&self, predicate: impl Fn(&str) -> bool) -> usize {
        self.spans
            .partition_point(|span| predicate(slice(&self.text, *span)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.spans.iter().map(|span| slice(&self.text, *span))
    }
}

fn slice(text: &str, span: u64) -> &str {
    let start = usize::try_from(span >> 8).unwrap_or(usize::MAX);
    let length = usize::from(span.to_le_bytes()[0]);
    let end = start.saturating_add(length);
    text.get(start..end).unwrap_or_default()
}
