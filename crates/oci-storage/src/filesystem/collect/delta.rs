//! The log of what pushes rely on since the run began, and what follows from it.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};

use oci_core::store::CandidateKind;
use oci_core::{Digest, RepositoryName};

use super::super::Inner;
use super::super::links::{self, Link};
use super::super::section::Logged;
use super::found::Found;
use super::log::Log;
use super::mark::{About, Content};
use super::names::DigestSet;
use super::tree::{is_long, linked};

/// What was claimed since the run began, closed over what manifests refer to.
pub(super) struct Delta<'a> {
    inner: &'a Inner,
    log: &'a Log<'a>,
    /// Repositories that keep all they have.
    whole: HashSet<RepositoryName>,
    /// What refers to a subject and stays with it. What came since the mark is in the log itself.
    about: HashMap<RepositoryName, About>,
    offset: u64,
    content: DigestSet,
    blobs: HashMap<RepositoryName, DigestSet>,
    /// Apart from blobs: content that somebody pushed as a blob is not kept as a manifest, because what it
    /// needs as one is not kept either.
    manifests: HashMap<RepositoryName, DigestSet>,
    /// Manifests that refer to something that was not there when it was looked for. A push writes its
    /// log first; and a push that was refused never wrote anything.
    open: Vec<(RepositoryName, Digest)>,
    /// What may lie under another digest. Its link says so, once it is written.
    long: HashSet<(RepositoryName, Digest)>,
    /// Repositories that keep all they have since the mark, and why.
    news: Vec<(RepositoryName, String)>,
}

/// Whether others may be writing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Company {
    Alone,
    Others,
}

impl<'a> Delta<'a> {
    pub(super) fn new(
        inner: &'a Inner,
        log: &'a Log<'a>,
        whole: HashSet<RepositoryName>,
        about: HashMap<RepositoryName, About>,
    ) -> Self {
        Self {
            inner,
            log,
            whole,
            about,
            offset: 0,
            content: DigestSet::default(),
            blobs: HashMap::new(),
            manifests: HashMap::new(),
            open: Vec::new(),
            long: HashSet::new(),
            news: Vec::new(),
        }
    }

    /// Reads what is there, while others write. What cannot be read yet is left to [`Delta::read_all`].
    pub(super) fn read_ahead(&mut self) -> io::Result<()> {
        self.read(Company::Others)
    }

    /// Reads all there is. Nobody writes meanwhile, so it is all that there will be for this batch.
    ///
    /// # Errors
    /// If a line is no part of one that was ever written: then nobody knows what it protects.
    pub(super) fn read_all(&mut self) -> io::Result<()> {
        self.read(Company::Alone)
    }

    /// Repositories that keep all they have since this was asked last, and why.
    pub(super) fn take_news(&mut self) -> Vec<(RepositoryName, String)> {
        std::mem::take(&mut self.news)
    }

    fn read(&mut self, company: Company) -> io::Result<()> {
        let mut log = BufReader::new(self.log.file()?);
        log.seek(SeekFrom::Start(self.offset))?;
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = log.read_until(b'\n', &mut line)?;
            if length == 0 {
                break;
            }
            if company == Company::Others && !line.ends_with(b"\n") {
                // Perhaps it is just being written.
                break;
            }
            match parse(&line) {
                Line::Claim(what, repository, digest) => {
                    self.keep(&repository, &digest);
                    if what == Logged::Manifest {
                        self.keep_manifest(&repository, &digest);
                        self.open.push((repository, digest));
                    }
                }
                // Whoever could not write it to its end did nothing else, and told nobody that it did.
                Line::Empty | Line::Torn => {}
                Line::Damaged if company == Company::Others => break,
                Line::Damaged => {
                    return Err(io::Error::other(format!(
                        "a line of the log of pushes is damaged, at byte {} of `{}`",
                        self.offset,
                        self.inner.sections.delta().display()
                    )));
                }
            }
            self.offset += length as u64;
        }
        for (repository, digest) in std::mem::take(&mut self.open) {
            if !self.close(&repository, &digest, company)? {
                self.open.push((repository, digest));
            }
        }
        if company == Company::Alone {
            self.follow_links()?;
        }
        Ok(())
    }

    fn keep(&mut self, repository: &RepositoryName, digest: &Digest) {
        self.content.insert(digest);
        insert(&mut self.blobs, repository, digest);
        if is_long(digest) {
            self.long.insert((repository.clone(), *digest));
        }
    }

    fn keep_manifest(&mut self, repository: &RepositoryName, digest: &Digest) {
        self.keep(repository, digest);
        insert(&mut self.manifests, repository, digest);
    }

    /// Keeps all that a repository has.
    fn keep_whole(&mut self, repository: &RepositoryName, why: String) -> io::Result<()> {
        if !self.whole.insert(repository.clone()) {
            return Ok(());
        }
        let layout = &self.inner.layout;
        for links in [layout.layers(repository), layout.revisions(repository)] {
            let linked = linked(&links)?;
            for digest in linked.digests.iter().chain(&linked.targets) {
                self.keep(repository, digest);
            }
        }
        self.news.push((repository.clone(), why));
        Ok(())
    }

    /// Keeps all that a manifest refers to, whether or not its revision is there: it may come back with the
    /// power. `false` if something of it is not there.
    fn close(
        &mut self,
        repository: &RepositoryName,
        manifest: &Digest,
        company: Company,
    ) -> io::Result<bool> {
        let mut complete = true;
        let mut seen = HashSet::from([*manifest]);
        let mut next = vec![*manifest];
        while let Some(digest) = next.pop() {
            match self.manifest(repository, &digest)? {
                Content::Document(references) => {
                    for needed in references.all() {
                        self.keep(repository, needed);
                    }
                    for child in references.children {
                        self.keep_manifest(repository, &child);
                        if seen.insert(child) {
                            next.push(child);
                        }
                    }
                    if let Some(why) = references.unclear {
                        self.keep_whole(repository, format!("its manifest {digest} {why}"))?;
                    }
                }
                Content::Absent => complete = false,
                // A child that is a blob, as build caches have them.
                Content::Opaque if digest != *manifest => {}
                // Perhaps the push that heals it is at work.
                Content::Opaque | Content::Damaged if company == Company::Others => {
                    complete = false;
                }
                Content::Opaque | Content::Damaged => self.keep_whole(
                    repository,
                    format!(
                        "its manifest {digest}, which something needs that was just pushed, is damaged: \
                         push it again"
                    ),
                )?,
            }
            let about = self.about.get(repository);
            let referrers = about.and_then(|about| about.get(&digest));
            for referrer in referrers.cloned().unwrap_or_default() {
                self.keep_manifest(repository, &referrer);
                if seen.insert(referrer) {
                    next.push(referrer);
                }
            }
        }
        Ok(complete)
    }

    /// What a manifest says, also if another registry took it in by its SHA-512.
    fn manifest(&mut self, repository: &RepositoryName, digest: &Digest) -> io::Result<Content> {
        let content = self.inner.content(digest)?;
        if is_long(digest) && matches!(content, Content::Absent) {
            let link = self.inner.layout.revision_link(repository, digest);
            if let Link::To(target) = links::read(&link)? {
                self.content.insert(&target);
                return self.inner.content(&target);
            }
        }
        Ok(content)
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
        let visible = match found.kind {
            CandidateKind::Content => return self.content.contains(&found.digest),
            CandidateKind::Manifest => &mut self.manifests,
            _ => &mut self.blobs,
        };
        match found.repository(repositories) {
            Some(repository) => {
                self.whole.contains(repository)
                    || visible
                        .get_mut(repository)
                        .is_some_and(|visible| visible.contains(&found.digest))
            }
            // Not one of ours: better not touched.
            None => true,
        }
    }
}

