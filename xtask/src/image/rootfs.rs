//! What lies in the image.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Variant;
use super::elf::StaticProgram;
use super::layer::Tree;

/// The user of the variant that does not begin as root; the number that others use for the same.
pub(super) const NONROOT: u64 = 65532;

const CONFIG: &str = include_str!("../../../deploy/image/config.yml");

/// What people and scripts run in a container of the official image.
const APPLETS: &[&str] = &[
    "ash",
    "basename",
    "cat",
    "chmod",
    "chown",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "dirname",
    "du",
    "echo",
    "env",
    "expr",
    "false",
    "find",
    "grep",
    "gzip",
    "head",
    "hostname",
    "id",
    "kill",
    "less",
    "ln",
    "ls",
    "mkdir",
    "mktemp",
    "mv",
    "nc",
    "netstat",
    "nslookup",
    "ping",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "sync",
    "tail",
    "tar",
    "tee",
    "test",
    "top",
    "touch",
    "tr",
    "true",
    "uname",
    "uniq",
    "vi",
    "wc",
    "wget",
    "which",
    "whoami",
    "xargs",
];

/// The part that seldom changes: users, root certificates, the shell.
pub(super) fn base(variant: Variant, shell: Option<&StaticProgram>) -> Tree {
    let mut tree = Tree::default()
        .directory("bin", 0o755, 0)
        .directory("etc", 0o755, 0)
        .directory("etc/ssl", 0o755, 0)
        .directory("etc/ssl/certs", 0o755, 0)
        .directory("root", 0o700, 0)
        .directory("tmp", 0o1777, 0)
        .directory("usr", 0o755, 0)
        .directory("usr/bin", 0o755, 0)
        .directory("var", 0o755, 0)
        .directory("var/lib", 0o755, 0)
        .file(
            "etc/ssl/certs/ca-certificates.crt",
            0o644,
            root_certificates(),
        )
        // A static libc looks names up itself; this says where.
        .file("etc/nsswitch.conf", 0o644, "hosts: files dns\n");
    let shell_of_root = if shell.is_some() {
        "/bin/sh"
    } else {
        "/sbin/nologin"
    };
    tree = tree
        .file(
            "etc/passwd",
            0o644,
            format!(
                "root:x:0:0:root:/root:{shell_of_root}\n\
                 nobody:x:65534:65534:nobody:/:/sbin/nologin\n\
                 nonroot:x:{NONROOT}:{NONROOT}:nonroot:/tmp:/sbin/nologin\n"
            ),
        )
        .file(
            "etc/group",
            0o644,
            format!("root:x:0:\nnogroup:x:65534:\nnonroot:x:{NONROOT}:\n"),
        );
    if let Some(shell) = shell {
        tree = tree.file("bin/busybox", 0o755, shell.bytes.clone());
        for applet in APPLETS {
            tree = tree.link(&format!("bin/{applet}"), "busybox");
        }
    }
    let owner = match variant {
        Variant::Default => 0,
        Variant::Nonroot => NONROOT,
    };
    // A volume that is made for this place takes owner and mode from here.
    tree.directory("var/lib/registry", 0o755, owner)
}

/// The part that changes with every release.
pub(super) fn registry(variant: Variant, binary: &StaticProgram) -> Tree {
    let mut tree = Tree::default()
        .directory("bin", 0o755, 0)
        .file("bin/registryd", 0o755, binary.bytes.clone())
        .link("bin/registry", "registryd")
        .link("bin/htpasswd", "registryd")
        .directory("etc", 0o755, 0)
        .directory("usr", 0o755, 0)
        .directory("usr/bin", 0o755, 0)
        .link("usr/bin/htpasswd", "/bin/registryd");
    // Where the images of Distribution 2 and 3 look.
    for folder in ["etc/docker/registry", "etc/distribution"] {
        for (end, _) in folder.match_indices('/') {
            tree = tree.directory(folder.get(..end).unwrap_or(folder), 0o755, 0);
        }
        tree =
            tree.directory(folder, 0o755, 0)
                .file(&format!("{folder}/config.yml"), 0o644, CONFIG);
    }
    if variant == Variant::Default {
        // Scripts call the official image's by its full name.
        tree = tree.file(
            "entrypoint.sh",
            0o755,
            "#!/bin/sh\nexec /bin/registryd entrypoint \"$@\"\n",
        );
    }
    tree
}

/// Mozilla's root certificates, in PEM, each below its own name.
fn root_certificates() -> String {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        for line in encoded.as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}
