//! What to do when a file or directory may not be used.

use std::error::Error;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Why `error` came, if it came because this process may not use `path`, and what to do about it: a text
/// to put behind the error. Empty for every other error.
pub(super) fn denied(path: &Path, error: &(dyn Error + 'static)) -> String {
    let mut cause = Some(error);
    let denied = |error: &(dyn Error + 'static)| {
        let io = error.downcast_ref::<io::Error>();
        io.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    while let Some(error) = cause {
        if denied(error) {
            return who(path, rustix::process::geteuid().as_raw());
        }
        cause = error.source();
    }
    String::new()
}

fn who(path: &Path, uid: u32) -> String {
    // What is not there yet would be made in the first directory above that is.
    let found = path
        .ancestors()
        .find_map(|at| Some((at, at.metadata().ok()?)));
    let Some((at, metadata)) = found else {
        return format!("; the process runs as uid {uid}");
    };
    let at = if at.as_os_str().is_empty() {
        Path::new(".")
    } else {
        at
    };
    format!(
        "; the process runs as uid {uid}, and {at} belongs to {owner}:{group} with mode {mode:04o}: \
         run `chown -R {uid} {at}` on the host, set `securityContext.fsGroup: {uid}` in Kubernetes, or run as \
         uid {owner}",
        at = at.display(),
        owner = metadata.uid(),
        group = metadata.gid(),
        mode = metadata.mode() & 0o7777,
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_hint_names_owner_and_mode_of_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o750)).unwrap();
        let hint = who(&dir.path().join("not/there"), 65532);
        let at = dir.path().display();
        let owner = dir.path().metadata().unwrap().uid();
        assert!(
            hint.contains("uid 65532") && hint.contains("mode 0750"),
            "{hint}"
        );
        assert!(hint.contains(&format!("`chown -R 65532 {at}`")), "{hint}");
        assert!(hint.contains(&format!("run as uid {owner}")), "{hint}");
    }

    #[test]
    fn only_a_refusal_has_one_however_deep_it_lies() {
        let inner = || io::Error::from(io::ErrorKind::PermissionDenied);
        let path = Path::new("/");
        assert!(denied(path, &inner()).contains("chown"));
        let wrapped = oci_core::StoreError::unavailable("opening", inner());
        assert!(denied(path, &wrapped).contains("chown"));
        let other = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(denied(path, &other), "");
    }
}
