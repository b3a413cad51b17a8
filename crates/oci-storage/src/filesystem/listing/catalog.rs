//! Listing tags and repositories in byte order of their names, which is not the order of a walk.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::fs;
use std::io;
use std::path::Path;

use oci_core::store::{Page, PageRequest};
use oci_core::{RepositoryName, StoreError, Tag};

use super::super::links::is_absent;
use super::super::{Failure, Inner};
use super::confirm::Below;
use super::names::Names;
use super::{Batch, Start};

impl Inner {
    pub(in super::super) fn list_tags(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Tag>, Failure> {
        let Some(links) = Below::open(&self.layout.tags(repository))? else {
            // The last tag is gone, or there never was one.
            return if self.layout.revisions(repository).is_dir() {
                Ok(Page::new(Vec::new(), false))
            } else {
                Err(StoreError::NotFound.into())
            };
        };
        let after = page.after.as_deref().map_or(Start::first(), Start::after);
        let relative = format!("{repository}/_manifests/tags");
        let mut children = Children::new(relative, after, page.limit);
        let mut found = Vec::new();
        // One more than asked for tells whether there is more; each is confirmed by its link.
        while found.len() <= page.limit {
            let Some(name) = children.next(self)? else {
                break;
            };
            if let Ok(tag) = name.parse::<Tag>()
                && links.link(&format!("{name}/current/link"))?.is_some()
            {
                found.push(tag);
            }
        }
        Ok(Page::cut(found, page.limit))
    }

    /// Goes through the tree by smallest name first and stops behind the page.
    pub(in super::super) fn list_repositories(
        &self,
        page: &PageRequest,
    ) -> Result<Page<RepositoryName>, Failure> {
        let Some(root) = Below::open(&self.layout.repositories())? else {
            return Ok(Page::new(Vec::new(), false));
        };
        let mut walk = Walk::new(page, root);
        walk.enter(self, String::new())?;
        let mut found = Vec::new();
        while found.len() <= page.limit {
            let Some(repository) = walk.next(self)? else {
                break;
            };
            found.push(repository);
        }
        Ok(Page::cut(found, page.limit))
    }
}

/// All names that may be those of repositories, in byte order.
struct Walk<'a> {
    page: &'a PageRequest,
    root: Below,
    open: BinaryHeap<Reverse<Step>>,
    directories: Vec<(String, Children)>,
    /// What is in the directories that are on the heap as a [`What::Tree`], if that was seen already.
    seen: HashMap<String, Names>,
}

/// What comes next somewhere in the tree, by the smallest name that it can lead to.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Step {
    name: String,
    what: What,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum What {
    /// The child `name` of the directory with this number, and all behind it.
    Child(usize),
    /// All below `name`, which ends with a slash: nothing in there sorts before it, while `a-b` does.
    Tree,
}

impl<'a> Walk<'a> {
    fn new(page: &'a PageRequest, root: Below) -> Self {
        Self {
            page,
            root,
            open: BinaryHeap::new(),
            directories: Vec::new(),
            seen: HashMap::new(),
        }
    }

    /// The next repository of the page.
    fn next(&mut self, inner: &Inner) -> io::Result<Option<RepositoryName>> {
        while let Some(Reverse(Step { name, what })) = self.open.pop() {
            match what {
                What::Child(number) => {
                    self.advance(inner, number)?;
                    // Only what parses can be a repository or lead to one.
                    if let Ok(repository) = name.parse()
                        && self.look(inner, &repository, &name)?
                    {
                        return Ok(Some(repository));
                    }
                }
                What::Tree => self.enter(inner, name)?,
            }
        }
        Ok(None)
    }

    /// Whether a directory is a repository of the page. What is below it takes its place.
    fn look(&mut self, inner: &Inner, repository: &RepositoryName, name: &str) -> io::Result<bool> {
        let listings = inner.disk.listings();
        let Some(stamp) = self.root.stamp(name)? else {
            return Ok(false);
        };
        let wanted = self.page.is_past(name);
        if let Some(digest) = listings.hints.revision(name, &stamp)
            && (!wanted || self.root.holds(name, &digest)?)
        {
            return Ok(wanted);
        }
        let Some(mut directory) = self.root.directory(name)? else {
            return Ok(false);
        };
        let names = listings.small(name, &mut directory)?;
        let has = |predicate: fn(&str) -> bool| {
            let names = names.as_ref();
            names.is_none_or(|names| names.iter().any(predicate))
        };
        let leads_on = has(is_listed);
        let mut holds = false;
        if wanted && has(|child| child == "_manifests") {
            let found = inner.find_manifest(&directory, repository)?;
            holds = found.is_some();
            if let Some(digest) = found
                && !leads_on
            {
                listings.hints.learn(name, &stamp, &digest);
            }
        }
        if leads_on {
            self.push_tree(name);
            if let Some(names) = names {
                self.seen.insert(format!("{name}/"), names);
            }
        }
        Ok(holds)
    }

