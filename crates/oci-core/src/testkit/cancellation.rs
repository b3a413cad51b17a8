//! Contracts of dropped futures: for every operation, dropped after the first poll, the second, and so
//! on until it is ready.

use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::StoreUnderTest;
use super::content::{as_content, content, image, pieces, repository, scope, sha256, tag};
use super::uploads::{begin, pause, reopen};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::store::{AppendMode, TagWrite};

pub(super) async fn append(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let scope = scope(&repository("drop/append"));
    let bytes = content(1, 500_000);
    for mode in [AppendMode::Atomic, AppendMode::Progressive] {
        for_every_poll(async |polls| {
            let id = begin(&stores, &scope).await;
            let mut upload = reopen(&stores, &scope, &id).await.unwrap();
            let mut first = pieces(&bytes[..1000], 100);
            upload
                .append(as_content(&mut first), AppendMode::Progressive)
                .await
                .unwrap();
            upload.checkpoint().await.unwrap();
            let mut rest = pieces(&bytes[1000..], 90_000);
            let done = drop_after(polls, upload.append(as_content(&mut rest), mode)).is_some();
            drop(upload);

            let mut upload = reopen(&stores, &scope, &id)
                .await
                .expect("the session outlives its writer");
            let offset = usize::try_from(upload.offset()).unwrap();
            match mode {
                AppendMode::Atomic => assert_eq!(offset, 1000, "back at the checkpoint"),
                AppendMode::Progressive => {
                    assert!((1000..=bytes.len()).contains(&offset), "{offset}");
                }
            }
            // Whatever was kept is a prefix: the rest completes it.
            let mut rest = pieces(&bytes[offset..], 100_000);
            upload
                .append(as_content(&mut rest), AppendMode::Atomic)
                .await
                .unwrap();
            upload
                .commit(&Digest::sha256(&bytes), scope.repository())
                .await
                .unwrap();
            done
        })
        .await;
    }
}

pub(super) async fn checkpoint(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let scope = scope(&repository("drop/checkpoint"));
    let bytes = content(2, 200_000);
    for_every_poll(async |polls| {
        let id = begin(&stores, &scope).await;
        let mut upload = reopen(&stores, &scope, &id).await.unwrap();
        let mut all = pieces(&bytes, 50_000);
        upload
            .append(as_content(&mut all), AppendMode::Atomic)
            .await
            .unwrap();
        let done = drop_after(polls, upload.checkpoint()).is_some();
        drop(upload);
        let upload = reopen(&stores, &scope, &id).await.unwrap();
        let offset = upload.offset();
        assert!(
            offset == 200_000 || (!done && offset == 0),
            "old or new, not {offset}"
        );
        upload.abort().await.unwrap();
        done
    })
    .await;
}

pub(super) async fn commit(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let name = repository("drop/commit");
    let scope = scope(&name);
    let mut seed = 1000;
    for_every_poll(async |polls| {
        seed += 1;
        let bytes = content(seed, 100_000);
        let digest = Digest::sha256(&bytes);
        let mut upload = stores.blobs.begin_upload(&scope, &sha256()).await.unwrap();
        let mut all = pieces(&bytes, 50_000);
        upload
            .append(as_content(&mut all), AppendMode::Progressive)
            .await
            .unwrap();
        upload.checkpoint().await.unwrap();
        let id = upload.id().clone();
        let done = match drop_after(polls, upload.commit(&digest, &name)) {
            Some(committed) => {
                let committed = committed.unwrap();
                if !committed.linked {
                    stores
                        .manifests
                        .link_blob(&name, &committed.blob)
                        .await
                        .unwrap();
                }
                true
            }
            None => false,
        };
        settled(async || {
            let visible = stores.blobs.stat(&digest).await.is_ok();
            match stores.blobs.open_upload(&scope, &id).await {
                // Not past the point of no return: the session stands as before, and can be committed.
                Ok(upload) => {
                    assert_eq!(upload.offset(), 100_000);
                    let committed = upload.commit(&digest, &name).await.unwrap();
                    if !committed.linked {
                        stores
                            .manifests
                            .link_blob(&name, &committed.blob)
                            .await
                            .unwrap();
                    }
                    Settled::Yes
                }
                Err(StoreError::NotFound) if visible => Settled::Yes,
                // Between the end of the session and the name of the blob nobody sees either.
                Err(StoreError::Conflict { .. } | StoreError::NotFound) => Settled::NotYet,
                Err(error) => panic!("{error}"),
            }
        })
        .await;
        assert!(stores.content(&digest).await == bytes);
        done
    })
    .await;
}

