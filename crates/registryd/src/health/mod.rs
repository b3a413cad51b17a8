//! Whether the registry can do its work, as probes and operators ask.
//!
//! Only the storage decides what `/readyz` and `/` answer, and nothing that is checked ever stops requests:
//! a registry that still can pull goes on. The other checks of the configuration show at `/debug/health`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use crate::config;

mod checks;
mod storage;

use checks::Check;
pub use storage::{Space, StorageProbe};

/// Every check of the configuration, and what it last found.
#[derive(Debug)]
pub struct Health {
    probe: StorageProbe,
    /// The check of the storage, if `health.storagedriver` asks for one.
    storage: Option<Watched>,
    others: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    name: String,
    check: Check,
    interval: Duration,
    threshold: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How often in a row it has failed.
    failures: u32,
    /// What was wrong the last time.
    problem: Option<String>,
}

impl Health {
    /// The checks that `config` asks for, and the probe that `/readyz` has in any case.
    pub fn new(config: &config::Health, driver: &str, probe: StorageProbe) -> Self {
        let watched = |name: String, check, interval: Duration, threshold| Watched {
            name,
            check,
            // Zero stands for the default.
            interval: if interval.is_zero() {
                INTERVAL
            } else {
                interval
            },
            threshold,
            state: Mutex::default(),
        };
        let files = config.file.iter().map(|item| {
            let name = item.file.display().to_string();
            watched(name, Check::File(item.file.clone()), item.interval, 1)
        });
        let urls = config.http.iter().map(|item| {
            let check = Check::Http(item.clone());
            watched(
                without_user(&item.uri),
                check,
                item.interval,
                item.threshold,
            )
        });
        let ports = config.tcp.iter().map(|item| {
            let check = Check::Tcp(item.addr.clone(), item.timeout);
            watched(item.addr.clone(), check, item.interval, item.threshold)
        });
        let storage = &config.storagedriver;
        Self {
            probe,
            storage: storage.enabled.then(|| {
                let name = format!("storagedriver_{driver}");
                watched(name, Check::Storage, storage.interval, storage.threshold)
            }),
            others: files.chain(urls).chain(ports).collect(),
        }
    }

    /// Whether the storage answers now; a fresh answer is asked for at most once a second.
    pub(crate) async fn is_ready(&self) -> bool {
        match &self.storage {
            Some(storage) => storage.problem().is_none(),
            None => self.probe.check().await.is_ok(),
        }
    }

    /// Whether the checks of the storage have found nothing, as far as there are any.
    pub(crate) fn is_fit(&self) -> bool {
        self.storage
            .as_ref()
            .is_none_or(|storage| storage.problem().is_none())
    }

    /// What fails, by name: what `/debug/health` shows.
    pub(crate) fn problems(&self) -> Vec<(&str, String)> {
        let problem = |watched: &'_ Watched| watched.problem();
        self.all()
            .filter_map(|watched| Some((watched.name.as_str(), problem(watched)?)))
            .collect()
    }

    /// Every check, and whether it fails.
    pub(crate) fn summary(&self) -> Vec<(String, bool)> {
        self.all()
            .map(|watched| (watched.name.clone(), watched.problem().is_some()))
            .collect()
    }

    /// How much room there is, where that can be told.
    pub(crate) async fn space(&self) -> Option<Space> {
        let _ = self.probe.check().await;
        self.probe.space()
    }

    /// Checks for as long as it is polled.
    pub async fn run(self: Arc<Self>) {
        let health = &self;
        join_all(self.all().map(|watched| async move {
            let mut ticks = tokio::time::interval(watched.interval);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let outcome = watched.check.run(&health.probe).await;
                watched.note(outcome);
            }
        }))
        .await;
    }

    fn all(&self) -> impl Iterator<Item = &Watched> {
        self.storage.iter().chain(&self.others)
    }
}

impl Watched {
    /// What is wrong, once it was so often enough in a row.
    fn problem(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failures < self.threshold.max(1) {
            return None;
        }
        state.problem.clone()
    }

    fn note(&self, outcome: Result<(), String>) {
        let was = self.problem().is_some();
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(()) => *state = State::default(),
                Err(problem) => {
                    state.failures = state.failures.saturating_add(1);
                    state.problem = Some(problem);
                }
            }
        }
        // Its turning is news; that it stays so is not.
        match (was, self.problem()) {
            (false, Some(problem)) => {
                tracing::error!(check = self.name, problem, "a health check fails");
            }
            (true, None) => tracing::info!(check = self.name, "a health check is fine again"),
            _ => {}
        }
    }
}

/// A URL as it may be shown: without the user name and password that it may hold.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// How often to look, unless the configuration says.
const INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use oci_core::Registry;
    use oci_core::memory::MemoryStore;

    use super::*;

    fn health(config: &config::Health) -> Health {
        let registry = Registry::new(MemoryStore::new());
        Health::new(config, "inmemory", StorageProbe::new(registry, None))
    }

    #[tokio::test]
    async fn only_the_storage_decides_whether_it_is_ready() {
        let mut config = config::Health::default();
        config.storagedriver.enabled = true;
        config.storagedriver.threshold = 2;
        config
            .tcp
            .push(serde_json::from_str(r#"{"addr": "nowhere.invalid:1"}"#).unwrap());
        let health = health(&config);
        health.others[0].note(Err("refused".to_owned()));
        assert!(health.is_ready().await && health.is_fit());
        assert_eq!(
            health.problems(),
            [("nowhere.invalid:1", "refused".to_owned())]
        );

        let storage = health.storage.as_ref().unwrap();
        storage.note(Err("gone".to_owned()));
        assert!(health.is_ready().await, "the threshold is 2");
        storage.note(Err("gone".to_owned()));
        assert!(!health.is_ready().await && !health.is_fit());
        assert_eq!(health.problems()[0].0, "storagedriver_inmemory");
        storage.note(Ok(()));
        assert!(health.is_ready().await && health.is_fit());
    }

    #[test]
    fn passwords_in_urls_are_not_shown() {
        for (url, shown) in [
            ("http://up.example/a@b?c", "http://up.example/a@b?c"),
            (
                "https://user:hush@up.example:8443/a",
                "https://up.example:8443/a",
            ),
            ("https://a@b:hush@up.example", "https://up.example"),
            ("up.example", "up.example"),
        ] {
            assert_eq!(without_user(url), shown);
        }
    }

    #[tokio::test]
    async fn without_checks_it_is_ready_as_long_as_the_storage_answers() {
        let health = health(&config::Health::default());
        assert!(health.is_ready().await && health.is_fit());
        assert!(health.summary().is_empty());
    }
}
