//! Tables of expected figures: read, compared, and written again when new ones are accepted.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// Set to anything, it makes [`Table::settle`] write what was seen into the table.
pub const ACCEPT: &str = "ACCEPT_COUNTS";

/// A Markdown table: what an operation is called, then its figures. A figure in a column whose heading
/// begins with `≤` is an upper bound, any other is exact.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    /// What stands above the table.
    text: String,
    columns: Vec<Column>,
    rows: Vec<Row>,
}

/// The figures of one operation.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// What the operation is called.
    pub name: String,
    /// One for each column.
    pub figures: Vec<u64>,
}

impl Row {
    /// A row.
    pub fn new(name: impl Into<String>, figures: Vec<u64>) -> Self {
        Self {
            name: name.into(),
            figures,
        }
    }
}

#[derive(Debug)]
struct Column {
    heading: String,
    bound: bool,
}

impl Table {
    /// Reads a table whose first column is headed `operation`.
    ///
    /// # Errors
    /// When the file is missing or a line of its table is not understood; the message names it.
    pub fn read(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(path, &text)
    }

    fn parse(path: PathBuf, text: &str) -> Result<Self> {
        let mut lines = text.lines().enumerate();
        let mut above = String::new();
        let columns = loop {
            let Some((_, line)) = lines.next() else {
                bail!("{}: no line begins `| operation |`", path.display());
            };
            if let Some(("operation", rest)) = cells(line).split_first().map(|(a, b)| (*a, b)) {
                break rest.iter().map(|heading| Column::new(heading)).collect();
            }
            above.push_str(line);
            above.push('\n');
        };
        let mut table = Self {
            path,
            text: above,
            columns,
            rows: Vec::new(),
        };
        // The line of dashes says nothing.
        for (number, line) in lines.skip(1) {
            let row = table
                .row(line)
                .with_context(|| format!("{}:{}: {line}", table.path.display(), number + 1))?;
            table.rows.push(row);
        }
        Ok(table)
    }

    fn row(&self, line: &str) -> Result<Row> {
        let cells = cells(line);
        let (name, figures) = cells.split_first().context("not a row of a table")?;
        if figures.len() != self.columns.len() {
            let (has, wanted) = (figures.len(), self.columns.len());
            bail!("{has} figures instead of {wanted}");
        }
        let figures = figures
            .iter()
            .map(|cell| {
                cell.parse()
                    .with_context(|| format!("{cell:?} is no count"))
            })
            .collect::<Result<_>>()?;
        Ok(Row::new(*name, figures))
    }

    /// Compares `seen` with the table, or puts it there if [`ACCEPT`] is set.
    ///
    /// `command` is what repeats this check.
    ///
    /// # Errors
    /// When a figure differs, or an operation stands on one side only. The message names the operation,
    /// the column, what was expected and what was seen, and how to accept it.
    pub fn settle(self, seen: &[Row], command: &str) -> Result<()> {
        let problems = self.differences(seen);
        if problems.is_empty() {
            return Ok(());
        }
        let path = self.path.display();
        if std::env::var_os(ACCEPT).is_some() {
            let text = self.accepting(seen);
            fs::write(&self.path, text).with_context(|| format!("write {path}"))?;
            println!("accepted into {path}:\n{}", problems.join("\n"));
            return Ok(());
        }
        bail!(
            "{} of the figures in {path} do not hold:\n{}\n\
             If that is what the change is for, accept them with `{ACCEPT}=1 {command}` and commit the \
             table; otherwise find out what the operation does that it did not do before.",
            problems.len(),
            problems.join("\n"),
        )
    }

    fn differences(&self, seen: &[Row]) -> Vec<String> {
        let mut problems = Vec::new();
        for row in seen {
            let Some(expected) = self.find(&row.name) else {
                problems.push(format!("  {}: it has no row in the table", row.name));
                continue;
            };
            let pairs = expected.figures.iter().zip(&row.figures);
            for (column, (expected, seen)) in self.columns.iter().zip(pairs) {
                if !column.allows(*expected, *seen) {
                    let (name, heading) = (&row.name, &column.heading);
                    let most = if column.bound { "at most " } else { "" };
                    problems.push(format!(
                        "  {name}: {heading}: expected {most}{expected}, seen {seen}"
                    ));
                }
            }
        }
        for row in &self.rows {
            if !seen.iter().any(|seen| seen.name == row.name) {
                problems.push(format!("  {}: in the table, but nothing runs it", row.name));
            }
        }
        problems
    }

