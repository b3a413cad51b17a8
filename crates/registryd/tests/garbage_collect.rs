//! `registryd garbage-collect`, and `storage.gc` of a server, as a person uses them.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests say what they expect, as tests do"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use oci_core::Digest;

/// A volume as any registry leaves it behind: written by hand.
struct Volume(tempfile::TempDir);

impl Volume {
    fn new() -> Self {
        let volume = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(volume.at("blobs")).unwrap();
        volume
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join("data/docker/registry/v2").join(path)
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn data(digest: &Digest) -> String {
        let hex = digest.hex();
        format!("blobs/sha256/{}/{hex}/data", &hex[..2])
    }

    fn blob(&self, content: &[u8]) -> Digest {
        let digest = Digest::sha256(content);
        self.write(&Self::data(&digest), content);
        let link = format!("repositories/team/app/_layers/sha256/{}/link", digest.hex());
        self.write(&link, digest.to_string().as_bytes());
        digest
    }

    /// An image of one config, with or without a tag.
    fn image(&self, config: &[u8], tag: Option<&str>) -> Digest {
        let json = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[]}}"#,
            self.blob(config),
            config.len()
        );
        let digest = Digest::sha256(json.as_bytes());
        self.write(&Self::data(&digest), json.as_bytes());
        let at = "repositories/team/app/_manifests";
        let revision = format!("{at}/revisions/sha256/{}/link", digest.hex());
        self.write(&revision, digest.to_string().as_bytes());
        if let Some(tag) = tag {
            let current = format!("{at}/tags/{tag}/current/link");
            self.write(&current, digest.to_string().as_bytes());
        }
        digest
    }

    fn has(&self, digest: &Digest) -> bool {
        self.at(&Self::data(digest)).exists()
    }

    fn config(&self, gc: &str) -> PathBuf {
        let path = self.0.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n{gc}http: {{addr: \"127.0.0.1:0\"}}\n",
            self.0.path().join("data").display()
        );
        fs::write(&path, text).unwrap();
        path
    }
}

fn registryd(arguments: &[&str], config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registryd"));
    command
        .args(arguments)
        .arg(config)
        .env_clear()
        .stdin(Stdio::null());
    command
}

fn collect(arguments: &[&str], config: &Path) -> (i32, String) {
    run(&[&["garbage-collect"], arguments].concat(), config)
}

/// Runs it; its exit status and what it said.
fn run(arguments: &[&str], config: &Path) -> (i32, String) {
    let output = registryd(arguments, config).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

#[test]
fn it_names_what_goes_and_why_and_removes_it_unless_asked_not_to() {
    let volume = Volume::new();
    let config = volume.config("");
    let (tagged, loose) = (volume.image(b"one", Some("v1")), volume.image(b"two", None));
    let garbage = volume.blob(b"garbage");

    let (code, said) = collect(&["-d", "-m"], &config);
    assert_eq!(code, 0, "{said}");
    for line in [
        format!("blob eligible for deletion: {garbage} (7 B, no manifest refers to it)"),
        format!(
            "link eligible for deletion: team/app {garbage} (no manifest of the repository refers to it)"
        ),
        format!("manifest eligible for deletion: team/app {loose} (no tag leads to it)"),
        "2 blobs marked, 3 blobs and 1 manifests eligible for deletion".to_owned(),
        "nothing was removed, as --dry-run asks".to_owned(),
    ] {
        assert!(said.contains(&line), "no {line:?} in {said}");
    }
    assert!(volume.has(&garbage) && volume.has(&loose));

    // Within its grace it stays.
    let (code, said) = collect(&["--grace", "1h"], &config);
    assert_eq!(code, 0, "{said}");
    assert!(volume.has(&garbage), "{said}");

    let (code, said) = collect(&["--quiet"], &config);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("removed 1 blobs (7 B), 1 links and 0 manifests")
            && !said.contains(&garbage.to_string()),
        "{said}"
    );
    assert!(!volume.has(&garbage) && volume.has(&loose));

    // As programs say it that were written for Distribution's command.
    let (code, said) = collect(&["--delete-untagged=false", "-q=true"], &config);
    assert_eq!(code, 0, "{said}");
    assert!(volume.has(&loose), "{said}");
    let (code, said) = collect(&["-dm"], &config);
    assert!(code == 0 && said.contains("1 manifests eligible"), "{said}");
    assert!(volume.has(&loose));
    let (code, said) = collect(&["--delete-untagged=true"], &config);
    assert_eq!(code, 0, "{said}");
    assert!(!volume.has(&loose) && !volume.has(&Digest::sha256(b"two")));
    assert!(volume.has(&tagged) && volume.has(&Digest::sha256(b"one")));
}

#[test]
fn where_there_is_nothing_to_collect_it_says_so_and_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yml");
    let missing = directory.path().join("elsewhere");
    let text = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: ':0'}}\n",
        missing.display()
    );
    fs::write(&config, text).unwrap();
    let (code, said) = collect(&[], &config);
    assert_eq!(code, 1);
    assert!(said.contains("there is no registry in"), "{said}");
    assert!(!missing.exists());

    fs::write(
        &config,
        "version: 0.1\nstorage: inmemory\nhttp: {addr: ':0'}\n",
    )
    .unwrap();
    let (code, said) = collect(&[], &config);
    assert_eq!(code, 1);
    assert!(said.contains("`storage.inmemory`"), "{said}");

    let text = format!(
        "version: 0.1\nstorage: {{sled: {{path: {}}}}}\nhttp: {{addr: ':0'}}\n",
        missing.display()
    );
    fs::write(&config, text).unwrap();
    let (code, said) = collect(&[], &config);
    assert_eq!(code, 1);
    assert!(said.contains("there is no database in"), "{said}");
    assert!(!missing.exists());
}

