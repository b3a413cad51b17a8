//! The log of what pushes rely on since the run began, and what follows from it.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};

use oci_core::store::CandidateKind;
use oci_core::{Algorithm, Digest, RepositoryName};

use super::super::Inner;
use super::super::durable::open_file;
use super::super::layout::parse_referrer;
use super::super::links::{self, Link};
use super::super::listing::names_in;
use super::super::section::Logged;
use super::found::Found;
use super::mark::Content;
use super::names::DigestSet;

/// What was claimed since the run began, closed over what manifests refer to.
pub(super) struct Delta<'a> {
    inner: &'a Inner,
    /// Repositories that keep all they have.
    whole: &'a HashSet<RepositoryName>,
    /// Whether referrers are kept by what they are about.
    referrers: bool,
    offset: u64,
    content: DigestSet,
    visible: HashMap<RepositoryName, DigestSet>,
    /// Manifests that refer to something that was not there when it was looked for. A push writes its
    /// log first; and a push that was refused never wrote anything.
    open: Vec<(RepositoryName, Digest)>,
    /// What may lie under another digest. Its link says so, once it is written.
    long: HashSet<(RepositoryName, Digest)>,
}

impl<'a> Delta<'a> {
    pub(super) fn new(
        inner: &'a Inner,
        whole: &'a HashSet<RepositoryName>,
        referrers: bool,
    ) -> Self {
        Self {
            inner,
            whole,
            referrers,
            offset: 0,
            content: DigestSet::default(),
            visible: HashMap::new(),
            open: Vec::new(),
            long: HashSet::new(),
        }
    }

    /// Reads what is there, while others write. What cannot be read yet is left to [`Delta::read_all`].
    pub(super) fn read_ahead(&mut self) -> io::Result<()> {
        self.read(false)
    }

    /// Reads all there is. Nobody writes meanwhile, so it is all that there will be for this batch.
    ///
    /// # Errors
    /// If a line is torn or damaged, or something that it names is: then nobody knows what it protects.
    pub(super) fn read_all(&mut self) -> io::Result<()> {
        self.read(true)
    }

    fn read(&mut self, alone: bool) -> io::Result<()> {
        let mut log = BufReader::new(open_file(self.inner.sections.delta())?);
        log.seek(SeekFrom::Start(self.offset))?;
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = log.read_until(b'\n', &mut line)?;
            if length == 0 {
                break;
            }
            match parse(&line) {
                Some((what, repository, digest)) => {
                    self.offset += length as u64;
                    self.keep(&repository, &digest);
                    if what == Logged::Manifest {
                        self.open.push((repository, digest));
                    }
                }
                None if alone => {
                    return Err(io::Error::other(format!(
                        "a line of the log of pushes is damaged, at byte {} of `{}`",
                        self.offset,
                        self.inner.sections.delta().display()
                    )));
                }
                // Perhaps it is just being written.
                None => break,
            }
        }
        for (repository, digest) in std::mem::take(&mut self.open) {
            if !self.close(&repository, &digest)? {
                self.open.push((repository, digest));
            }
        }
        if alone {
            self.follow_links()?;
        }
        Ok(())
    }

    fn keep(&mut self, repository: &RepositoryName, digest: &Digest) {
        self.content.insert(digest);
        self.visible
            .entry(repository.clone())
            .or_default()
            .insert(digest);
        if digest.algorithm() == Algorithm::Sha512 {
            self.long.insert((repository.clone(), *digest));
        }
    }

    /// Keeps all that a manifest refers to, whether or not its revision is there: it may come back with the
    /// power. `false` if something of it is not there.
    fn close(&mut self, repository: &RepositoryName, manifest: &Digest) -> io::Result<bool> {
        let mut complete = true;
        let mut seen = HashSet::from([*manifest]);
        let mut next = vec![*manifest];
        while let Some(digest) = next.pop() {
            match self.inner.content(&digest)? {
                Content::Document(references) => {
                    for needed in references.all() {
                        self.keep(repository, needed);
                    }
                    let children = references.children;
                    next.extend(children.into_iter().filter(|child| seen.insert(*child)));
                }
                Content::Absent => complete = false,
                // A child that is a blob, as build caches have them.
                Content::Opaque if digest != *manifest => {}
                Content::Opaque | Content::Damaged if self.whole.contains(repository) => {}
                Content::Opaque | Content::Damaged => {
                    return Err(io::Error::other(format!(
                        "manifest {digest} is damaged, and something was pushed to {repository} that needs \
                         it: push it again"
                    )));
                }
            }
            if self.referrers {
                let about = self.inner.layout.referrers(repository, &digest);
                for referrer in names_in(&about)?.unwrap_or_default() {
                    if let Some(referrer) = parse_referrer(&referrer)
                        && seen.insert(referrer)
                    {
                        self.keep(repository, &referrer);
                        next.push(referrer);
                    }
                }
            }
        }
        Ok(complete)
    }

    /// Content that another registry took in by its SHA-512 lies under its SHA-256.
    fn follow_links(&mut self) -> io::Result<()> {
        let long = std::mem::take(&mut self.long);
        for (repository, digest) in &long {
            let link = self.inner.layout.layer_link(repository, digest);
            if let Link::To(target) = links::read(&link)? {
                self.keep(repository, &target);
            }
        }
        self.long.extend(long);
        Ok(())
    }

    /// Whether somebody relies on it.
    pub(super) fn keeps(&mut self, found: &Found, repositories: &[RepositoryName]) -> bool {
        match (found.kind, found.repository(repositories)) {
            (CandidateKind::Content, _) => self.content.contains(&found.digest),
            (_, Some(repository)) => self
                .visible
                .get_mut(repository)
                .is_some_and(|visible| visible.contains(&found.digest)),
            // Not one of ours: better not touched.
            (_, None) => true,
        }
    }
}

/// A whole line, its end included.
fn parse(line: &[u8]) -> Option<(Logged, RepositoryName, Digest)> {
    let line = str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let mut words = line.split(' ');
    let what = match words.next()? {
        "blob" => Logged::Blob,
        "manifest" => Logged::Manifest,
        _ => return None,
    };
    let (repository, digest) = (words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    Some((what, repository.parse().ok()?, digest.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_line_counts() {
        let digest = Digest::sha256(b"");
        let line = format!("manifest a/b {digest}\n");
        let (what, repository, parsed) = parse(line.as_bytes()).unwrap();
        assert_eq!(
            (what, repository.as_str(), parsed),
            (Logged::Manifest, "a/b", digest)
        );
        for length in 0..line.len() {
            assert!(parse(&line.as_bytes()[..length]).is_none(), "{length}");
        }
        for damaged in [
            format!("blob {digest}\n"),
            format!("blob a/b {digest} \n"),
            format!("link a/b {digest}\n"),
            // Torn, and another one right behind it.
            format!("blob a/b sha256:e3b0blob a/b {digest}\n"),
            format!("blo\0 a/b {digest}\n"),
        ] {
            assert!(parse(damaged.as_bytes()).is_none(), "{damaged}");
        }
    }
}
