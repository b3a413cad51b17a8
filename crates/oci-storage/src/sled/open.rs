//! Opening the database.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::commit::GroupCommit;
use super::error::{Fault, SledError};
use super::keys::{FORMAT, FORMAT_VALUE};
use super::{Shared, Sled, SledOptions};

pub(super) fn open(directory: &Path, options: SledOptions) -> Result<Sled, SledError> {
    let unusable = |source| SledError::Directory {
        directory: directory.to_owned(),
        source,
    };
    // sled does not find its own snapshots by a relative path once the working directory changes.
    let directory = std::path::absolute(directory).map_err(unusable)?;
    let unusable = |source| SledError::Directory {
        directory: directory.clone(),
        source,
    };
    let made = make(&directory).map_err(unusable)?;
    refuse_others(&directory)?;
    let lock = lock(&directory)?;
    remove_unfinished_snapshots(&directory).map_err(unusable)?;

    let database = start(&directory, options.cache_bytes)?;
    // Names of new files are durable before anything relies on them.
    for made in made.iter().map(PathBuf::as_path).chain([&*directory]) {
        sync_directory(made).map_err(unusable)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(directory.join("db"))
        .map_err(unusable)?;
    let unreadable = |fault: Fault| SledError::Database {
        directory: directory.clone(),
        source: match fault {
            Fault::NoSpace(source) | Fault::Unavailable(source) => source,
            Fault::Conflict | Fault::NotFound => "its own records do not agree".into(),
        },
    };
    let shared = Shared {
        tree: database
            .open_tree("registry")
            .map_err(|error| unreadable(error.into()))?,
        database,
        commits: GroupCommit::new(file),
        changes: Mutex::default(),
        directory: directory.clone(),
        options,
        _lock: lock,
    };
    check_format(&shared)?;
    shared
        .sweep()
        .and_then(|()| shared.sweep_parts())
        .and_then(|()| {
            shared
                .flush()
                .map_err(|reason| Fault::Unavailable(reason.into()))
        })
        .map_err(unreadable)?;
    Ok(Sled {
        shared: Arc::new(shared),
    })
}

/// Makes the directory, and returns those whose entries are new by that.
fn make(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let new = directory.ancestors().take_while(|path| !path.exists());
    let parents = new.filter_map(Path::parent).map(Path::to_owned).collect();
    std::fs::create_dir_all(directory)?;
    Ok(parents)
}

/// sled would write its files between whatever is there.
fn refuse_others(directory: &Path) -> Result<(), SledError> {
    let unusable = |source| SledError::Directory {
        directory: directory.to_owned(),
        source,
    };
    let (mut own, mut others) = (false, false);
    for entry in std::fs::read_dir(directory).map_err(unusable)? {
        let name = entry.map_err(unusable)?.file_name();
        match name.to_str() {
            // What is there after a first start that was cut short, too.
            Some("db" | "conf" | LOCK) => own = true,
            Some("lost+found") => {}
            _ => others = true,
        }
    }
    if others && !own {
        return Err(SledError::NotEmpty {
            directory: directory.to_owned(),
        });
    }
    Ok(())
}

fn lock(directory: &Path) -> Result<File, SledError> {
    let unusable = |source| SledError::Directory {
        directory: directory.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    let file = options
        .create(true)
        .truncate(false)
        .write(true)
        .open(directory.join(LOCK))
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SledError::InUse {
            directory: directory.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

/// sled reads a snapshot that it was writing when it was killed, and refuses to open because of it.
/// Everything a snapshot says is in the log as well.
fn remove_unfinished_snapshots(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Starts sled, which panics over some damaged files.
fn start(directory: &Path, cache_bytes: u64) -> Result<::sled::Db, SledError> {
    let config = ::sled::Config::new()
        .path(directory)
        .cache_capacity(cache_bytes)
        // The more fits into its log, the less goes to files that sled never syncs.
        .segment_size(8 << 20);
    let unreadable = |source| SledError::Database {
        directory: directory.to_owned(),
        source,
    };
    let opening = std::thread::Builder::new()
        .name("registry-sled-open".to_owned())
        .spawn(move || config.open())
        .map_err(|source| SledError::Directory {
            directory: directory.to_owned(),
            source,
        })?;
    match opening.join() {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(error)) => Err(unreadable(error.into())),
        Err(_) => Err(unreadable("sled panicked while it read its files".into())),
    }
}

fn check_format(shared: &Shared) -> Result<(), SledError> {
    let unreadable = |error: ::sled::Error| SledError::Database {
        directory: shared.directory.clone(),
        source: error.into(),
    };
    match shared.tree.get(FORMAT).map_err(unreadable)? {
        Some(found) if *found == *FORMAT_VALUE.as_bytes() => Ok(()),
        Some(found) => Err(SledError::Format {
            directory: shared.directory.clone(),
            found: String::from_utf8_lossy(&found).into_owned(),
            expected: FORMAT_VALUE,
        }),
        None => {
            shared
                .tree
                .insert(FORMAT, FORMAT_VALUE)
                .map_err(unreadable)?;
            Ok(())
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "sled never makes the names of its files durable"
)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

const LOCK: &str = "registryd.lock";
