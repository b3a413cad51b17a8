//! The cases of `cases.txt`: files and variables, and the effective values they make.

use std::{fmt::Write as _, fs};

use super::{
    super::{Loader, Severity},
    IMAGE, SMALL, value,
};

/// What the file of the `registry:3` image holds.
const IMAGE_3: &str = include_str!("../../../tests/config/valid/image-3.yml");

#[derive(Debug, Default)]
struct Case {
    title: &'static str,
    number: usize,
    base: &'static str,
    file: String,
    strict: bool,
    variables: Vec<(&'static str, String)>,
    values: Vec<(&'static str, serde_json::Value)>,
    sources: Vec<(&'static str, &'static str)>,
    findings: Vec<String>,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (index, line) in include_str!("cases.txt").lines().enumerate() {
        let number = index + 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(title) = line.strip_prefix("== ") {
            let (title, base) = title.rsplit_once(" : ").unwrap_or((title, "image2"));
            cases.push(Case {
                title,
                number,
                base,
                ..Case::default()
            });
            continue;
        }
        let case = cases
            .last_mut()
            .unwrap_or_else(|| panic!("line {number} has no title"));
        let pair = |rest: &'static str, separator: &str| {
            let pair = rest.split_once(separator);
            pair.unwrap_or_else(|| panic!("cases.txt:{number}: no {separator:?}"))
        };
        match line.split_at_checked(2) {
            Some(("$ ", rest)) => {
                let (name, written) = pair(rest, "=");
                case.variables.push((name, written.replace("\\n", "\n")));
            }
            Some(("| ", rest)) => writeln!(case.file, "{rest}").unwrap(),
            Some(("= ", rest)) => {
                let (key, json) = pair(rest, ": ");
                let json = serde_json::from_str(json)
                    .unwrap_or_else(|error| panic!("cases.txt:{number}: {error}"));
                case.values.push((key, json));
            }
            Some(("@ ", rest)) => case.sources.push(pair(rest, ": ")),
            _ if line == "strict" => case.strict = true,
            _ => case.findings.push(line.to_owned()),
        }
    }
    cases
}

impl Case {
    fn check(&self, directory: &str) -> Result<(), String> {
        let mut loader = Loader::new().strict(self.strict);
        let text = match self.base {
            "none" => None,
            "image2" => Some(IMAGE),
            "image3" => Some(IMAGE_3),
            "small" => Some(SMALL),
            "file" => Some(self.file.as_str()),
            other => panic!("cases.txt:{}: no base {other:?}", self.number),
        };
        if let Some(text) = text {
            loader = loader.text("config.yml", text.replace("DIRECTORY", directory));
        }
        let variables = self.variables.iter();
        let variables = variables.map(|(n, v)| (*n, v.replace("DIRECTORY", directory)));
        let (loaded, found) = match loader.variables(variables).load() {
            Ok(loaded) => {
                let found = loaded.diagnostics.clone();
                (Some(loaded), found)
            }
            Err(error) => (None, error.diagnostics().clone()),
        };
        // Notes only where the case names one.
        let notes = self.findings.iter().any(|line| line.starts_with("note"));
        let said: Vec<_> = found
            .iter()
            .filter(|d| notes || d.severity > Severity::Note)
            .map(|d| format!("{}: {}", d.severity, d.what).replace(directory, "DIRECTORY"))
            .collect();
        if said != self.findings {
            return Err(format!("said {said:#?}\nnot {:#?}", self.findings));
        }
        let Some(loaded) = loaded else {
            return match (&self.values[..], &self.sources[..]) {
                ([], []) => Ok(()),
                _ => Err("refused".to_owned()),
            };
        };
        for (key, want) in &self.values {
            let have = value(&loaded, key);
            if have != *want {
                return Err(format!("{key} is {have}, not {want}"));
            }
        }
        for (key, want) in &self.sources {
            let have = loaded.sources.of(key).to_string();
            if have != *want {
                return Err(format!("{key} comes from {have}, not {want}"));
            }
        }
        Ok(())
    }
}

#[test]
fn files_and_variables_make_the_values_they_should() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("htpasswd"), "u:$2y$05$x\n").unwrap();
    let directory = directory.path().to_str().unwrap();
    let cases = cases();
    assert!(cases.len() >= 120, "{} cases", cases.len());
    let mut wrong = String::new();
    for case in &cases {
        assert!(
            !(case.values.is_empty() && case.findings.is_empty() && case.sources.is_empty()),
            "cases.txt:{} expects nothing",
            case.number
        );
        if let Err(why) = case.check(directory) {
            writeln!(wrong, "cases.txt:{}: {}: {why}", case.number, case.title).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
