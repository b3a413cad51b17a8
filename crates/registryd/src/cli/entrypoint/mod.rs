//! `registryd entrypoint`: what a container does with the arguments it is started with.
//!
//! As the official image's script: the path of a configuration and options are for `serve`, a command of
//! ours is ours, and anything else is a program of the image.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::{Args, CommandFactory, Parser};

use super::Cli;
use crate::cli::out::note;

/// The configuration that the image ships at both places.
const SHIPPED: &str = include_str!("../../../deploy/image/config.yml");

/// Where the images of Distribution 2 and 3 have their configuration.
const PLACES: [&str; 2] = [
    "/etc/docker/registry/config.yml",
    "/etc/distribution/config.yml",
];

#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(super) struct Entrypoint {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(super) fn run(entrypoint: Entrypoint) -> anyhow::Result<ExitCode> {
    let named = std::env::var_os("REGISTRY_CONFIGURATION_PATH").is_some();
    let shipped = configuration().filter(|_| !named);
    match Action::of(entrypoint.arguments, shipped) {
        Action::Ourselves(arguments) => {
            let name = OsString::from("registryd");
            Ok(Cli::parse_from(std::iter::once(name).chain(arguments)).run())
        }
        Action::Program(program, arguments) => {
            let error = Command::new(&program).args(arguments).exec();
            Err(error).with_context(|| {
                let program = program.to_string_lossy();
                format!("cannot run `{program}`, which is neither a command of registryd nor a program of this image")
            })
        }
    }
}

/// The configuration of a container that was not told another one.
pub(super) fn configuration() -> Option<PathBuf> {
    let [first, second] = PLACES.map(Path::new);
    (first.exists() || second.exists()).then(|| mounted(first, [first, second]))
}

/// The configuration that commands beside the server take in a container of the image, whose environment has
/// [`IMAGE`]. Elsewhere a file at these places is of another program, and `serve` does not read it either.
pub(super) fn of_image() -> Option<PathBuf> {
    std::env::var_os(IMAGE).and_then(|_| configuration())
}

/// Set in the image, so that what runs in a container knows it.
const IMAGE: &str = "REGISTRYD_IMAGE";

#[derive(Debug, PartialEq, Eq)]
enum Action {
    Ourselves(Vec<OsString>),
    Program(OsString, Vec<OsString>),
}

impl Action {
    /// `shipped` is what is served when no file is named, by argument or variable.
    fn of(mut arguments: Vec<OsString>, shipped: Option<PathBuf>) -> Self {
        let serve = || OsString::from("serve");
        let Some(first) = arguments.first().cloned() else {
            let shipped = shipped.map(PathBuf::into_os_string);
            return Self::Ourselves(std::iter::once(serve()).chain(shipped).collect());
        };
        let name = first.to_string_lossy();
        let extension = Path::new(&first).extension().and_then(OsStr::to_str);
        if matches!(extension, Some("yml" | "yaml")) {
            arguments.insert(0, serve());
        } else if name == "-v" {
            return Self::Ourselves(vec!["--version".into()]);
        } else if name == "help" {
            return Self::Ourselves(vec!["--help".into()]);
        } else if name.starts_with('-') {
            if !["--version", "-V", "--help", "-h"].contains(&&*name) {
                arguments.insert(0, serve());
            }
        } else if !Cli::command()
            .get_subcommands()
            .any(|ours| ours.get_name() == name)
        {
            arguments.remove(0);
            return Self::Program(first, arguments);
        }
        if arguments.first().is_some_and(|command| command == "serve") {
            // Options may stand before the file, but the ones that take a value do not name it.
            let is_option = |word: &OsString| word.to_string_lossy().starts_with('-');
            match arguments.get_mut(1) {
                Some(path) if !is_option(path) => {
                    *path = mounted(Path::new(path), PLACES.map(Path::new)).into_os_string();
                }
                _ => {
                    if let Some(shipped) = shipped {
                        arguments.insert(1, shipped.into_os_string());
                    }
                }
            }
        }
        Self::Ourselves(arguments)
    }
}

