//! `registryd import`

use std::process::ExitCode;

use super::Import;
use super::place::Place;
use crate::cli::out::say;
use crate::config::StorageDriver;

pub(super) async fn run(arguments: &Import) -> anyhow::Result<ExitCode> {
    let place = match &arguments.config {
        Some(path) => Place::served(path)?,
        None => Place::of_process()?,
    };
    match place.driver() {
        StorageDriver::Filesystem(filesystem) => {
            say!(
                "{}: there is nothing to import: a volume of CNCF Distribution is served as it is, by \
                 `storage.filesystem.rootdirectory`; to move it elsewhere, use `registryd storage copy`",
                filesystem.rootdirectory.display()
            );
            Ok(ExitCode::FAILURE)
        }
        StorageDriver::Sled(_) | StorageDriver::InMemory {} => anyhow::bail!(
            "{place}: CNCF Distribution cannot have written there; name a configuration file with \
             `storage.s3`, `storage.gcs` or `storage.azure`"
        ),
        driver => buckets::run(driver, place.grace(), arguments).await,
    }
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
mod buckets {
    use std::process::ExitCode;
    use std::time::Duration;

    use oci_storage::object::{ImportOptions, ImportReport};

    use super::super::progress::{Progress, bytes, left_out};
    use super::super::{INTERRUPTED, Import, or_interrupted};
    use crate::assemble;
    use crate::cli::out::{note, say};
    use crate::config::StorageDriver;

    pub(super) async fn run(
        driver: &StorageDriver,
        grace: Duration,
        arguments: &Import,
    ) -> anyhow::Result<ExitCode> {
        let connected = assemble::storage::bucket(driver, grace).await?;
        let bucket = &connected.bucket;
        let dry = if arguments.dry_run {
            " (dry run: nothing is written)"
        } else {
            ""
        };
        note!(
            "importing what CNCF Distribution has in {}{dry}",
            bucket.name()
        );
        let mut options = ImportOptions::default();
        options.dry_run = arguments.dry_run;
        options.move_tags = arguments.move_tags;
        let mut progress = Progress::new(None);
        let mut nothing = false;
        let work = async {
            let found = bucket.importable().await?;
            if found.objects == 0 {
                nothing = true;
                note!(
                    "there is nothing of CNCF Distribution below this prefix: `rootdirectory` must be \
                     what it was there"
                );
            }
            // Manifests, and what no repository shows any more, are counted as well.
            progress = Progress::new(Some(found.bytes));
            let watch = |report: &ImportReport| {
                let passed = report.bytes + report.bytes_there;
                progress.tell(passed, passed, || {
                    format!(
                        "{} repositories, {} blobs, {} manifests",
                        report.repositories,
                        report.blobs + report.blobs_there,
                        report.manifests + report.manifests_there
                    )
                });
            };
            let imported = bucket.import(&connected.store, options, watch).await;
            imported.map_err(anyhow::Error::from)
        };
        let Some(report) = or_interrupted(work, &[]).await? else {
            progress.end("interrupted; run the same command again to go on: stopped");
            return Ok(ExitCode::from(INTERRUPTED));
        };
        let report = report?;
        for problem in &report.problems {
            say!("{}: {}: {}", problem.repository, problem.what, problem.why);
        }
        progress.end(&format!(
            "imported {} blobs ({}), {} manifests and {} tags of {} repositories{dry}; {} blobs ({}) and {} \
             manifests were there already; {}{} problems",
            report.blobs,
            bytes(report.bytes),
            report.manifests,
            report.tags,
            report.repositories,
            report.blobs_there,
            bytes(report.bytes_there),
            report.manifests_there,
            left_out(report.dead_links),
            report.problems.len(),
        ));
        Ok(ExitCode::from(u8::from(
            nothing || !report.problems.is_empty(),
        )))
    }
}

#[cfg(not(any(feature = "s3", feature = "gcs", feature = "azure")))]
mod buckets {
    use std::process::ExitCode;
    use std::time::Duration;

    use super::Import;
    use crate::config::StorageDriver;

    #[expect(clippy::unused_async, reason = "as the one of a build with buckets")]
    pub(super) async fn run(
        _: &StorageDriver,
        _: Duration,
        _: &Import,
    ) -> anyhow::Result<ExitCode> {
        anyhow::bail!("this registryd was built without buckets: build it with `--features s3`")
    }
}