    /// The file with the figures of `seen`. A bound that holds and is not far off stays as it is.
    fn accepting(&self, seen: &[Row]) -> String {
        let rows: Vec<Row> = seen
            .iter()
            .map(|row| {
                let old = self.find(&row.name).map(|old| old.figures.as_slice());
                let figures = row.figures.iter().enumerate().map(|(at, seen)| {
                    let old = old.and_then(|old| old.get(at)).copied();
                    self.columns
                        .get(at)
                        .map_or(*seen, |column| column.accept(old, *seen))
                });
                Row::new(&row.name, figures.collect())
            })
            .collect();
        let mut text = self.text.clone();
        let headings: Vec<&str> = self.columns.iter().map(|c| c.heading.as_str()).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "| operation | {} |", headings.join(" | "));
        let _ = writeln!(text, "|---|{}", "--:|".repeat(headings.len()));
        for row in rows {
            let figures: Vec<String> = row.figures.iter().map(u64::to_string).collect();
            let _ = writeln!(text, "| {} | {} |", row.name, figures.join(" | "));
        }
        text
    }

    fn find(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Column {
    fn new(heading: &str) -> Self {
        Self {
            heading: heading.to_owned(),
            bound: heading.starts_with('≤'),
        }
    }

    fn allows(&self, expected: u64, seen: u64) -> bool {
        seen == expected || (self.bound && seen < expected)
    }

    fn accept(&self, old: Option<u64>, seen: u64) -> u64 {
        let roomy = with_room(seen);
        match old {
            _ if !self.bound => seen,
            Some(old) if (seen..=roomy.saturating_mul(4)).contains(&old) => old,
            _ => roomy,
        }
    }
}

/// What may vary from run to run: a tenth.
fn with_room(seen: u64) -> u64 {
    seen.saturating_add(seen.div_ceil(10))
}

fn cells(line: &str) -> Vec<&str> {
    let Some(inner) = line
        .trim()
        .strip_prefix('|')
        .and_then(|line| line.strip_suffix('|'))
    else {
        return Vec::new();
    };
    inner.split('|').map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Figures\n\nWords.\n\n| operation | fsync | ≤ read |\n|---|--:|--:|\n\
                        | GET | 0 | 9 |\n| PUT | 3 | 40 |\n";

    fn table() -> Table {
        Table::parse("figures.md".into(), TEXT).unwrap()
    }

    fn rows(get: [u64; 2], put: [u64; 2]) -> Vec<Row> {
        vec![Row::new("GET", get.into()), Row::new("PUT", put.into())]
    }

    #[test]
    fn bounds_may_be_undercut_and_exact_figures_not() {
        assert!(table().differences(&rows([0, 9], [3, 0])).is_empty());
        let problems = table().differences(&rows([0, 10], [2, 40]));
        assert_eq!(
            problems,
            [
                "  GET: ≤ read: expected at most 9, seen 10",
                "  PUT: fsync: expected 3, seen 2"
            ]
        );
    }

    #[test]
    fn what_stands_on_one_side_only_is_a_difference() {
        let seen = [Row::new("GET", vec![0, 9]), Row::new("HEAD", vec![0, 9])];
        assert_eq!(
            table().differences(&seen),
            [
                "  HEAD: it has no row in the table",
                "  PUT: in the table, but nothing runs it"
            ]
        );
    }

    #[test]
    fn accepting_changes_what_differs_and_leaves_the_rest() {
        let seen = rows([1, 9], [3, 50]);
        let text = table().accepting(&seen);
        assert_eq!(
            text,
            TEXT.replace("| 0 | 9 |", "| 1 | 9 |")
                .replace("| 3 | 40 |", "| 3 | 55 |")
        );
        let accepted = Table::parse("figures.md".into(), &text).unwrap();
        assert!(accepted.differences(&seen).is_empty());
        assert_eq!(table().accepting(&rows([0, 9], [3, 36])), TEXT);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, expected) in [
            ("| DELETE | 1 |", "1 figures instead of 2"),
            ("| DELETE | 1 | many |", "\"many\" is no count"),
            ("words", "not a row of a table"),
        ] {
            let error = Table::parse("figures.md".into(), &format!("{TEXT}{line}\n")).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.starts_with("figures.md:9: "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
        assert!(Table::parse("figures.md".into(), "nothing").is_err());
    }
}