    /// Begins with the children of a directory; `prefix` is empty or ends with a slash.
    fn enter(&mut self, inner: &Inner, prefix: String) -> io::Result<()> {
        let after = self.page.after.as_deref().unwrap_or_default();
        let rest = after.strip_prefix(&prefix).unwrap_or_default();
        // The child that leads to `after`, if it lies in this directory.
        let first = rest.split('/').next().unwrap_or_default();
        // `a` sorts before `a-b`, what is below `a` behind it.
        for (at, _) in first.match_indices(|c: char| c < '/') {
            let above = format!("{prefix}{}", first.get(..at).unwrap_or_default());
            if above.parse::<RepositoryName>().is_ok() {
                self.push_tree(&above);
            }
        }
        let start = Start::at(first);
        let children = if let Some(names) = self.seen.remove(&prefix) {
            Children::seen(&names, start)
        } else {
            let directory = prefix.trim_end_matches('/').to_owned();
            Children::new(directory, start, self.page.limit)
        };
        let number = self.directories.len();
        self.directories.push((prefix, children));
        self.advance(inner, number)
    }

    /// Puts the next child of a directory in its place.
    fn advance(&mut self, inner: &Inner, number: usize) -> io::Result<()> {
        let Some((prefix, children)) = self.directories.get_mut(number) else {
            return Ok(());
        };
        while let Some(child) = children.next(inner)? {
            if is_listed(&child) {
                self.open.push(Reverse(Step {
                    name: format!("{prefix}{child}"),
                    what: What::Child(number),
                }));
                return Ok(());
            }
        }
        // Behind its last child, a directory holds nothing any more.
        *children = Children::default();
        Ok(())
    }

    /// Puts what is below `name` in its place, unless the page begins behind all of it.
    fn push_tree(&mut self, name: &str) {
        let below = format!("{name}/");
        let after = self.page.after.as_deref().unwrap_or_default();
        if self.page.is_past(&below) || after.starts_with(&below) {
            self.open.push(Reverse(Step {
                name: below,
                what: What::Tree,
            }));
        }
    }
}

/// The children of one directory, fetched when they are needed.
#[derive(Debug, Default)]
struct Children {
    directory: String,
    fetched: VecDeque<String>,
    /// Where to go on: the name, and whether it is one of those that are wanted.
    next: Option<(String, bool)>,
    batch: usize,
}

impl Children {
    fn new(directory: String, start: Start<'_>, limit: usize) -> Self {
        Self {
            directory,
            fetched: VecDeque::new(),
            next: Some((start.name.to_owned(), start.inclusive)),
            batch: limit.saturating_add(1).clamp(16, 1024),
        }
    }

    fn seen(names: &Names, start: Start<'_>) -> Self {
        let names = Batch::of(names, start, usize::MAX).names;
        Self {
            fetched: names.into(),
            ..Self::default()
        }
    }

    fn next(&mut self, inner: &Inner) -> io::Result<Option<String>> {
        while self.fetched.is_empty() {
            let Some((name, inclusive)) = self.next.take() else {
                return Ok(None);
            };
            let start = Start {
                name: &name,
                inclusive,
            };
            let listings = inner.disk.listings();
            let batch = listings.children(&inner.disk, &self.directory, start, self.batch)?;
            let batch = batch.unwrap_or_default();
            if batch.more {
                self.next = batch.names.last().map(|last| (last.clone(), false));
            }
            self.fetched = batch.names.into();
        }
        Ok(self.fetched.pop_front())
    }
}

/// Whether a child of a repository's directory leads to other repositories.
fn is_listed(child: &str) -> bool {
    !child.starts_with('_')
}

/// The names in a directory, in no order; `None` if there is no such directory. Names that are not
/// text are nobody's here.
pub(in super::super) fn names_in(directory: &Path) -> io::Result<Option<Vec<String>>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(Some(names))
}