/// `retention` used to make a volume where a path was mistyped, and to find no tags in it.
#[test]
fn retention_makes_no_volume_and_says_what_is_wrong_with_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yml");
    let missing = directory.path().join("elsewhere");
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  retention: {{policies: [{{repositories: \
         ['**']}}]}}\nhttp: {{addr: ':0'}}\nhelth: {{}}\n",
        missing.display()
    );
    fs::write(&config, text).unwrap();
    for command in ["retention", "garbage-collect"] {
        let (code, said) = run(&[command, "--dry-run"], &config);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("there is no registry in"), "{said}");
        assert!(said.contains("helth") && said.contains("health"), "{said}");
        assert!(!missing.exists());
    }
}

#[test]
fn retention_names_each_tag_with_the_reason_and_lets_go_of_what_no_rule_keeps() {
    let volume = Volume::new();
    let retention = "  retention: {policies: [{repositories: ['team/*'], keeptags: [{patterns: [latest]}, \
                     {patterns: ['v.*'], mostrecentlypushedcount: 1, pushedwithin: 1h}]}]}\n";
    let config = volume.config(retention);
    let hours =
        |hours: u64| std::time::SystemTime::now() - std::time::Duration::from_secs(3600 * hours);
    for (tag, age) in [("latest", 500), ("v1", 48), ("v2", 24), ("old", 500)] {
        volume.image(tag.as_bytes(), Some(tag));
        let link = format!("repositories/team/app/_manifests/tags/{tag}/current/link");
        let times = fs::FileTimes::new().set_modified(hours(age));
        let link = fs::File::open(volume.at(&link)).unwrap();
        link.set_times(times).unwrap();
    }
    let retention = |arguments: &[&str]| {
        let arguments = [&["retention"], arguments].concat();
        let output = registryd(&arguments, &config).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{said}");
        said
    };
    let has = |tag: &str| {
        let link = format!("repositories/team/app/_manifests/tags/{tag}/current/link");
        volume.at(&link).exists()
    };
    let said = retention(&["--dry-run"]);
    for line in [
        "team/app:latest stays (a rule keeps every tag like it)",
        "team/app:v1 would go (it is neither among those pushed last nor new enough)",
        "team/app:v2 stays (it was pushed last)",
        "team/app:old would go (no rule keeps tags like it)",
        "1 repositories with a policy: 2 tags would stay, 2 would go",
    ] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
    assert!(has("v1") && has("old"), "{said}");
    let said = retention(&["--quiet"]);
    assert!(
        said.contains("team/app:v1 went") && !said.contains(":v2"),
        "{said}"
    );
    assert!(has("latest") && has("v2") && !has("v1") && !has("old"));
}

struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Retention used to wait with the first collection for a day, from each start anew.
#[test]
fn a_server_lets_tags_go_before_it_waits_to_collect() {
    let volume = Volume::new();
    let storage = "  gc: {enabled: true, grace: 24h}\n  retention: {enabled: true, policies: [{repositories: \
                   ['**'], keeptags: [{patterns: [latest]}]}]}\n";
    let config = volume.config(storage);
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let link = |tag: &str| {
        let link = format!("repositories/team/app/_manifests/tags/{tag}/current/link");
        volume.at(&link)
    };
    for tag in ["latest", "old"] {
        volume.image(tag.as_bytes(), Some(tag));
        let times = fs::FileTimes::new().set_modified(old);
        fs::File::open(link(tag)).unwrap().set_times(times).unwrap();
    }
    let garbage = volume.blob(b"garbage");
    let mut child = registryd(&["serve"], &config)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    // So that the log ends, whatever it says.
    let (done, waits) = std::sync::mpsc::channel::<()>();
    let killer = std::thread::spawn(move || {
        let _ = waits.recv_timeout(std::time::Duration::from_secs(20));
        drop(Serving(child));
    });
    let mut seen = Vec::new();
    let waiting = log.lines().map_while(Result::ok).any(|line| {
        let is_it = line.contains("the first garbage collection begins in 24h");
        seen.push(line);
        is_it
    });
    let seen = seen.join("\n");
    assert!(waiting && seen.contains("tags looked through"), "{seen}");
    assert!(link("latest").exists() && !link("old").exists(), "{seen}");
    assert!(volume.has(&garbage), "{seen}");
    drop(done);
    killer.join().unwrap();
}

#[test]
fn a_server_collects_by_itself_and_beside_the_command() {
    let volume = Volume::new();
    let gc = "  gc: {enabled: true, interval: 10ms, grace: 0s}\n";
    let config = volume.config(gc);
    let tagged = volume.image(b"one", Some("v1"));
    let garbage = volume.blob(b"garbage");
    let mut child = registryd(&["serve"], &config)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let _serving = Serving(child);
    let mut seen = Vec::new();
    let removed = log.lines().map_while(Result::ok).any(|line| {
        let is_it = line.contains("garbage collected") && line.contains("blobs=1 ");
        seen.push(line);
        is_it || seen.len() > 10_000
    });
    let seen = seen.join("\n");
    assert!(removed, "{seen}");
    assert!(
        seen.contains("`storage.gc.grace` is less than an hour"),
        "{seen}"
    );
    assert!(!volume.has(&garbage) && volume.has(&tagged), "{seen}");

    // Either the server is at work right now, or the command is.
    let (code, said) = collect(&[], &config);
    assert!(code == 0 || code == 4, "{code}: {said}");
    assert!(volume.has(&tagged));
    std::io::stdout().flush().unwrap();
}
