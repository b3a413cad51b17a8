//! What a run found.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use serde::Serialize;

use crate::{
    case::{Case, Need},
    failure::Failure,
};

/// The results of a run.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// One entry per case that ran, in the order of the table.
    pub cases: Vec<CaseReport>,
    /// The cases that did not run because the registry lacks what they need.
    pub left_out: Vec<LeftOut>,
}

/// The result of one case.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct CaseReport {
    /// The case's name.
    pub name: &'static str,
    /// The requirement in one sentence.
    pub what: &'static str,
    /// `must`, `should`, `may` or `practice`.
    pub level: String,
    /// How long the case took, in seconds.
    pub seconds: f64,
    /// Why it failed, or nothing.
    pub failure: Option<String>,
    /// The last requests of a failed case and what they were answered.
    pub exchanges: Vec<String>,
}

/// A case that did not run.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct LeftOut {
    /// The case's name.
    pub name: &'static str,
    /// What it needs and the registry lacks.
    pub needs: Vec<String>,
}

/// Why a run is not clean. Its `Debug` output is for people, so that a test can end in
/// `report.verdict()`.
#[derive(Clone, PartialEq, Eq)]
pub struct Complaints(String);

impl Report {
    /// The cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases.iter().filter(|case| case.failure.is_some())
    }

    /// No failure, nothing left out, and at least one case run.
    ///
    /// # Errors
    ///
    /// A readable list of everything that is not so.
    pub fn verdict(&self) -> Result<(), Complaints> {
        let failed = self.failures().count();
        if failed == 0 && self.left_out.is_empty() && !self.cases.is_empty() {
            return Ok(());
        }
        let ran = self.cases.len();
        let left_out = self.left_out.len();
        let mut text = format!("{failed} of {ran} cases failed, {left_out} were left out");
        // Writing into a String can not fail.
        for case in self.failures() {
            let _ = write!(text, "\n\n{case}");
        }
        for case in &self.left_out {
            let needs = case.needs.join(", ");
            let _ = write!(text, "\nleft out: {} (needs {needs})", case.name);
        }
        Err(Complaints(text))
    }

    pub(crate) fn has_run(&self, name: &str) -> bool {
        self.cases.iter().any(|case| case.name == name)
    }

    pub(crate) fn add(&mut self, case: CaseReport) {
        self.cases.push(case);
    }

    pub(crate) fn leave_out(&mut self, case: &Case, needs: &[Need]) {
        let needs = needs.iter().map(ToString::to_string).collect();
        self.left_out.push(LeftOut {
            name: case.name,
            needs,
        });
    }

    /// Adds the results of another run: what ran in either was not left out.
    pub(crate) fn merge(&mut self, other: Self) {
        self.cases.extend(other.cases);
        self.left_out.extend(other.left_out);
        let ran: Vec<&str> = self.cases.iter().map(|case| case.name).collect();
        self.left_out.retain(|case| !ran.contains(&case.name));
        self.left_out.sort_by_key(|case| case.name);
        self.left_out.dedup_by_key(|case| case.name);
    }
}

impl CaseReport {
    pub(crate) fn new(
        case: &Case,
        elapsed: Duration,
        failure: Option<Failure>,
        exchanges: Vec<String>,
    ) -> Self {
        Self {
            name: case.name,
            what: case.what,
            level: case.level.to_string(),
            seconds: elapsed.as_secs_f64(),
            exchanges: if failure.is_some() {
                exchanges
            } else {
                Vec::new()
            },
            failure: failure.map(|failure| failure.to_string()),
        }
    }

    /// A failure that belongs to no case.
    pub(crate) fn of_the_run(what: &'static str, failure: String) -> Self {
        Self {
            name: "run",
            what,
            level: "must".to_owned(),
            seconds: 0.0,
            failure: Some(failure),
            exchanges: Vec::new(),
        }
    }
}

impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(failure) = &self.failure else {
            return write!(f, "ok    {} ({:.2} s)", self.name, self.seconds);
        };
        write!(
            f,
            "FAIL  {} [{}] {}\n      {failure}",
            self.name, self.level, self.what
        )?;
        for exchange in &self.exchanges {
            write!(f, "\n      | {exchange}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Complaints {}
