//! Any sequence of operations, compared step by step with the plain memory store.
//!
//! The memory store shares no code with the engines, so a mistake has to be made twice to hide.

use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

use super::content::{
    as_content, content, image, image_blobs, index, pieces, repository, scope, sha256, tag,
};
use super::uploads::reopen;
use super::{StoreUnderTest, Stores};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::manifest::Manifest;
use crate::memory::MemoryStore;
use crate::name::RepositoryName;
use crate::store::{AppendMode, BlobMeta, PageRequest, TagPrecondition, TagWrite, UploadId};

pub(super) async fn sequences(place: &dyn StoreUnderTest) {
    // One place for all sequences: each has its own repositories, so that a failure shrinks well and
    // content is shared as it is in life.
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        // Enough where a step takes no time. For a store behind a network the variable asks for fewer.
        config.cases = 48;
    }
    let config = Config {
        failure_persistence: None::<Box<FileFailurePersistence>>.map(|p| p as _),
        ..config
    };
    let mut runner = TestRunner::new(config);
    let sequence = std::sync::atomic::AtomicUsize::new(0);
    let steps = prop::collection::vec(step(), 1..24);
    let outcome = runner.run(&steps, |steps| {
        let number = sequence.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut failure = None;
        {
            let failure = &mut failure;
            let run = async move {
                let mut world = World::new(place, number);
                for (at, step) in steps.iter().enumerate() {
                    if let Err(difference) = world.take(step).await {
                        *failure = Some(format!("step {at} of {steps:#?}\n{difference}"));
                        return;
                    }
                }
            };
            // The case itself runs inside `block_on`; a thread of its own lets this one block again.
            std::thread::scope(|threads| {
                threads
                    .spawn(|| place.block_on(Box::pin(run)))
                    .join()
                    .expect("the sequence runs");
            });
        }
        failure.map_or(Ok(()), |failure| Err(TestCaseError::fail(failure)))
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Begin(Repo),
    Append(usize, usize, AppendMode, bool),
    Commit(usize),
    Abort(usize),
    Push(Repo, Seed),
    Link(Repo, Seed),
    Unlink(Repo, Seed),
    Put(Repo, Kind, Seed, Option<u8>, Condition),
    Delete(Repo, Kind, Seed),
    Untag(Repo, u8),
    OpenAgain,
}

type Repo = u8;
type Seed = u64;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Image,
    Index,
    Referrer,
}

#[derive(Clone, Copy, Debug)]
enum Condition {
    None,
    Absent,
    PointsAt(Seed),
}

fn step() -> impl Strategy<Value = Step> {
    let repo = 0..3_u8;
    let seed = 0..3_u64;
    let kind = prop_oneof![Just(Kind::Image), Just(Kind::Index), Just(Kind::Referrer)];
    let condition = prop_oneof![
        6 => Just(Condition::None),
        1 => Just(Condition::Absent),
        1 => seed.clone().prop_map(Condition::PointsAt),
    ];
    let mode = prop_oneof![Just(AppendMode::Atomic), Just(AppendMode::Progressive)];
    prop_oneof![
        1 => repo.clone().prop_map(Step::Begin),
        2 => (0..4_usize, 0..70_000_usize, mode, any::<bool>()).prop_map(|(a, b, c, d)| Step::Append(a, b, c, d)),
        1 => (0..4_usize).prop_map(Step::Commit),
        1 => (0..4_usize).prop_map(Step::Abort),
        3 => (repo.clone(), seed.clone()).prop_map(|(a, b)| Step::Push(a, b)),
        1 => (repo.clone(), seed.clone()).prop_map(|(a, b)| Step::Link(a, b)),
        1 => (repo.clone(), seed.clone()).prop_map(|(a, b)| Step::Unlink(a, b)),
        4 => (repo.clone(), kind.clone(), seed.clone(), prop::option::of(0..3_u8), condition)
            .prop_map(|(a, b, c, d, e)| Step::Put(a, b, c, d, e)),
        2 => (repo.clone(), kind, seed).prop_map(|(a, b, c)| Step::Delete(a, b, c)),
        1 => (repo, 0..3_u8).prop_map(|(a, b)| Step::Untag(a, b)),
        1 => Just(Step::OpenAgain),
    ]
}

/// The store under test and the model, which are told the same.
struct World<'a> {
    place: &'a dyn StoreUnderTest,
    tested: Stores,
    model: Stores,
    number: usize,
    /// The open sessions: repository, ids in both, and what should be in them.
    sessions: Vec<(RepositoryName, UploadId, UploadId, Vec<u8>)>,
    /// The next bytes to append.
    appended: u64,
}

impl<'a> World<'a> {
    fn new(place: &'a dyn StoreUnderTest, number: usize) -> Self {
        let model = Stores::both(MemoryStore::new());
        Self {
            place,
            tested: place.open(),
            model,
            number,
            sessions: Vec::new(),
            appended: 0,
        }
    }

