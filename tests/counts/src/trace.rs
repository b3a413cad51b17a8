//! Counting the lines of a trace.

use std::collections::HashSet;

/// Kinds of system calls, in the order of the table's columns.
///
/// The names of all platforms are listed; strace ignores those that one does not have.
pub const KINDS: [(&str, &[&str]); 11] = [
    ("fsync", &["fsync", "syncfs", "sync_file_range"]),
    ("fdatasync", &["fdatasync"]),
    (
        "rename",
        &["rename", "renameat", "renameat2", "link", "linkat"],
    ),
    ("mkdir", &["mkdir", "mkdirat"]),
    ("unlink", &["unlink", "unlinkat", "rmdir"]),
    ("open", &["open", "openat", "openat2", "creat"]),
    (FILE_READ, READS),
    (FILE_WRITE, WRITES),
    (SOCKET_READ, READS),
    (SOCKET_WRITE, WRITES),
    (
        "≤ other",
        &[
            "stat",
            "lstat",
            "fstat",
            "newfstatat",
            "fstatat64",
            "statx",
            "flock",
            "ftruncate",
            "fallocate",
            "fadvise64",
            "getdents",
            "getdents64",
            "utimensat",
            "access",
            "faccessat",
            "faccessat2",
            "readlink",
            "readlinkat",
            "getrandom",
        ],
    ),
];

const FILE_READ: &str = "≤ file read";
const FILE_WRITE: &str = "≤ file write";
const SOCKET_READ: &str = "≤ socket read";
const SOCKET_WRITE: &str = "≤ socket write";
const READS: &[&str] = &[
    "read", "readv", "pread64", "preadv", "preadv2", "recvfrom", "recvmsg", "recvmmsg",
];
const WRITES: &[&str] = &[
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "sendto",
    "sendmsg",
    "sendfile",
    "splice",
    "copy_file_range",
];

/// Which column a call belongs to, told by its name and by what its first descriptor is, which strace
/// writes in angle brackets behind it.
fn kind(event: &str) -> Option<usize> {
    let (name, arguments) = event.split_once('(')?;
    let find = |wanted| KINDS.iter().position(|(kind, _)| *kind == wanted);
    let (file, socket) = match name {
        name if READS.contains(&name) => (FILE_READ, SOCKET_READ),
        name if WRITES.contains(&name) => (FILE_WRITE, SOCKET_WRITE),
        _ => return KINDS.iter().position(|(_, names)| names.contains(&name)),
    };
    let descriptor = arguments.trim_start_matches(|c: char| c.is_ascii_digit());
    if descriptor.starts_with("<anon_inode:[eventfd]>") {
        // How threads wake each other: as often as timing has it.
        return None;
    }
    if descriptor.starts_with("<socket:") {
        find(socket)
    } else {
        find(file)
    }
}

/// How often each kind of system call was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts([u64; KINDS.len()]);

impl Counts {
    /// The figures, in the order of [`KINDS`].
    pub fn figures(&self) -> &[u64] {
        &self.0
    }

    /// Whether both are the same for each kind that has no bound.
    pub fn agrees(self, other: Self) -> bool {
        let pairs = self.0.iter().zip(other.0);
        KINDS
            .iter()
            .zip(pairs)
            .all(|((kind, _), (own, other))| kind.starts_with('≤') || *own == other)
    }

    /// The larger of both for each kind.
    #[must_use]
    pub fn max(mut self, other: Self) -> Self {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            *own = (*own).max(other);
        }
        self
    }

    /// What `pieces` more pieces cost beyond `fewer`, for one of them, rounded up.
    #[must_use]
    pub fn for_each_more(mut self, fewer: Self, pieces: u64) -> Self {
        for (own, fewer) in self.0.iter_mut().zip(fewer.0) {
            *own = own.saturating_sub(fewer).div_ceil(pieces.max(1));
        }
        self
    }
}

/// Reads a trace that strace writes for all threads of a process, each line with a thread's id in front.
#[derive(Debug, Default)]
pub struct Reader {
    counts: Counts,
    /// Threads inside a system call that has been begun and has not returned.
    inside: HashSet<u32>,
    process: Option<u32>,
}

impl Reader {
    /// Counts one line. A call in two parts counts when it begins.
    pub fn line(&mut self, line: &str) {
        let Some((thread, event)) = line.split_once(' ') else {
            return;
        };
        let Ok(thread) = thread.parse() else {
            return;
        };
        self.process.get_or_insert(thread);
        let event = event.trim_start();
        if event.starts_with("<...") || event.starts_with("+++") {
            self.inside.remove(&thread);
            return;
        }
        if event.ends_with("<unfinished ...>") {
            self.inside.insert(thread);
        }
        if let Some(count) = kind(event).and_then(|kind| self.counts.0.get_mut(kind)) {
            *count += 1;
        }
    }

    /// The process, which is the first that does anything.
    pub fn process(&self) -> Option<u32> {
        self.process
    }

    /// Whether no thread is known to be inside of a counted call.
    pub fn is_quiet(&self) -> bool {
        self.inside.is_empty()
    }

    /// What was counted since the last time.
    pub fn take(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_once_and_by_kind() {
        let mut reader = Reader::default();
        for line in [
            "41 openat(AT_FDCWD, \"/a\", O_RDONLY|O_CLOEXEC) = 3",
            "41 read(3</lib/libc.so>, \"read(fsync(\", 832) = 832",
            "41 recvfrom(9<socket:[77]>, 0x1, 128, 0, NULL, NULL) = 5",
            "41 write(4<anon_inode:[eventfd]>, \"\", 8) = 8",
            "42 fsync(7 <unfinished ...>",
            "43 rename(\"/tmp/a\", \"/tmp/b\") = 0",
        ] {
            reader.line(line);
        }
        assert!(!reader.is_quiet());
        reader.line("42 <... fsync resumed>) = 0");
        reader.line("44 +++ exited with 0 +++");
        assert!(reader.is_quiet());
        assert_eq!(reader.process(), Some(41));
        let counts = reader.take();
        assert_eq!(counts.figures(), [1, 0, 1, 0, 0, 1, 1, 0, 1, 0, 0]);
        assert_eq!(reader.take(), Counts::default());
    }

    #[test]
    fn bounded_kinds_may_differ() {
        let count = |line: &str| {
            let mut reader = Reader::default();
            reader.line(line);
            reader.take()
        };
        assert!(Counts::default().agrees(count("1 read(3</a>) = 1")));
        assert!(!Counts::default().agrees(count("1 fsync(3</a>) = 0")));
    }

    #[test]
    fn the_cost_of_one_more_is_rounded_up() {
        let (mut few, mut many) = (Reader::default(), Reader::default());
        few.line("1 read(3</a>) = 1");
        for _ in 0..12 {
            many.line("1 read(3</a>) = 1");
        }
        let each = many.take().for_each_more(few.take(), 4);
        assert_eq!(each.figures(), [0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0]);
    }
}
