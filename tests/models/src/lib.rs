//! Exhaustively checked models of the push and collect protocols of the two storage engines.
//!
//! A registry loses images when its garbage collector deletes a blob that a client was just told
//! exists. Most registries avoid this with a time window, which a slow push outlives, or with a
//! read-only mode, which operators forget. The engines here rest on neither: what they do is
//! ordered so that the collector may run at any time beside any push. Whether an order is right
//! cannot be seen by reading, because the cases that break it involve four parties and a crash. So the
//! protocols are written down as models, [stateright] visits **every** reachable state of each within the
//! stated bounds, and for every assumption that the argument rests on there is a *mutant* without
//! it, in which the checker must find lost data. A mutant that survives fails the test suite: then
//! the model does not model what makes the assumption necessary.
//!
//! [stateright]: https://docs.rs/stateright
//!
//! | module | protocol | engine |
//! |---|---|---|
//! | [`filesystem`] | blobs, membership links, manifests, the collector, crashes, power loss | filesystem |
//! | [`index_closure`] | index → child manifest → layer, tags, deletes, untagged manifests collected | filesystem |
//! | [`untagged`] | a manifest that is collected, its blob and a tag that moves to it, power loss | filesystem |
//! | [`records`] | blobs, membership links, references, the collector, the sweeper of extents | records |
//! | [`records_collect`] | fences, lost answers, orphans, stale references, tombstones | records |
//! | [`records_refs`] | the same manifest deleted and pushed again | records |
//! | [`records_tags`] | pushes by tag against deletes by digest | records |
//! | [`records_untagged`] | a manifest that is collected, its tags, an index that names it, its blob | records |
//!
//! `cargo test -p protocol-models` checks everything; `-- --nocapture` prints how many states were visited
//! and, for each mutant, the steps that lose data.
//!
//! # Words
//!
//! A *manifest* refers to blobs (config, layers) and, if it is an index, to other manifests; all
//! that can be reached is its *closure*. A manifest *exists* in a repository when its *revision* does;
//! a *tag* leads to a revision. A blob can be used in a repository when it has a *membership link*
//! there; a cross-repository *mount* writes one without moving bytes. *Acknowledged* means that the
//! client has the 201. A blob is *promised* when a client with push rights was told that it exists:
//! HEAD 200, mount 201, upload 201. *Grace* is the age below which nothing is collected.
//!
//! # Invariants
//!
//! 1. From its acknowledgement to its deletion, a manifest has its revision, the bytes of every blob
//!    in its closure and the membership links of these, **in every state**, hence for every reader,
//!    after every crash, and after power loss. No clock takes part in this.
//! 2. A promised blob is not refused with `MANIFEST_BLOB_UNKNOWN` within the grace period
//!    (filesystem engine; in the records engine a refused client pushes the blob again).
//! 3. No tag leads to a revision that is gone.
//! 4. What nobody refers to can be collected. Checked as reachability, so that a protocol in which
//!    nothing is ever acknowledged or collected does not pass.
//!
//! # The filesystem engine
//!
//! Four files beside the data: `gate` and `lock` for `flock`, `gc.lock` for the one collector run,
//! and `delta`, the log of what was claimed since the run began. `delta` exists only during a run and is
//! never synced: after power loss there is no run, and the next one begins with an empty log.
//!
//! **SHARED(f)**: lock `gate` shared, lock `lock` shared, unlock `gate`, do *f*, unlock `lock`. *f* is one
//! uninterrupted piece of work that owns the descriptors: if the request is dropped in the middle, the
//! lock must not be released before *f* has ended. **EXCLUSIVE(f)** does the same exclusively and gives
//! up after a deadline; giving up ends the run and keeps everything. **log(x)** appends one
//! record to `delta` if that file exists, with one `write` call; it opens the file anew in each section.
//!
//! ## HEAD by a client that may push
//!
//! 1. Enter SHARED.
//! 2. `stat` the blob's `data` (size as the descriptor says) **and** the repository's membership
//!    link. One of them missing: leave, 404.
//! 3. log(repository, digest).
//! 4. Set the modification times of `data` **and of the link** to now (may be skipped while younger than
//!    a quarter of the grace period).
//! 5. Leave, 200. A HEAD that may only pull skips 1, 3 and 4.
//!
//! ## Mount
//!
//! 1. Enter SHARED.
//! 2. `stat` `data`. Missing: leave, 202, the client uploads.
//! 3. log(repository, digest), set the modification time of `data`.
//! 4. Write the link: temporary file, rename.
//! 5. Leave. Sync the directory of the link. 201.
//!
//! ## Upload commit
//!
//! 1. Verify the digest; `fdatasync` the temporary file.
//! 2. Enter SHARED.
//! 3. Rename the file onto `data`, **even if `data` exists**; log(repository, digest).
//! 4. Write the link: temporary file, rename.
//! 5. Leave. Sync the directory of `data`, its parents as far as they are new, and the link's. 201.
//!
//! ## Manifest PUT
//!
//! 1. For every reference in the closure: `stat` `data` and link and remember **which file** each
//!    is; **then** sync the directories they are in. (The other order syncs one file and claims
//!    another: `SyncBeforeStat`.)
//! 2. Lock the repository's manifests shared; enter SHARED.
//! 3. log(repository, manifest digest).
//! 4. For every reference, recursively through the children of an index: `stat` `data` (size as
//!    the descriptor says) and link. One missing: leave, `MANIFEST_BLOB_UNKNOWN`.
//! 5. Where a file is not the one remembered, sync its directory now. The inode number alone does
//!    **not** identify it, for filesystems hand numbers out again (`InodeNumberReused`): compare the number
//!    *and* the change time in nanoseconds, or keep the remembered files open until here.
//! 6. Write the manifest's bytes (synced temporary file, renamed even if they exist), then the
//!    revision, then the tag: **all in this section**.
//! 7. Leave. Sync the directories of bytes, revision and tag. 201.
//!
//! Steps 1 and 5 may be one sync of all directories inside the section; that form is checked too
//! ([`filesystem::Form::Plain`]) and is slower under load.
//!
//! ## Manifest DELETE
//!
//! 1. Lock the repository's manifests exclusively (a manifest PUT holds that lock shared).
//! 2. Unlink the tags that lead to the digest, then the revision. Sync the directories. 202.
//!
//! ## Collector
//!
//! 1. Lock `gc.lock` without waiting. EXCLUSIVE: put a fresh empty `delta` in place.
//! 2. Mark from the roots, without any lock. Every revision is a root; with a policy that collects
//!    untagged manifests, tags are.
//! 3. Candidates are `data` files and links that are unmarked and older than the grace period; with the
//!    policy, revisions too. Those that are younger are roots then: what stays needs what it refers to.
//! 4. In batches, those of revisions before all others: `syncfs` (**after** the mark, so that a delete the mark has seen reaches the disk
//!    before the loss of its blobs does). EXCLUSIVE: read `delta`; for each manifest in it read the
//!    manifest **by digest, whether or not its revision still exists**, close over it recursively,
//!    and keep what it reaches, itself and its revision included; `stat` the rest again, keep what changed or became young;
//!    rename what remains into the trash.
//! 5. Unlink the trash outside the lock; remove `delta`. What a run leaves that was cut off is put in order
//!    by whoever locks `gc.lock` next: a file in the trash is gone already, so when it is unlinked is all one.
//!
//! The engine decides more narrowly than the models: its candidates are what was garbage when the mark ended,
//! while theirs are what is garbage when a batch is decided. That it looks at each file again (inode and
//! modification time) is a second line of defence, and nothing here rests on it: with [`filesystem::Grace::Ignored`]
//! no time is looked at.
//!
//! A manifest named in `delta` whose bytes are absent reaches nothing: that push ended before it
//! wrote them. Anything else that cannot be read, a torn record of `delta` included, ends the run
//! and keeps everything.
//!
//! # The records engine
//!
//! Records change by compare-and-swap only and every version carries a fresh nonce. Extents are
//! immutable, each under a key that is used once.
//!
//! ## HEAD and mount by a client that may push
//!
//! 1. Read the blob's record and the link's. Both live or condemned: 200. (Swapping a condemned
//!    record back to live here spares the client a refusal later; no safety rests on it.)
//! 2. For a mount with the blob's record live or condemned: swap the version of the link's record that
//!    was read for `live`. Lost: start again at 1. 201.
//!
//! ## Upload
//!
//! 1. Read the blob's record (absent and dead are versions like any other). Keep that version.
//! 2. Write the bytes under a new key.
//! 3. Swap **that** version for `live`, pointing at the new key. Lost: start again at 1 with HEAD; the
//!    bytes are left to the sweeper, their key is never registered a second time.
//! 4. The membership link's record likewise. 201.
//!
//! ## Manifest PUT
//!
//! 1. Draw a push nonce. Write `refs/<digest>/<repository>/<manifest>/<push nonce>` for **every**
//!    digest of the closure, before any of step 2.
//! 2. Read the record of every blob and of every membership link. Live: go on. Condemned: swap
//!    back to live, and read again if that fails. Dead or absent: `MANIFEST_BLOB_UNKNOWN`. What HEAD said
//!    before step 1 counts for nothing.
//! 3. Swap the revision for one that carries the push nonce. If it replaced one, remove the
//!    references of the replaced nonce, and no others.
//! 4. Write the tag.
//! 5. **Read the revision again**; gone: start over from step 1 with a new push nonce. 201.
//!
//! ## Manifest DELETE
//!
//! 1. Read the revision. Swap **that** version away; lost: start again.
//! 2. Now list the tags that lead to the digest. For each: read the revision again; if there is one,
//!    somebody pushed the manifest meanwhile, leave the tags; else swap that version of the tag away.
//! 3. Remove the references of the nonce that was in the revision, and no others. 202.
//!
//! ## Collector, for one record
//!
//! 1. Older than grace. Swap `live` (or another run's `condemned`) for `condemned` with a nonce of
//!    its own.
//! 2. List the references of the digest (of the digest in the repository, for a link) with a listing
//!    that sees every completed write.
//! 3. Some: swap back to `live`. None: swap **that** `condemned` for `dead`, then delete the extent.
//!    Any swap lost: leave the record alone.
//!
//! **Sweeper**, for an extent that no record names: bump the nonce of the digest's record (or create a dead
//! one), then delete the extent. Dead records are kept longer than any push can last
//! (`TombstonePurged`): absent must not come back within the life of an upload.
//!
//! **Untagged manifests**, if they are to go: swap the manifest's record for condemned; list the references of
//! indexes, **then** the hints of tags, and swap each tag for itself unless it points here: a push that has read
//! the tag before and has yet to write it loses, and begins again. Nothing leads here: swap for dead, and go on as
//! after a delete. Blobs are decided after that, each as above. A push by several tags that may be refused, and moves
//! back what it has moved, writes references to what the tags led to, and makes that live, before it moves the first
//! ([`records_untagged`]).
//!
//! What an upload expects unchanged is not the whole record but a *fence* in it, which the sweeper changes, and
//! the collector with its last swap ([`records_collect`]): otherwise a writer whose answer got lost could
//! register again what was collected meanwhile. **Stale references**: rewrite the manifest's record, which a
//! push reads before its first reference and swaps from, then remove the reference. **Tombstones** are removed
//! only if unchanged.
//!
//! # What the models assume
//!
//! * `flock` on one machine: shared and exclusive exclude each other, a dead process holds nothing.
//! * A rename is atomic for readers. A synced directory keeps its names; unsynced renames survive
//!   power loss in any combination. `syncfs` covers everything before it.
//! * Compare-and-swap and listings of the record store are linearizable.
//! * Nothing that began before a tombstone is thirty days old is still under way then.
//! * Manifests and link files are read whole or not at all; digests do not collide.
//!
//! # Bounds, and what was visited
//!
//! The tests state the exact number of states, so that a change which makes a model smaller is
//! noticed.
//!
//! | model | bounds | states |
//! |---|---|---|
//! | filesystem, plain | 2 writers, 1 uploader, 2 runs, within grace / without clocks | 295,317 / 371,927 |
//! | | power loss: 1 writer, 1 uploader, 2 runs / twice / 2 writers, 1 run | 15,073 / 17,228 / 19,658 |
//! | filesystem, shipped: 2 digests, links | 2 writers in 2 repositories, 1 run, within grace / without clocks | 2,310,846 / 2,779,575 |
//! | | 2 writers in 1 repository, 1 run, within grace | 5,407,891 |
//! | | power loss: 1 writer, 1 uploader, 2 runs | 863,806 |
//! | filesystem, shipped: 1 digest, links | 2 writers in 2 repositories, 2 runs, within grace / without clocks | 317,118 / 451,189 |
//! | | the same, 1 run, power loss | 305,340 |
//! | index closure | 2 writers, 2 runs, an index each / the same index | 12,907 / 6,425 |
//! | untagged | 1 writer, 2 runs, power lost twice, an old manifest / a young one | 3,045 / 1,866 |
//! | records, raw | 2 writers, 2 collectors, without / with a sweeper | 192,844 / 2,253,270 |
//! | records, reduced | the same with a sweeper / and uploads that replace | 332,297 / 1,500,994 |
//! | records, reduced: 2 digests, links | 2 writers, 2 collectors | 1,060,264 |
//! | | 2 writers, 1 collector, uploads that replace | 934,175 |
//! | | 2 writers, 1 collector, 1 sweeper, after collection | 960,197 |
//! | | 1 writer, 2 collectors, 1 sweeper, uploads that replace | 1,758,972 |
//! | records, collecting | 2 writers, 2 collectors / and stale references / and a purger | 912,532 / 387,264 / 89,466 |
//! | | 2 writers, 1 collector, 1 sweeper, no lost answers | 3,744,106 |
//! | | 1 writer, 2 collectors, everything, crashes | 1,301,294 |
//! | records, references | 1 push, 2 digests, links / 2 pushes, 2 digests | 198,065 / 100,172 |
//! | records, tags | 2 pushes, 2 deletes, a tag each / one tag | 253,125 / 63,965 |
//! | records, untagged | 1 push, 1 collector / and an index and stale references / and an index and a tag that moves | 1,933 / 87,111 / 101,398 |
//! | | 1 push, 1 collector, a delete and a tag that moves | 568,234 |
//! | | 1 push, 2 collectors: stale references / an index, no crashes | 215,354 / 370,711 |
//! | | a tag that is moved back: 1 push, 1 collector, stale references / an index, 2 collectors | 19,449 / 31,544 |
//! | | 2 pushes, 1 collector: a tag each / one tag that moves, no crashes | 515,988 / 2,764,524 |
//!
//! Checked once and left out of the tests because they take about a minute each: three writers in the
//! plain filesystem model (11,923,390 states within grace, 15,380,131 without clocks), and two
//! writers, one collector and one sweeper over two digests with links and uploads that replace
//! (records, 9,803,383 states). No violation.
//!
//! The checker remembers states by a 64-bit fingerprint. The chance that two of six million states
//! share one, and that something was therefore not visited, is about one in a million.
//!
//! # What is not modelled
//!
//! * More writers, digests, repositories or runs than stated. In the records models all writers push
//!   to one repository, and each retries once.
//! * The manifest's own bytes as a collectable file: a PUT commits them in its section as it would a
//!   blob, and its log record names them.
//! * Upload sessions and their resumption; sizes (a file of another size counts as absent); tearing of a log record.
//! * Progress: that the gate keeps readers from starving the collector, and that retries end.
//! * Clock steps (the first invariant does not look at clocks), NFS and other filesystems without working
//!   `flock`, record stores that are not linearizable, ambiguous answers of a compare-and-swap (the
//!   engine reads back and compares the nonce).
//! * In the records engine with a policy that collects untagged manifests: what refers to a manifest as its
//!   *subject*.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "small fixed arrays of actors and names; a slip must end the check, not be handled"
)]

pub mod check;
pub mod filesystem;
pub mod index_closure;
pub mod records;
pub mod records_collect;
pub mod records_refs;
pub mod records_tags;
pub mod records_untagged;
mod step;
pub mod untagged;

pub use self::step::{Actor, Step};