    /// Names that are prefixes of one another, as real ones are.
    fn repository(&self, repo: Repo) -> RepositoryName {
        let suffix = ["", "/b", "-b"][usize::from(repo)];
        repository(&format!("model{}/a{suffix}", self.number))
    }

    /// Blobs and manifests differ between sequences, so that what one left behind is not seen by the next.
    fn seed(&self, seed: Seed) -> u64 {
        seed + 10 * self.number as u64 + 5_000_000
    }

    fn manifest(&self, kind: Kind, seed: Seed) -> Manifest {
        let seed = self.seed(seed);
        match kind {
            Kind::Image => image(seed, None),
            Kind::Index => index(&image(seed, None)),
            Kind::Referrer => image(seed, Some(&Digest::sha256(image(seed, None).bytes()))),
        }
    }

    async fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Begin(repo) => self.begin(*repo).await,
            Step::Append(at, length, mode, breaks) => {
                self.append(*at, *length, *mode, *breaks).await?;
            }
            Step::Commit(at) => self.commit(*at).await?,
            Step::Abort(at) => self.abort(*at).await,
            Step::OpenAgain => self.tested = self.place.open(),
            _ => {
                let tested = self.apply(&self.tested, step).await;
                let model = self.apply(&self.model, step).await;
                same("result", &tested, &model)?;
            }
        }
        for repo in 0..3 {
            let name = self.repository(repo);
            let tested = self.observe(&self.tested, &name).await;
            let model = self.observe(&self.model, &name).await;
            same(&format!("state of {name}"), &tested, &model)?;
        }
        Ok(())
    }

    async fn begin(&mut self, repo: Repo) {
        if self.sessions.len() == 4 {
            return;
        }
        let name = self.repository(repo);
        let mut ids = Vec::new();
        for stores in [&self.tested, &self.model] {
            let mut upload = stores
                .blobs
                .begin_upload(&scope(&name), &sha256())
                .await
                .unwrap();
            upload.checkpoint().await.unwrap();
            ids.push(upload.id().clone());
        }
        self.sessions
            .push((name, ids[0].clone(), ids[1].clone(), Vec::new()));
    }

    async fn append(
        &mut self,
        at: usize,
        length: usize,
        mode: AppendMode,
        breaks: bool,
    ) -> Result<(), String> {
        let Some((name, tested, _, kept)) = self.sessions.get_mut(at) else {
            return Ok(());
        };
        self.appended += 1;
        let bytes = content(self.appended, length);
        let mut upload = reopen(&self.tested, &scope(name), tested)
            .await
            .map_err(|error| error.to_string())?;
        same("offset", &upload.offset(), &(kept.len() as u64))?;
        let mut stream = pieces(&bytes, 8000);
        if breaks {
            stream = stream.then_fail();
        }
        let result = upload.append(as_content(&mut stream), mode).await;
        same("append breaks off", &result.is_err(), &breaks)?;
        // A checkpoint is what makes an atomic append count; after a break there is nothing to count.
        if !breaks || mode == AppendMode::Progressive {
            upload
                .checkpoint()
                .await
                .map_err(|error| error.to_string())?;
            kept.extend_from_slice(&bytes);
        }
        same(
            "offset after",
            &(upload.offset() >= kept.len() as u64),
            &true,
        )
    }

    async fn commit(&mut self, at: usize) -> Result<(), String> {
        if at >= self.sessions.len() {
            return Ok(());
        }
        let (name, tested, model, kept) = self.sessions.remove(at);
        let digest = Digest::sha256(&kept);
        let upload = reopen(&self.tested, &scope(&name), &tested)
            .await
            .map_err(|error| error.to_string())?;
        let committed = upload
            .commit(&digest, &name)
            .await
            .map_err(|error| error.to_string())?;
        if !committed.linked {
            self.tested
                .manifests
                .link_blob(&name, &committed.blob)
                .await
                .unwrap();
        }
        self.model
            .blobs
            .abort_upload(&scope(&name), &model)
            .await
            .unwrap();
        self.model.push(&name, &kept).await;
        same(
            "content",
            &(self.tested.content(&digest).await == kept),
            &true,
        )
    }

    async fn abort(&mut self, at: usize) {
        if at < self.sessions.len() {
            let (name, tested, model, _) = self.sessions.remove(at);
            self.tested
                .blobs
                .abort_upload(&scope(&name), &tested)
                .await
                .unwrap();
            self.model
                .blobs
                .abort_upload(&scope(&name), &model)
                .await
                .unwrap();
        }
    }

    async fn apply(&self, stores: &Stores, step: &Step) -> String {
        let layer = |seed: Seed| image_blobs(self.seed(seed))[1].clone();
        match step {
            Step::Push(repo, seed) => {
                let name = self.repository(*repo);
                let [config, layer] = image_blobs(self.seed(*seed));
                stores.push(&name, &config).await;
                outcome(stores.push_as(&name, &layer, &Digest::sha256(&layer)).await)
            }
            Step::Link(repo, seed) => {
                let layer = layer(*seed);
                let blob = BlobMeta::new(Digest::sha256(&layer), layer.len() as u64);
                if stores.blobs.stat(&blob.digest).await.is_err() {
                    return "not stored".to_owned();
                }
                outcome(
                    stores
                        .manifests
                        .link_blob(&self.repository(*repo), &blob)
                        .await,
                )
            }
            Step::Unlink(repo, seed) => {
                let digest = Digest::sha256(&layer(*seed));
                outcome(
                    stores
                        .manifests
                        .unlink_blob(&self.repository(*repo), &digest)
                        .await,
                )
            }
            Step::Put(repo, kind, seed, tagged, condition) => {
                let precondition = match condition {
                    Condition::None => TagPrecondition::None,
                    Condition::Absent => TagPrecondition::Absent,
                    Condition::PointsAt(seed) => TagPrecondition::PointsAt(Digest::sha256(
                        self.manifest(*kind, *seed).bytes(),
                    )),
                };
                let tags: Vec<_> = tagged
                    .iter()
                    .map(|n| TagWrite::only_if(tag(&format!("t{n}")), precondition))
                    .collect();
                outcome(
                    stores
                        .put(&self.repository(*repo), &self.manifest(*kind, *seed), &tags)
                        .await,
                )
            }
            Step::Delete(repo, kind, seed) => {
                let digest = Digest::sha256(self.manifest(*kind, *seed).bytes());
                outcome(
                    stores
                        .manifests
                        .delete(&self.repository(*repo), &digest)
                        .await,
                )
            }
            Step::Untag(repo, n) => outcome(
                stores
                    .manifests
                    .untag(&self.repository(*repo), &tag(&format!("t{n}")))
                    .await,
            ),
            _ => String::new(),
        }
    }

    /// Everything that can be seen of a repository.
    async fn observe(&self, stores: &Stores, name: &RepositoryName) -> Vec<String> {
        let all = PageRequest::first(1000);
        let mut seen = vec![format!(
            "tags {}",
            outcome(stores.manifests.tags(name, &all).await)
        )];
        let before = PageRequest::after(format!("model{}/", self.number), 1000);
        let listed = stores.manifests.repositories(&before).await.unwrap().items;
        seen.push(format!("listed {}", listed.contains(name)));
        for n in 0..3 {
            let resolved = stores.manifests.resolve(name, &tag(&format!("t{n}"))).await;
            seen.push(format!("t{n} {}", outcome(resolved)));
        }
        for seed in 0..3 {
            for kind in [Kind::Image, Kind::Index, Kind::Referrer] {
                let digest = Digest::sha256(self.manifest(kind, seed).bytes());
                seen.push(format!(
                    "{kind:?} {seed} {}",
                    outcome(stores.manifests.read(name, &digest).await)
                ));
                let referrers = stores.manifests.referrers(name, &digest, &all).await;
                seen.push(format!("referrers {}", outcome(referrers)));
            }
            for blob in image_blobs(self.seed(seed)) {
                let visible = stores
                    .manifests
                    .has_blob(name, &Digest::sha256(&blob))
                    .await;
                seen.push(format!("blob {}", outcome(visible)));
            }
        }
        for (of, tested, model, kept) in &self.sessions {
            let status = stores.blobs.upload_status(&scope(of), tested).await;
            let status = match status {
                Err(StoreError::NotFound) => stores.blobs.upload_status(&scope(of), model).await,
                other => other,
            };
            // The model's sessions stay empty: only that a session is there is compared, and its offset
            // with what should be in it.
            let offset = status.map(|status| status.offset);
            let right = matches!(offset, Ok(offset) if offset == kept.len() as u64 || offset == 0);
            seen.push(format!("session {right}"));
        }
        let open = stores
            .blobs
            .sweep_uploads(Duration::from_secs(86_400))
            .await;
        seen.push(format!("swept {}", outcome(open)));
        seen
    }
}

/// A result in words that any store must agree on.
fn outcome<T: Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(StoreError::MissingReferences(mut missing)) => {
            missing.sort_by_key(|reference| reference.digest);
            format!("missing {missing:?}")
        }
        Err(StoreError::NotFound) => "not found".to_owned(),
        Err(StoreError::Precondition) => "precondition".to_owned(),
        Err(error) => format!("unexpected: {error:?}"),
    }
}

fn same<T: PartialEq + Debug>(what: &str, tested: &T, model: &T) -> Result<(), String> {
    if tested == model {
        Ok(())
    } else {
        Err(format!(
            "{what} differs\n  store: {tested:#?}\n  model: {model:#?}"
        ))
    }
}
