//! The machine that everything runs on.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use registry_load_driver::pause;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A machine counts as idle when at most this part of its CPU time was used in a window.
const IDLE: f64 = 0.05;
const WINDOW: Duration = Duration::from_millis(400);

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of linux/magic.h.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// Model of the CPU and how many, kernel, memory, date: what a reader needs to judge figures.
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) kernel: String,
    pub(crate) memory: String,
    pub(crate) file_system: String,
    pub(crate) date: String,
}

impl Machine {
    pub(crate) fn look(scratch: &Path) -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = info.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim())
        };
        let model = field("model name").unwrap_or("unknown CPU");
        let flags = field("flags").unwrap_or_default();
        let sha = flags.split(' ').any(|flag| flag == "sha_ni");
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = memory
            .lines()
            .next()
            .and_then(|line| line.split_whitespace().nth(1));
        let memory = memory.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
        Self {
            cpu: format!("{count} × {model}{}", if sha { " with SHA-NI" } else { "" }),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            memory: format!("{} GiB", memory.div_ceil(1 << 20)),
            file_system: file_system(scratch),
            date: today(),
        }
    }
}

/// Fails if a directory is not on a disk.
pub(crate) fn on_disk(directory: &Path) -> Result<()> {
    let found = rustix::fs::statfs(directory)
        .with_context(|| format!("look at the file system of {}", directory.display()))?;
    if IN_MEMORY.contains(&found.f_type) {
        bail!(
            "{} is in memory (tmpfs): pushes would cost no disk writes; name a directory on a disk with --scratch",
            directory.display()
        );
    }
    Ok(())
}

/// Ten thousand connections need as many files, here and in the servers.
pub(crate) fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: wanted,
            maximum: wanted,
        },
    )
    .context("raise the limit of open files")
}

/// Waits until the machine is idle, for at most `longest`; whether it was.
pub(crate) fn wait_until_idle(longest: Duration) -> bool {
    let deadline = Instant::now() + longest;
    loop {
        let before = cpu_times();
        pause(WINDOW);
        let after = cpu_times();
        let (all, idle) = match (before, after) {
            (Some(before), Some(after)) => (after.0 - before.0, after.1 - before.1),
            _ => return false,
        };
        if all > 0.0 && 1.0 - idle / all <= IDLE {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
    }
}

/// Writes out what other measurements left in the page cache.
pub(crate) fn flush(directory: &Path) -> Result<()> {
    let directory = fs::File::open(directory)?;
    rustix::fs::syncfs(&directory).context("write out the page cache")
}

/// Time of all CPUs, in all and idle.
fn cpu_times() -> Option<(f64, f64)> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let times: Vec<f64> = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    let idle = times.get(3)? + times.get(4)?;
    Some((times.iter().sum(), idle))
}

fn file_system(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mut best = (0, "unknown");
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        if let (Some(at), Some(kind)) = (fields.next(), fields.next())
            && path.starts_with(at)
            && at.len() >= best.0
        {
            best = (at.len(), kind);
        }
    }
    best.1.to_owned()
}

/// The date in UTC.
fn today() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let days = since.map_or(0, |since| since.as_secs() / 86_400);
    civil(days)
}

/// Days since 1970 as a date (Howard Hinnant's `civil_from_days`, for days that are not negative).
fn civil(days: u64) -> String {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(civil(0), "1970-01-01");
        assert_eq!(civil(11_016), "2000-02-29");
        assert_eq!(civil(20_453), "2025-12-31");
    }

    #[test]
    fn tmpfs_is_refused() {
        let error = on_disk(Path::new("/dev/shm")).unwrap_err().to_string();
        assert!(error.contains("--scratch"), "{error}");
    }
}
