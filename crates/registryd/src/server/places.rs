//! Room for connections. When there is none left, the one that was not used for the longest goes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::guard::Activity;

/// The connections there are, and how many there may be.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<Vec<Weak<Activity>>>,
}

/// Room that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Room(OwnedSemaphorePermit);

/// A connection's room, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    activity: Arc<Activity>,
}

impl Place {
    /// What the connection is doing.
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(limit)),
            taken: Mutex::default(),
        }
    }

    /// Waits for room, and makes some if all is taken. Connections with a request in flight are never
    /// closed: if there are only such, it waits for one of them to end.
    ///
    /// # Cancel safety
    /// Dropped, it has at most asked an idle connection to close.
    pub(super) async fn room(&self) -> Option<Room> {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.make_room().await?,
        };
        Some(Room(permit))
    }

    /// A new connection takes the room that was made for it.
    pub(super) fn take(&self, room: Room) -> Place {
        let activity = Arc::new(Activity::default());
        let mut taken = self.lock();
        if taken.len() == taken.capacity() {
            taken.retain(|connection| connection.strong_count() > 0);
        }
        taken.push(Arc::downgrade(&activity));
        Place {
            _permit: room.0,
            activity,
        }
    }

    async fn make_room(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            self.close_least_recently_used();
            let free = Arc::clone(&self.free).acquire_owned();
            // Whoever was asked may have been given a request in the same moment; and if all are busy,
            // one of them may be idle later.
            if let Ok(permit) = tokio::time::timeout(ANOTHER, free).await {
                return permit.ok();
            }
        }
    }

    /// Asks the idle connection that was not used for the longest to end.
    pub(super) fn close_least_recently_used(&self) {
        let idle = self
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            // It goes as fast as it can; asking again does not make room.
            .filter(|connection| !connection.was_asked())
            .filter_map(|connection| Some((connection.idle_since()?, connection)))
            .min_by_key(|(since, _)| *since);
        if let Some((_, connection)) = idle {
            connection.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Activity>>> {
        // A list that is only pushed to and filtered.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a connection that was asked to close may take before another one is asked.
const ANOTHER: std::time::Duration = std::time::Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_least_recently_used_idle_connection_makes_room() {
        let places = Arc::new(Places::new(3));
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(places.take(places.room().await.unwrap()));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // The first is busy, the second was used last.
        let busy = held[0].activity().request();
        drop(held[1].activity().request());
        let waiting = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.room().await.unwrap() }
        });
        tokio::select! {
            () = held[2].activity().closed() => {}
            () = held[0].activity().closed() => panic!("a busy connection was closed"),
            () = held[1].activity().closed() => panic!("the wrong connection was closed"),
        }
        drop(held.pop());
        drop(waiting.await.unwrap());
        drop(busy);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_busy_the_next_one_waits() {
        let places = Places::new(1);
        let place = places.take(places.room().await.unwrap());
        let busy = place.activity().request();
        let waited = tokio::time::timeout(Duration::from_secs(5), places.room()).await;
        assert!(waited.is_err());
        drop((busy, place));
        assert!(places.room().await.is_some());
    }
}
