//! The figures as a document, and as JSON.

use std::fmt::Write as _;

use serde_json::json;

use crate::arena::{Arena, DEBIAN, NGINX, OURS};
use crate::rows::{Bound, Target, V3};
use crate::runner::{Contestant, Failure, Outcome};

/// Three significant digits, or all before the point.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// A target and how it stands.
struct Verdict {
    ours: Option<f64>,
    theirs: Option<f64>,
    /// What is held against the bounds: ours, or its ratio to theirs.
    figure: Option<f64>,
    /// Why there is none.
    reason: String,
}

pub(crate) fn markdown(arena: &Arena, outcomes: &[Outcome]) -> String {
    let mut text = heading(arena);
    text.push_str(
        "\n## Targets\n\n\
         | row | | registryd | against | its figure | ratio | must | aim | met |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for outcome in outcomes {
        for target in &outcome.row.targets {
            text.push_str(&target_line(arena, outcome, target));
        }
    }
    text.push_str(
        "\n## All figures\n\nMedians of the rounds; in brackets the least and the most.\n",
    );
    for outcome in outcomes {
        let row = &outcome.row;
        let _ = write!(text, "\n### {}: {}\n\n", row.name, row.title);
        for contestant in &outcome.contestants {
            let _ = writeln!(text, "- **{}**: {}", contestant.label, figures(contestant));
        }
        if outcome.contestants.is_empty() {
            text.push_str("- no program here can carry it\n");
        }
    }
    text.push_str(&absent(arena));
    text
}

fn heading(arena: &Arena) -> String {
    let machine = &arena.machine;
    let mut text = String::from("# Measured beside others\n\n");
    text.push_str(
        "Made by `cargo run --release -p registry-compare`. Rounds are interleaved, and server and client \
         share the machine:\nonly ratios of one run mean something. Every answer was checked.\n\n",
    );
    if arena.options.short {
        text.push_str("**A short run: sizes are tiny and the figures mean nothing.**\n\n");
    }
    let _ = writeln!(
        text,
        "- {}, {} memory, Linux {}, {}; {}; {} rounds",
        machine.cpu,
        machine.memory,
        machine.kernel,
        machine.file_system,
        machine.date,
        arena.options.rounds()
    );
    for program in &arena.programs {
        let _ = writeln!(text, "- {} {}", program.name, program.version());
    }
    text
}

fn target_line(arena: &Arena, outcome: &Outcome, target: &Target) -> String {
    let verdict = judge(outcome, target);
    let show = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), figure);
    let sign = match target.bound {
        Bound::AtLeast => "≥",
        Bound::AtMost => "≤",
    };
    let factor = if target.against.is_some() { " ×" } else { "" };
    let bound = |value: f64| format!("{sign} {}{factor}", figure(value));
    let must = target.must.map_or_else(|| "–".to_owned(), bound);
    let met = match verdict.figure {
        None => verdict.reason,
        Some(_) if arena.options.short => "short run".into(),
        Some(figure) if target.aim.is_some_and(|aim| target.met(aim, figure)) => {
            "yes, the aim too".into()
        }
        Some(figure) => match target.must {
            Some(must) if target.met(must, figure) => "yes".into(),
            Some(_) => "**no**".into(),
            None => "not the aim".into(),
        },
    };
    format!(
        "| {} | {} | {} | {} | {} | {} | {must} | {} | {met} |\n",
        outcome.row.name,
        target.metric.unit(),
        show(verdict.ours),
        target.against.unwrap_or("–"),
        show(verdict.theirs),
        show(verdict.figure.filter(|_| target.against.is_some())),
        target.aim.map_or_else(|| "–".to_owned(), bound),
    )
}

fn judge(outcome: &Outcome, target: &Target) -> Verdict {
    let find = |label: &str| -> Result<f64, String> {
        let Some(contestant) = outcome.contestant(label) else {
            return Err(missing(label));
        };
        contestant
            .median(target.metric)
            .ok_or_else(|| match &contestant.failure {
                Some(Failure::Failed(_)) => format!("{label} failed"),
                Some(Failure::Skipped(reason)) => format!("{label}: {reason}"),
                None => format!("{label}: not measured"),
            })
    };
    let ours = find(OURS);
    let theirs = target.against.map(find);
    let figure = match (&ours, &theirs) {
        (Ok(ours), None) => Ok(*ours),
        (Ok(ours), Some(Ok(theirs))) if *theirs > 0.0 => Ok(ours / theirs),
        (Ok(_), Some(Ok(_))) => Err("nothing to divide by".into()),
        (Err(reason), _) | (_, Some(Err(reason))) => Err(reason.clone()),
    };
    Verdict {
        ours: ours.ok(),
        theirs: theirs.and_then(Result::ok),
        reason: figure.as_ref().err().cloned().unwrap_or_default(),
        figure: figure.ok(),
    }
}