pub(super) async fn put(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let name = repository("drop/put");
    let mut seed = 2000;
    for_every_poll(async |polls| {
        seed += 1;
        stores.push_image(&name, seed, &[]).await;
        let manifest = image(seed, Some(&Digest::sha256(b"subject")));
        let digest = Digest::sha256(manifest.bytes());
        let own = tag(&format!("t{seed}"));
        let writes = [TagWrite::any(own.clone())];
        let done = drop_after(polls, Box::pin(stores.put(&name, &manifest, &writes)));
        if let Some(result) = &done {
            result.as_ref().unwrap();
            assert_eq!(stores.manifests.resolve(&name, &own).await.unwrap(), digest);
        }
        // It may still be on its way; whatever is seen of it is never a tag without its manifest.
        for _ in 0..20 {
            if let Ok(at) = stores.manifests.resolve(&name, &own).await {
                assert_eq!(
                    stores.manifests.read(&name, &at).await.unwrap().bytes,
                    manifest.bytes()
                );
                break;
            }
            pause();
        }
        stores
            .put(&name, &manifest, &writes)
            .await
            .expect("it can be put again");
        done.is_some()
    })
    .await;
}

pub(super) async fn delete(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let name = repository("drop/delete");
    let mut seed = 3000;
    for_every_poll(async |polls| {
        seed += 1;
        let own = tag(&format!("t{seed}"));
        let digest = stores
            .push_image(&name, seed, &[own.as_str(), "shared"])
            .await;
        let done = drop_after(polls, stores.manifests.delete(&name, &digest));
        if let Some(result) = &done {
            let mut expected = vec![own.clone(), tag("shared")];
            expected.sort_unstable();
            assert_eq!(*result.as_ref().unwrap(), expected);
        }
        settled(async || {
            // Deleting again either finds it, or it is gone already, with its tags.
            match stores.manifests.delete(&name, &digest).await {
                Ok(_) | Err(StoreError::NotFound) => {}
                Err(error) => panic!("{error}"),
            }
            let gone = stores.manifests.read(&name, &digest).await.is_err();
            let untagged = stores.manifests.resolve(&name, &own).await.is_err();
            if gone && untagged {
                Settled::Yes
            } else {
                Settled::NotYet
            }
        })
        .await;
        done.is_some()
    })
    .await;
}

/// Runs `scenario` with 1, 2, 3 … polls until it says that the operation was ready by then.
async fn for_every_poll(mut scenario: impl AsyncFnMut(usize) -> bool) {
    for polls in 0..MOST_POLLS {
        if scenario(polls).await {
            return;
        }
    }
    panic!("still not ready after {MOST_POLLS} polls");
}

/// Polls `future` at most `polls` times, each time it asks for it, then drops it.
fn drop_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(Arc::clone(&signal));
    for _ in 0..polls {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        signal.wait();
    }
    None
}

enum Settled {
    Yes,
    NotYet,
}

/// Waits until work that outlived its dropped future has come to rest.
async fn settled(check: impl AsyncFn() -> Settled) {
    for _ in 0..1000 {
        if matches!(check().await, Settled::Yes) {
            return;
        }
        pause();
    }
    panic!("neither done nor undone");
}

#[derive(Default)]
struct Signal {
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Signal {
    fn wait(&self) {
        let woken = self.woken.lock().unwrap();
        let (mut woken, timeout) = self
            .wake
            .wait_timeout_while(woken, Duration::from_secs(20), |woken| !*woken)
            .unwrap();
        assert!(
            !timeout.timed_out(),
            "a pending operation never woke its task"
        );
        *woken = false;
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.wake.notify_one();
    }
}

/// Far more than any operation on a few hundred kilobytes takes.
const MOST_POLLS: usize = 400;
