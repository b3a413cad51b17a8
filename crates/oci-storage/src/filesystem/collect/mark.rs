//! The mark: everything that manifests refer to, found without any lock; and what is left over.
//!
//! What is there from before the run until it is read is seen. What comes later is in the log.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::io::{self, Read};
use std::path::Path;

use oci_core::store::{CandidateKind, Phase};
use oci_core::{Algorithm, Digest, RepositoryName};

use super::super::blobs::is_empty_digest;
use super::super::durable::open_file;
use super::super::layout::digest_of;
use super::super::links::{self, Link, is_absent, metadata};
use super::super::{Failure, Inner};
use super::Run;
use super::document::{References, references};
use super::found::Found;
use super::names::DigestSet;
use super::tree::{Kind, at, entries, entries_or_none, is_long, link_at, linked};

/// What the mark leaves for removal.
#[derive(Debug, Default)]
pub(super) struct Marked {
    /// The repositories of the candidates.
    pub(super) repositories: Vec<RepositoryName>,
    /// Those that keep all they have.
    pub(super) whole: HashSet<RepositoryName>,
    pub(super) manifests: Vec<Found>,
    pub(super) links: Vec<Found>,
    pub(super) content: Vec<Found>,
    /// By repository and subject, what refers to it and would go.
    pub(super) about: HashMap<RepositoryName, About>,
}

/// Manifests by their subject.
pub(super) type About = HashMap<Digest, Vec<Digest>>;

/// What lies under a digest.
#[derive(Debug)]
pub(super) enum Content {
    Absent,
    /// It is no JSON object.
    Opaque,
    /// It is not what its digest says.
    Damaged,
    Document(References),
}

impl Inner {
    /// Reads what may be a manifest.
    pub(super) fn content(&self, digest: &Digest) -> io::Result<Content> {
        if let Some(known) = self.manifests.get(digest) {
            return Ok(references(&known.bytes).map_or(Content::Opaque, Content::Document));
        }
        let path = self.layout.data(digest);
        let file = match open_file(&path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(Content::Absent),
            Err(error) => return Err(at(&path)(error)),
        };
        let mut bytes = Vec::with_capacity(4096);
        let mut file = file.take(DOCUMENT_MAX + 1);
        // Layers, which may be asked for here, show by their first bytes that they are none.
        let begun = (&mut file).take(64).read_to_end(&mut bytes);
        begun.map_err(at(&path))?;
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        match first {
            Some(b'{') => {}
            None if bytes.is_empty() && !is_empty_digest(digest) => return Ok(Content::Damaged),
            _ => return Ok(Content::Opaque),
        }
        file.read_to_end(&mut bytes).map_err(at(&path))?;
        if bytes.len() as u64 > DOCUMENT_MAX {
            return Ok(Content::Opaque);
        }
        if Digest::of(digest.algorithm(), &bytes) != *digest {
            return Ok(Content::Damaged);
        }
        Ok(references(&bytes).map_or(Content::Opaque, Content::Document))
    }
}