fn insert(
    visible: &mut HashMap<RepositoryName, DigestSet>,
    repository: &RepositoryName,
    digest: &Digest,
) {
    match visible.get_mut(repository) {
        Some(digests) => digests.insert(digest),
        None => visible
            .entry(repository.clone())
            .or_default()
            .insert(digest),
    }
}

/// A line of the log, with or without its end.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Line {
    /// Each line begins with a line break as well, so that one that is torn ends before the next.
    Empty,
    Claim(Logged, RepositoryName, Digest),
    /// The beginning of a claim, which a full disk cut short.
    Torn,
    /// No registry wrote this.
    Damaged,
}

fn parse(line: &[u8]) -> Line {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let Ok(line) = str::from_utf8(line) else {
        return Line::Damaged;
    };
    if line.is_empty() {
        return Line::Empty;
    }
    let mut words = line.splitn(3, ' ');
    let (kind, repository, digest) = (words.next().unwrap_or(line), words.next(), words.next());
    let what = match kind {
        "blob" => Logged::Blob,
        "manifest" => Logged::Manifest,
        _ if repository.is_none() && ["blob", "manifest"].iter().any(|k| k.starts_with(kind)) => {
            return Line::Torn;
        }
        _ => return Line::Damaged,
    };
    let begins = |word: &str, signs: &str| {
        word.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || signs.contains(c))
    };
    let Some(digest) = digest else {
        return match repository {
            Some(repository) if !begins(repository, "/._-") => Line::Damaged,
            _ => Line::Torn,
        };
    };
    let Some(repository) = repository.and_then(|name| name.parse().ok()) else {
        return Line::Damaged;
    };
    match digest.parse() {
        Ok(digest) => Line::Claim(what, repository, digest),
        Err(_) if begins(digest, ":") && digest.len() < DIGEST_MAX => Line::Torn,
        Err(_) => Line::Damaged,
    }
}

/// As long as a digest is that a line may name.
const DIGEST_MAX: usize = "sha512:".len() + 128;

#[cfg(test)]
mod tests {
    use super::*;

    /// A full disk lets a part of a line be written. A run that met one ended, and so did every other, as
    /// long as there was no room: which is when a run is needed.
    #[test]
    fn a_line_that_was_cut_short_is_told_from_one_that_is_damaged() {
        let digest = Digest::sha256(b"");
        let line = format!("manifest a/b-c_d.e {digest}");
        let claim = Line::Claim(Logged::Manifest, "a/b-c_d.e".parse().unwrap(), digest);
        assert_eq!(parse(line.as_bytes()), claim);
        assert_eq!(parse(format!("{line}\n").as_bytes()), claim);
        assert_eq!((parse(b""), parse(b"\n")), (Line::Empty, Line::Empty));
        for length in 1..line.len() {
            let torn = &line[..length];
            assert_eq!(parse(torn.as_bytes()), Line::Torn, "{torn}");
            assert_eq!(parse(format!("{torn}\n").as_bytes()), Line::Torn);
        }
        for damaged in [
            format!("blob {digest}"),
            format!("blob {digest} a/b"),
            format!("blob a/b {digest} "),
            format!("blob a/b {digest}0{}", "0".repeat(64)),
            format!("link a/b {digest}"),
            format!("blob a/b sha256:e3b0blob a/b {digest}"),
            format!("blo\0 a/b {digest}"),
            "bl a".to_owned(),
            "\u{e9}".to_owned(),
        ] {
            assert_eq!(parse(damaged.as_bytes()), Line::Damaged, "{damaged}");
        }
        assert_eq!(parse(b"blob \xff"), Line::Damaged);
    }
}
