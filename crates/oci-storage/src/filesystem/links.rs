//! Link files: a digest as text and nothing else. They say what is visible where.

use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::path::Path;

use oci_core::{Algorithm, Digest, RepositoryName};

use super::durable::{Dirty, Temporary, open_file};
use super::section::{Logged, Mode, Shared, lock_repository};
use super::{Failure, Inner, lock};

/// What a link file says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Link {
    /// There is none.
    Absent,
    /// It is empty, cut short, has a newline at its end, or is otherwise no digest.
    Torn,
    /// A digest, exactly.
    To(Digest),
}

/// Reads a link file.
pub(super) fn read(path: &Path) -> io::Result<Link> {
    let content = match read_small(path, LINK_MAX)? {
        Small::Absent => return Ok(Link::Absent),
        Small::Content(content) => Some(content),
        Small::TooLarge => None,
    };
    let digest = content.and_then(|content| str::from_utf8(&content).ok()?.parse().ok());
    Ok(digest.map_or(Link::Torn, Link::To))
}

/// Reads a small file. What is larger than `limit` is not what was looked for: [`Small::TooLarge`].
pub(super) fn read_small(path: &Path, limit: u64) -> io::Result<Small> {
    let file = match open_file(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(Small::Absent),
        Err(error) => return Err(error),
    };
    // In one read, as a rule.
    let mut content = Vec::with_capacity(1024);
    match file.take(limit + 1).read_to_end(&mut content) {
        Ok(_) if content.len() as u64 <= limit => Ok(Small::Content(content)),
        Ok(_) => Ok(Small::TooLarge),
        Err(error) => Err(error),
    }
}

/// What was found of a small file.
#[derive(Debug)]
pub(super) enum Small {
    Absent,
    Content(Vec<u8>),
    TooLarge,
}

impl Small {
    pub(super) fn content(self) -> Option<Vec<u8>> {
        match self {
            Self::Content(content) => Some(content),
            Self::Absent | Self::TooLarge => None,
        }
    }
}

/// The metadata of a regular file, if there is one.
pub(super) fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata)),
        Ok(_) => Ok(None),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error means that there is no such file.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Whether content is linked under a digest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Membership {
    Absent,
    /// The link is torn, but the content that its path names is there: it can be written again.
    Damaged,
    /// Linked; the content lies under this digest.
    Present(Digest),
}

impl Inner {
    /// Whether the link at `path` makes `digest` visible.
    ///
    /// The path names the digest too. So a torn link, which only a power cut under a registry that does
    /// not sync leaves behind, still says what was meant, provided that the content is there.
    pub(super) fn membership(&self, path: &Path, digest: &Digest) -> io::Result<Membership> {
        match read(path)? {
            Link::Absent => Ok(Membership::Absent),
            Link::To(target) if target == *digest => Ok(Membership::Present(target)),
            // Distribution keeps a blob that was pushed by its SHA-512 under its SHA-256.
            Link::To(target)
                if digest.algorithm() == Algorithm::Sha512
                    && target.algorithm() == Algorithm::Sha256 =>
            {
                self.aliases.learn(*digest, target);
                Ok(Membership::Present(target))
            }
            Link::To(_) | Link::Torn => Ok(match self.stat_data(digest)? {
                Some(_) => Membership::Damaged,
                None => Membership::Absent,
            }),
        }
    }

    /// [`Inner::membership`] for readers, outside of any section: a damaged link is repaired on the way.
    pub(super) fn visible(
        &self,
        repository: &RepositoryName,
        path: &Path,
        digest: &Digest,
        what: Logged,
    ) -> io::Result<Option<Digest>> {
        match self.membership(path, digest)? {
            Membership::Absent => Ok(None),
            Membership::Present(target) => Ok(Some(target)),
            Membership::Damaged => {
                // On a volume that cannot be written to, the answer is the same.
                let _ = self.repair(repository, path, digest, what);
                Ok(Some(*digest))
            }
        }
    }