impl Run<'_> {
    /// Looks at everything.
    pub(super) fn mark(&mut self) -> Result<Marked, Failure> {
        let mut marked = Marked::default();
        let mut all = All::default();
        let root = self.inner.layout.repositories();
        let mut open = vec![String::new()];
        while let Some(path) = open.pop() {
            if self.is_stopped() {
                return Ok(Marked::default());
            }
            let directory = root.join(&path);
            let mut is_repository = false;
            // One that goes away meanwhile was moved, perhaps to where this has been already.
            for (name, kind) in entries(&directory)? {
                let Some(name) = name.to_str() else {
                    // No registry can have made it, and none can reach it.
                    continue;
                };
                if name.starts_with('_') {
                    is_repository |= matches!(name, "_manifests" | "_layers");
                } else if kind == Kind::Directory {
                    let slash = if path.is_empty() { "" } else { "/" };
                    open.push(format!("{path}{slash}{name}"));
                }
            }
            if is_repository {
                self.repository(&path, &directory, &mut all, &mut marked)?;
                self.collected.repositories += 1;
                self.observer.progress(Phase::Marking, &self.collected);
            }
        }
        self.content(&mut all, &mut marked)?;
        if self.is_stopped() {
            // What it has found may be half of it.
            return Ok(Marked::default());
        }
        for found in [&marked.manifests, &marked.links, &marked.content] {
            for found in found {
                self.observer
                    .candidate(&found.candidate(&marked.repositories));
            }
        }
        self.observer.progress(Phase::Marked, &self.collected);
        Ok(marked)
    }

    fn repository(
        &mut self,
        path: &str,
        directory: &Path,
        all: &mut All,
        marked: &mut Marked,
    ) -> io::Result<()> {
        let mut repository = Repository::read(self, directory)?;
        let name = path.parse::<RepositoryName>();
        if name.is_err() {
            repository.unclear("its name is not one that this registry serves");
        }
        repository.mark(self)?;
        let linked = linked(&directory.join("_layers"))?;
        if let Some(foreign) = &linked.foreign {
            repository.unclear(&format!(
                "there is a blob of an unknown digest, `{foreign}`"
            ));
        }
        let layers = linked.digests;
        if let Some(why) = &repository.unclear {
            self.collected.kept_whole += 1;
            self.observer.kept_whole(path, why);
            let digests = layers.iter().chain(&linked.targets);
            for digest in digests.chain(repository.revisions.keys()) {
                repository.needed.insert(digest);
            }
            if let Ok(name) = &name {
                marked.whole.insert(name.clone());
            }
        }
        let mut needed = repository.needed;
        for digest in layers.iter().filter(|digest| is_long(digest)) {
            let link = link_at(&directory.join("_layers"), digest);
            if needed.contains(digest)
                && let Link::To(target) = links::read(&link)?
            {
                needed.insert(&target);
            }
        }
        all.needed.extend(&needed);
        let (Ok(name), None) = (name, repository.unclear) else {
            return Ok(());
        };

        let index = u32::try_from(marked.repositories.len()).map_err(io::Error::other)?;
        let before = marked.manifests.len() + marked.links.len();
        for digest in repository.garbage {
            if let Some(link) = repository.revisions.get(&digest) {
                let found = Found::new(CandidateKind::Manifest, index, digest, link);
                marked.manifests.push(found);
                self.collected.garbage_manifests += 1;
            }
        }
        all.orphaned.extend(&repository.orphaned);
        if !repository.about.is_empty() {
            marked.about.insert(name.clone(), repository.about);
        }
        for digest in layers {
            if needed.contains(&digest) {
                continue;
            }
            if let Some(link) = metadata(&link_at(&directory.join("_layers"), &digest))?
                && self.is_old(link.modified()?)
            {
                let found = Found::new(CandidateKind::Link, index, digest, &link);
                marked.links.push(found);
                self.collected.garbage_links += 1;
            }
        }
        if marked.manifests.len() + marked.links.len() > before {
            marked.repositories.push(name);
        }
        Ok(())
    }

    /// Goes through all content.
    fn content(&mut self, all: &mut All, marked: &mut Marked) -> io::Result<()> {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let root = self.inner.layout.blobs().join(algorithm.as_str());
            for (fan, _) in entries_or_none(&root)? {
                if self.is_stopped() {
                    return Ok(());
                }
                for (hex, _) in entries_or_none(&root.join(&fan))? {
                    let Some(digest) = hex
                        .to_str()
                        .and_then(|hex| digest_of(algorithm.as_str(), hex))
                    else {
                        continue;
                    };
                    let path = self.inner.layout.data(&digest);
                    // In another directory than its own, nobody finds it.
                    if !path.starts_with(root.join(&fan)) {
                        continue;
                    }
                    let Some(data) = metadata(&path)? else {
                        continue;
                    };
                    self.collected.content.add(data.len());
                    if all.needed.contains(&digest) {
                    } else if self.is_old(data.modified()?) {
                        self.collected.garbage.add(data.len());
                        marked.content.push(Found::content(digest, &data));
                    } else {
                        self.collected.young.add(data.len());
                        if all.orphaned.contains(&digest) {
                            self.collected.orphaned.add(data.len());
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// What all repositories together need, and what those manifests needed that go.
#[derive(Debug, Default)]
struct All {
    needed: DigestSet,
    orphaned: DigestSet,
}

/// One repository, as it is read.
struct Repository<'a> {
    directory: &'a Path,
    /// The links of its manifests.
    revisions: HashMap<Digest, Metadata>,
    needed: DigestSet,
    /// Manifests that nothing keeps.
    garbage: Vec<Digest>,
    /// These, and what they need.
    orphaned: DigestSet,
    /// These by their subject.
    about: About,
    /// What was not understood, and keeps everything here.
    unclear: Option<String>,
}

impl<'a> Repository<'a> {
    fn read(run: &Run<'_>, directory: &'a Path) -> io::Result<Self> {
        let mut repository = Self {
            directory,
            revisions: HashMap::new(),
            needed: DigestSet::default(),
            garbage: Vec::new(),
            orphaned: DigestSet::default(),
            about: About::new(),
            unclear: None,
        };
        let root = directory.join("_manifests/revisions");
        for (algorithm, _) in entries_or_none(&root)? {
            for (hex, kind) in entries_or_none(&root.join(&algorithm))? {
                let digest = digest_of(&algorithm.to_string_lossy(), &hex.to_string_lossy());
                match digest {
                    Some(digest) => {
                        // Distribution leaves the directory of a deleted manifest behind.
                        if let Some(link) = metadata(&link_at(&root, &digest))? {
                            repository.revisions.insert(digest, link);
                        }
                    }
                    None if kind == Kind::Directory => {
                        let link = root.join(&algorithm).join(&hex).join("link");
                        if let Link::To(target) = links::read(&link)? {
                            repository.needed.insert(&target);
                        }
                        repository.unclear(&format!(
                            "there is a manifest of an unknown digest, `{}:{}`",
                            algorithm.to_string_lossy(),
                            hex.to_string_lossy()
                        ));
                    }
                    None => {}
                }
                if run.is_stopped() {
                    return Ok(repository);
                }
            }
        }
        Ok(repository)
    }

    fn unclear(&mut self, why: &str) {
        self.unclear.get_or_insert_with(|| why.to_owned());
    }

    fn mark(&mut self, run: &mut Run<'_>) -> io::Result<()> {
        if run.options.untagged {
            self.mark_from_tags(run)
        } else {
            self.mark_from_revisions(run)
        }
    }

    /// Every manifest is a root.
    fn mark_from_revisions(&mut self, run: &mut Run<'_>) -> io::Result<()> {
        let revisions: Vec<Digest> = self.revisions.keys().copied().collect();
        for digest in revisions {
            self.needed.insert(&digest);
            if let Some(references) = self.document(run, &digest)? {
                self.need(run, &references)?;
            }
            if run.is_stopped() {
                break;
            }
        }
        Ok(())
    }

    /// Tags are roots, and manifests that are within their grace; and what is about a manifest stays with
    /// it.
    fn mark_from_tags(&mut self, run: &mut Run<'_>) -> io::Result<()> {
        let mut documents = HashMap::new();
        let mut about = About::new();
        let mut next = self.tagged()?;
        let revisions: Vec<Digest> = self.revisions.keys().copied().collect();
        for digest in &revisions {
            if let Some(references) = self.document(run, digest)? {
                if let Some(subject) = references.subject {
                    about.entry(subject).or_default().push(*digest);
                }
                documents.insert(*digest, references);
            }
            if let Some(link) = self.revisions.get(digest)
                && !run.is_old(link.modified()?)
            {
                next.push(*digest);
            }
            if run.is_stopped() {
                return Ok(());
            }
        }
        let mut live = HashSet::new();
        while let Some(digest) = next.pop() {
            if !live.insert(digest) {
                continue;
            }
            self.needed.insert(&digest);
            if let Some(references) = documents.remove(&digest) {
                self.need(run, &references)?;
                next.extend(references.children);
            } else if !self.revisions.contains_key(&digest) {
                self.follow(run, &digest)?;
            }
            next.extend(about.remove(&digest).unwrap_or_default());
        }
        self.garbage = revisions;
        self.garbage.retain(|digest| !live.contains(digest));
        for (digest, references) in &documents {
            self.orphaned.insert(digest);
            for needed in references.all() {
                self.orphaned.insert(needed);
            }
        }
        self.about = about;
        Ok(())
    }

    /// What the tags lead to.
    fn tagged(&mut self) -> io::Result<Vec<Digest>> {
        let root = self.directory.join("_manifests/tags");
        let mut targets = Vec::new();
        for (tag, _) in entries_or_none(&root)? {
            match links::read(&root.join(&tag).join("current/link"))? {
                Link::To(digest) => targets.push(digest),
                Link::Absent => {}
                Link::Torn => self.unclear(&format!(
                    "the tag `{}` is damaged, and what it meant is not known",
                    tag.to_string_lossy()
                )),
            }
        }
        Ok(targets)
    }

    /// What a manifest of the repository says. One that cannot be read keeps all that is here.
    fn document(&mut self, run: &mut Run<'_>, digest: &Digest) -> io::Result<Option<References>> {
        run.collected.manifests_read += 1;
        let mut content = run.inner.content(digest)?;
        if matches!(content, Content::Absent) && is_long(digest) {
            let link = link_at(&self.directory.join("_manifests/revisions"), digest);
            if let Link::To(target) = links::read(&link)? {
                self.needed.insert(&target);
                content = run.inner.content(&target)?;
            }
        }
        let why = match content {
            Content::Document(references) => {
                if let Some(why) = &references.unclear {
                    self.unclear(&format!("its manifest {digest} {why}"));
                }
                return Ok(Some(references));
            }
            Content::Absent => "missing",
            Content::Opaque => "not a manifest",
            Content::Damaged => "damaged",
        };
        self.unclear(&format!(
            "its manifest {digest} is {why}: push it again, or delete it"
        ));
        Ok(None)
    }

    fn need(&mut self, run: &Run<'_>, references: &References) -> io::Result<()> {
        for digest in references.all() {
            self.needed.insert(digest);
        }
        for child in &references.children {
            // One that is a manifest of the repository is read as such.
            if !self.revisions.contains_key(child) {
                self.follow(run, child)?;
            }
        }
        Ok(())
    }

    /// Marks what follows from a child, or a tag's target, that is no manifest of the repository.
    fn follow(&mut self, run: &Run<'_>, child: &Digest) -> io::Result<()> {
        let mut seen = HashSet::from([*child]);
        let mut next = vec![*child];
        while let Some(digest) = next.pop() {
            match run.inner.content(&digest)? {
                Content::Document(references) => {
                    if let Some(why) = &references.unclear {
                        self.unclear(&format!("{digest}, which an index of it lists, {why}"));
                    }
                    for needed in references.all() {
                        self.needed.insert(needed);
                    }
                    let children = references.children.into_iter();
                    next.extend(children.filter(|child| seen.insert(*child)));
                }
                Content::Damaged => {
                    self.unclear(&format!("{digest}, which an index of it lists, is damaged"));
                }
                // A blob, as build caches have them; or deleted by somebody.
                Content::Opaque | Content::Absent => {}
            }
        }
        Ok(())
    }
}

/// As large as a manifest is read anywhere.
const DOCUMENT_MAX: u64 = 64 << 20;