/// Which file to serve when `named` was asked for.
///
/// The image names one of two places. Who comes from the other image has mounted a file at the other
/// place, and what we ship would hide it.
fn mounted(named: &Path, places: [&Path; 2]) -> PathBuf {
    let is_shipped = |path: &Path| std::fs::read_to_string(path).is_ok_and(|text| text == SHIPPED);
    let [first, second] = places;
    let other = match named {
        path if path == first => second,
        path if path == second => first,
        path => return path.to_owned(),
    };
    if (is_shipped(named) || !named.exists()) && other.exists() && !is_shipped(other) {
        note!(
            "note: {} is what the image ships, so {} is read",
            named.display(),
            other.display()
        );
        return other.to_owned();
    }
    named.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(words: &[&str]) -> Action {
        Action::of(words.iter().map(OsString::from).collect(), None)
    }

    fn ours(words: &[&str]) -> Action {
        Action::Ourselves(words.iter().map(OsString::from).collect())
    }

    /// Options must not make a container serve something else than without them.
    #[test]
    fn options_leave_the_file_of_the_image_in_place() {
        let of = |words: &[&str]| {
            let words = words.iter().map(OsString::from).collect();
            Action::of(words, Some(PathBuf::from("/etc/x.yml")))
        };
        assert_eq!(of(&[]), ours(&["serve", "/etc/x.yml"]));
        assert_eq!(
            of(&["--strict"]),
            ours(&["serve", "/etc/x.yml", "--strict"])
        );
        assert_eq!(
            of(&["serve", "--tls", "local", "--host", "registry.lan"]),
            ours(&[
                "serve",
                "/etc/x.yml",
                "--tls",
                "local",
                "--host",
                "registry.lan"
            ])
        );
        assert_eq!(of(&["serve", "/my.yml"]), ours(&["serve", "/my.yml"]));
        assert_eq!(of(&["--version"]), ours(&["--version"]));
        assert_eq!(of(&["healthcheck"]), ours(&["healthcheck"]));
    }

    #[test]
    fn arguments_mean_what_they_mean_to_the_official_image() {
        assert_eq!(action(&[]), ours(&["serve"]));
        assert_eq!(
            action(&["/my/config.yml"]),
            ours(&["serve", "/my/config.yml"])
        );
        assert_eq!(
            action(&["a.yaml", "--strict"]),
            ours(&["serve", "a.yaml", "--strict"])
        );
        assert_eq!(action(&["serve", "/x.json"]), ours(&["serve", "/x.json"]));
        assert_eq!(action(&["--strict"]), ours(&["serve", "--strict"]));
        assert_eq!(action(&["--version"]), ours(&["--version"]));
        assert_eq!(action(&["-v"]), ours(&["--version"]));
        assert_eq!(action(&["help"]), ours(&["--help"]));
        assert_eq!(action(&["healthcheck"]), ours(&["healthcheck"]));
        let shell = Action::Program("sh".into(), vec!["-c".into(), "ls".into()]);
        assert_eq!(action(&["sh", "-c", "ls"]), shell);
        let registry = Action::Program("registry".into(), vec!["--version".into()]);
        assert_eq!(action(&["registry", "--version"]), registry);
    }

    #[test]
    fn options_reach_the_entry_point() {
        for words in [["--help"], ["--version"], ["-v"]] {
            let cli =
                Cli::try_parse_from(["registryd", "entrypoint"].into_iter().chain(words)).unwrap();
            let Some(super::super::Command::Entrypoint(entrypoint)) = cli.command else {
                panic!("{cli:?}")
            };
            assert_eq!(entrypoint.arguments, words);
        }
    }

    #[test]
    fn a_file_mounted_at_the_other_place_is_not_hidden_by_the_shipped_one() {
        let folder = tempfile::tempdir().unwrap();
        let (v2, v3) = (folder.path().join("v2.yml"), folder.path().join("v3.yml"));
        let places = [v2.as_path(), v3.as_path()];
        let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        write(&v2, SHIPPED);
        write(&v3, SHIPPED);
        assert_eq!(mounted(&v2, places), v2);
        write(&v3, "version: 0.1\n");
        assert_eq!(mounted(&v2, places), v3);
        assert_eq!(mounted(&v3, places), v3);
        write(&v2, "version: '0.1'\n");
        assert_eq!(mounted(&v2, places), v2);
        let elsewhere = folder.path().join("own.yml");
        assert_eq!(mounted(&elsewhere, places), elsewhere);
    }

    /// The configuration that the image ships loads without a warning and says what it promises.
    #[test]
    fn the_shipped_configuration_is_good() {
        let loaded = crate::config::Loader::new()
            .text(PLACES[0], SHIPPED)
            .strict(true)
            .load()
            .unwrap();
        assert_eq!(loaded.config.http.addr.to_string(), ":5000");
        assert!(loaded.config.storage.delete.enabled);
        assert!(loaded.config.health.storagedriver.enabled);
        let warnings = loaded
            .diagnostics
            .of(crate::config::Severity::Warning)
            .count();
        assert_eq!(warnings, 0);
    }
}
