//! Listings in byte order, paged by key.

/// Which part of a listing is wanted: at most `limit` entries strictly after `after`.
///
/// `after` need not be an entry, or even a valid name: it is compared as bytes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct PageRequest {
    /// The last key of the page before; `None` starts at the beginning.
    pub after: Option<String>,
    /// The most entries to return.
    pub limit: usize,
}

impl PageRequest {
    /// The first `limit` entries.
    pub fn first(limit: usize) -> Self {
        Self { after: None, limit }
    }

    /// The `limit` entries that follow `after`.
    pub fn after(after: impl Into<String>, limit: usize) -> Self {
        Self {
            after: Some(after.into()),
            limit,
        }
    }

    /// Whether `key` belongs behind this request's starting point.
    pub fn is_past(&self, key: &str) -> bool {
        self.after.as_deref().is_none_or(|after| key > after)
    }
}

/// One page of a listing.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Page<T> {
    /// The entries, in byte order of their keys.
    pub items: Vec<T>,
    /// Whether at least one entry follows.
    pub more: bool,
}

impl<T> Page<T> {
    /// A page of `items`, behind which there are `more` or not.
    pub fn new(items: Vec<T>, more: bool) -> Self {
        Self { items, more }
    }

    /// Cuts a page out of sorted entries that come after the starting point.
    pub fn cut(entries: impl IntoIterator<Item = T>, limit: usize) -> Self {
        let mut entries = entries.into_iter();
        let items = entries.by_ref().take(limit).collect();
        Self {
            items,
            more: entries.next().is_some(),
        }
    }
}
