//! How far a long command is: one line that is written again at a terminal, plain lines otherwise.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Writes lines now and then, as they are made.
#[derive(Debug)]
pub(super) struct Progress {
    started: Instant,
    next: Instant,
    every: Duration,
    terminal: bool,
    /// How many bytes are to be gone through in all, if that is known.
    total: Option<u64>,
}

impl Progress {
    pub(super) fn new(total: Option<u64>) -> Self {
        let terminal = stderr().is_terminal();
        let every = if terminal {
            Duration::from_millis(200)
        } else {
            Duration::from_secs(10)
        };
        let started = Instant::now();
        Self {
            started,
            next: started + every,
            every,
            terminal,
            total,
        }
    }

    /// Says how far it is, if it is time to: `moved` bytes were read or written, `passed` of the total
    /// are behind us, and what else there is to say.
    pub(super) fn tell(&mut self, moved: u64, passed: u64, rest: impl FnOnce() -> String) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + self.every;
        let line = line(now - self.started, moved, passed, self.total);
        let mut out = stderr().lock();
        // Nobody may be reading: then it goes on without a word.
        let _ = if self.terminal {
            write!(out, "\r\x1b[K{line}, {}", rest())
        } else {
            writeln!(out, "{line}, {}", rest())
        };
    }

    /// Ends the line that is being written again, and says how long it all took.
    pub(super) fn end(self, summary: &str) {
        let mut out = stderr().lock();
        if self.terminal {
            let _ = write!(out, "\r\x1b[K");
        }
        let _ = writeln!(out, "{summary} in {}", duration(self.started.elapsed()));
    }
}

fn line(elapsed: Duration, moved: u64, passed: u64, total: Option<u64>) -> String {
    let rate = moved / elapsed.as_secs().max(1);
    let of = total.map_or_else(String::new, |total| {
        format!(" of {}", bytes(total.max(passed)))
    });
    let left = total.and_then(|total| total.checked_sub(passed)?.checked_div(rate));
    let eta = left.map_or_else(String::new, |seconds| {
        format!(", {} left", duration(Duration::from_secs(seconds)))
    });
    format!("{}{of}, {}/s{eta}", bytes(passed), bytes(rate))
}

/// A size for people.
pub(super) fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let (mut whole, mut tenths, mut unit) = (count, 0, "B");
    for next in units {
        if whole < 1024 {
            break;
        }
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit = next;
    }
    if unit == "B" {
        format!("{whole} B")
    } else {
        format!("{whole}.{tenths} {unit}")
    }
}

/// The part of a summary about links whose content is not there and that nothing needs.
pub(super) fn left_out(dead_links: u64) -> String {
    match dead_links {
        0 => String::new(),
        1 => "1 link to content that is not there was left out; ".to_owned(),
        many => format!("{many} links to content that is not there were left out; "),
    }
}

fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_people() {
        let of = |seconds, moved, passed, total| {
            line(Duration::from_secs(seconds), moved, passed, total)
        };
        assert_eq!(of(0, 0, 0, None), "0 B, 0 B/s");
        assert_eq!(of(2, 2048, 2048, None), "2.0 KiB, 1.0 KiB/s");
        let mib = 1 << 20;
        assert_eq!(
            of(10, 10 * mib, 30 * mib, Some(100 * mib)),
            "30.0 MiB of 100.0 MiB, 1.0 MiB/s, 1 min 10 s left"
        );
        // More than was there when it was counted.
        assert_eq!(
            of(1, 3 * mib, 3 * mib, Some(mib)),
            "3.0 MiB of 3.0 MiB, 3.0 MiB/s"
        );
        assert_eq!(bytes(1_610_612_736), "1.5 GiB");
        assert_eq!(duration(Duration::from_secs(7_260)), "2 h 1 min");
        assert_eq!(left_out(0), "");
    }
}