    fn repair(
        &self,
        repository: &RepositoryName,
        path: &Path,
        digest: &Digest,
        what: Logged,
    ) -> io::Result<()> {
        let link = self.link_file(digest)?;
        let mut dirty = Dirty::new();
        // Against a deletion between looking and renaming.
        let locked = match what {
            Logged::Manifest => self.layout.manifests(repository),
            Logged::Blob => path.parent().unwrap_or(path).to_owned(),
        };
        let _lock = lock_repository(&locked, Mode::Shared)?;
        self.sections.shared(|shared| {
            shared.log(what, repository, digest)?;
            // Deleted meanwhile, it stays so.
            match self.membership(path, digest)? {
                Membership::Damaged => self.disk.place(link, path, &mut dirty),
                _ => Ok(()),
            }
        })?;
        self.disk.commit_now(dirty)
    }

    /// The content of a link, written and synced.
    pub(super) fn link_file(&self, digest: &Digest) -> io::Result<Temporary> {
        self.disk.temporary(digest.to_string().as_bytes())
    }

    /// A written and synced link for a blob of a repository, if it does not have it yet.
    pub(super) fn missing_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Temporary>, Failure> {
        let path = self.layout.layer_link(repository, digest);
        if read(&path)? == Link::To(*digest) {
            return Ok(None);
        }
        Ok(Some(self.link_file(digest)?))
    }

    /// Makes a link at `path`, unless a right one is there. `spare` may hold one written before.
    pub(super) fn put_link(
        &self,
        _inside: &Shared<'_>,
        path: &Path,
        digest: &Digest,
        spare: &mut Vec<Temporary>,
        dirty: &mut Dirty,
    ) -> io::Result<()> {
        if read(path)? == Link::To(*digest)
            && let Some(metadata) = metadata(path)?
            && !self.disk.is_doubtful(&metadata)
        {
            let metadata = self.touch_if_old(path, metadata)?;
            return self.disk.require_durable(path, &metadata, dirty);
        }
        let link = match spare.pop() {
            Some(link) => link,
            None => self.link_file(digest)?,
        };
        self.disk.place(link, path, dirty)
    }
}

/// Under which SHA-256 the content of a SHA-512 lies that Distribution took in. Learned from links and
/// bounded; the link is always read before the content is asked for.
#[derive(Debug, Default)]
pub(super) struct Aliases(std::sync::Mutex<std::collections::HashMap<Digest, Digest>>);

impl Aliases {
    fn learn(&self, digest: Digest, target: Digest) {
        let mut known = lock(&self.0);
        if known.len() >= ALIASES_MAX {
            known.clear();
        }
        known.insert(digest, target);
    }

    pub(super) fn target(&self, digest: &Digest) -> Option<Digest> {
        match digest.algorithm() {
            Algorithm::Sha512 => lock(&self.0).get(digest).copied(),
            _ => None,
        }
    }
}

/// More than any digest is long.
const LINK_MAX: u64 = 256;
const ALIASES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_digest_and_nothing_else_is_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link");
        assert_eq!(read(&path).unwrap(), Link::Absent);
        assert_eq!(read(&path.join("link")).unwrap(), Link::Absent);
        let digest = Digest::sha256(b"");
        let text = digest.to_string();
        for (content, expected) in [
            (text.clone(), Link::To(digest)),
            (String::new(), Link::Torn),
            (format!("{text}\n"), Link::Torn),
            (text[..40].to_owned(), Link::Torn),
            ("\0".repeat(71), Link::Torn),
            ("x".repeat(1000), Link::Torn),
        ] {
            fs::write(&path, &content).unwrap();
            assert_eq!(read(&path).unwrap(), expected, "{content:?}");
            fs::remove_file(&path).unwrap();
            assert_eq!(read(&path).unwrap(), Link::Absent);
        }
        fs::create_dir(&path).unwrap();
        assert_eq!(read(&path).unwrap(), Link::Absent);
        // A pipe that nobody writes to, which opening would wait for.
        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        assert_eq!(read(&pipe).unwrap(), Link::Absent);
    }
}