/// Why a program takes no part.
fn missing(label: &str) -> String {
    match label {
        DEBIAN => "not run: no docker-registry here (apt-get install docker-registry)".into(),
        NGINX => "not run: no nginx here (apt-get install nginx-light)".into(),
        V3 => "not run: Distribution 3 is in no Debian package (--peer v3=…)".into(),
        _ => format!("not run: no {label} here"),
    }
}

fn absent(arena: &Arena) -> String {
    let mut text = String::new();
    for name in [OURS, DEBIAN, V3, NGINX] {
        if !arena.programs.iter().any(|program| program.name == name) {
            let _ = writeln!(text, "- {name}: {}", missing(name));
        }
    }
    if !arena.options.limits {
        text.push_str(
            "- `limits` (100 MiB of memory, a tenth of a CPU) is run by hand: `--limits`\n",
        );
    }
    if text.is_empty() {
        return text;
    }
    format!("\n## Not measured\n\n{text}")
}

fn figures(contestant: &Contestant) -> String {
    let mut parts = Vec::new();
    let metrics = contestant
        .samples
        .first()
        .map(|sample| sample.figures.keys());
    for metric in metrics.into_iter().flatten() {
        let all: Vec<f64> = contestant
            .samples
            .iter()
            .filter_map(|sample| sample.figures.get(metric).copied())
            .collect();
        let least = all.iter().copied().fold(f64::INFINITY, f64::min);
        let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let middle = contestant.median(*metric).unwrap_or_default();
        parts.push(format!(
            "{} {} [{}–{}]",
            figure(middle),
            metric.unit(),
            figure(least),
            figure(most)
        ));
    }
    let busy = contestant
        .samples
        .iter()
        .filter(|sample| sample.busy)
        .count();
    if busy > 0 {
        parts.push(format!(
            "others used the machine before {busy} of {} rounds",
            contestant.samples.len()
        ));
    }
    match &contestant.failure {
        Some(Failure::Failed(reason)) => parts.push(format!("FAILED: {}", first_line(reason))),
        Some(Failure::Skipped(reason)) => parts.push(format!("not run: {reason}")),
        None => {}
    }
    parts.join("; ")
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

pub(crate) fn json(arena: &Arena, outcomes: &[Outcome]) -> String {
    let machine = &arena.machine;
    let rows: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            let contestants: Vec<_> = outcome.contestants.iter().map(contestant_json).collect();
            json!({ "row": outcome.row.name, "title": outcome.row.title, "contestants": contestants })
        })
        .collect();
    let document = json!({
        "cpu": machine.cpu, "kernel": machine.kernel, "date": machine.date,
        "file_system": machine.file_system, "short": arena.options.short, "rows": rows,
    });
    format!("{document:#}\n")
}

fn contestant_json(contestant: &Contestant) -> serde_json::Value {
    let rounds: Vec<serde_json::Value> = contestant
        .samples
        .iter()
        .map(|sample| {
            let mut figures: serde_json::Map<_, _> = sample
                .figures
                .iter()
                .map(|(metric, value)| (metric.unit().to_owned(), json!(value)))
                .collect();
            figures.insert("busy".into(), json!(sample.busy));
            figures.into()
        })
        .collect();
    let failure = contestant.failure.as_ref().map(|failure| match failure {
        Failure::Failed(reason) | Failure::Skipped(reason) => reason,
    });
    json!({ "label": contestant.label, "failure": failure, "rounds": rounds })
}

/// What makes the run fail: wrong answers of registryd, in a short run of anybody; with `--check` also
/// targets that must be met and are not.
pub(crate) fn failures(arena: &Arena, outcomes: &[Outcome]) -> Vec<String> {
    let mut failures = Vec::new();
    for outcome in outcomes {
        let name = &outcome.row.name;
        for contestant in &outcome.contestants {
            let counts = arena.options.short || contestant.label.starts_with(OURS);
            if let Some(Failure::Failed(reason)) = &contestant.failure
                && counts
            {
                failures.push(format!("{name}: {}: {reason}", contestant.label));
            }
        }
        if !arena.options.check || arena.options.short {
            continue;
        }
        for target in &outcome.row.targets {
            let figure = judge(outcome, target).figure;
            if let (Some(figure), Some(must)) = (figure, target.must)
                && !target.met(must, figure)
            {
                let unit = target.metric.unit();
                failures.push(format!("{name}: {unit}: {figure:.3} misses {must:.3}"));
            }
        }
    }
    failures
}
