//! Two listings in one order, walked side by side.

use std::collections::VecDeque;
use std::sync::Arc;

use oci_core::StoreError;

use super::super::Engine;
use super::PAGE;

/// A page of keys after another, where each looks only as far as it is asked to.
#[derive(Debug)]
pub(super) struct Cursor {
    listing: Listing,
    prefix: &'static str,
    page: VecDeque<String>,
    /// Where the last page ended.
    after: Option<String>,
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Listing {
    Records,
    Extents,
}

impl Cursor {
    pub(super) fn new(listing: Listing, prefix: &'static str) -> Self {
        Self {
            listing,
            prefix,
            page: VecDeque::new(),
            after: None,
            ended: false,
        }
    }

    /// The next key below `path`, which is not before any that was asked for earlier.
    pub(super) async fn next_below(
        &mut self,
        engine: &Arc<Engine>,
        path: &str,
    ) -> Result<Option<String>, StoreError> {
        let below = format!("{}{path}/", self.prefix);
        loop {
            while let Some(key) = self.page.front() {
                if key.starts_with(&below) {
                    return Ok(self.page.pop_front());
                }
                if *key > below {
                    return Ok(None);
                }
                self.page.pop_front();
            }
            if self.ended {
                return Ok(None);
            }
            // What lies between is skipped: a base layer may have any number of references.
            let start = below.trim_end_matches('/');
            let after = match &self.after {
                Some(after) if after.as_str() > start => after.clone(),
                _ => start.to_owned(),
            };
            let keys = match self.listing {
                Listing::Records => {
                    let entries = engine.scan(self.prefix, Some(&after), PAGE).await?;
                    entries.into_iter().map(|entry| entry.key).collect()
                }
                Listing::Extents => {
                    let extents = engine.list_extents(self.prefix, Some(&after), PAGE).await?;
                    extents.into_iter().map(|extent| extent.key).collect()
                }
            };
            self.page = keys;
            self.ended = self.page.len() < PAGE;
            self.after = self.page.back().cloned().or(Some(after));
        }
    }
}
