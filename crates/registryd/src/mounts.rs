//! Whether what is written to a directory outlives the container that this process may run in.

use std::path::{Path, PathBuf};

/// What becomes of a directory's content.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// Nothing here says that it goes.
    Lasts,
    /// It goes; on which kind of file system.
    Goes(String),
    /// It is a volume that the container engine named by itself, which goes with its container.
    Anonymous,
    /// It is an `emptyDir` of Kubernetes, which goes with its pod.
    EmptyDir,
}

/// What becomes of `root`, and what else is mounted: the volume that was meant may be there.
pub(crate) fn fate(root: &Path) -> (Fate, Vec<PathBuf>) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    fate_by(root, &mounts)
}

fn fate_by(root: &Path, mountinfo: &str) -> (Fate, Vec<PathBuf>) {
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
    let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    let holds = mounts
        .iter()
        .filter(|mount| root.starts_with(&mount.point))
        // Of two at one place the later one is seen.
        .max_by_key(|mount| mount.point.components().count());
    let fate = match holds {
        Some(mount) if mount.kind == "overlay" || mount.kind == "tmpfs" => {
            // One that is in memory is a tmpfs as well.
            if mount.is_empty_dir(&mounts) {
                Fate::EmptyDir
            } else {
                Fate::Goes(mount.kind.clone())
            }
        }
        Some(mount) if mount.is_anonymous() => Fate::Anonymous,
        Some(mount) if mount.is_empty_dir(&mounts) => Fate::EmptyDir,
        _ => Fate::Lasts,
    };
    let others = mounts
        .iter()
        .filter(|mount| !root.starts_with(&mount.point) && !mount.is_the_engines())
        .map(|mount| mount.point.clone())
        .collect();
    (fate, others)
}

impl Fate {
    /// What is wrong and how to mend it, if it is.
    pub(crate) fn problem(&self, root: &Path, others: &[PathBuf]) -> Option<(String, String)> {
        let root = root.display();
        let elsewhere = match others {
            [] => String::new(),
            [one] => format!("; {} is mounted, and not used for images", one.display()),
            many => {
                let many: Vec<_> = many.iter().map(|at| at.display().to_string()).collect();
                format!("; {} are mounted, and not used for images", many.join(", "))
            }
        };
        let fix = format!(
            "mount a volume at {root}, or set REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY to where one is"
        );
        match self {
            Self::Lasts => None,
            Self::Goes(kind) => Some((
                format!(
                    "{root} is on {kind}, which goes with the container or the machine's power{elsewhere}"
                ),
                fix,
            )),
            Self::Anonymous => Some((
                format!("{root} is an anonymous volume, which goes with its container{elsewhere}"),
                match others {
                    [] => format!("give it a name: `--volume registry:{root}`"),
                    _ => fix,
                },
            )),
            Self::EmptyDir => Some((
                format!("{root} is an emptyDir, which goes with its pod{elsewhere}"),
                format!("mount a PersistentVolumeClaim at {root}"),
            )),
        }
    }
}

struct Mount {
    point: PathBuf,
    /// What of its file system is mounted.
    source: String,
    kind: String,
}

impl Mount {
    /// A line of `/proc/self/mountinfo`.
    fn parse(line: &str) -> Option<Self> {
        let (place, file_system) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let source = fields.next()?.to_owned();
        Some(Self {
            point: PathBuf::from(fields.next()?.replace("\\040", " ")),
            source,
            kind: file_system.split(' ').next()?.to_owned(),
        })
    }

    /// Docker names a volume by 64 hexadecimal digits if nobody else does.
    fn is_anonymous(&self) -> bool {
        let is_name =
            |part: &str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.source.contains("/volumes/") && self.source.split('/').any(is_name)
    }

    /// The kubelet keeps them below a directory that says so. One in memory has no such path; but the pod
    /// it belongs to has the service account's token or names mounted as Kubernetes does.
    fn is_empty_dir(&self, all: &[Self]) -> bool {
        self.source.contains("/kubernetes.io~empty-dir/")
            || (self.kind == "tmpfs"
                && self.point != Path::new("/")
                && all.iter().any(|mount| {
                    mount.source.contains("/etc-hosts") && mount.point == Path::new("/etc/hosts")
                }))
    }

    /// Whether every container has it.
    fn is_the_engines(&self) -> bool {
        self.point == Path::new("/")
            || ["/dev", "/proc", "/sys", "/etc", "/run", "/var/run", "/tmp"]
                .iter()
                .any(|own| self.point.starts_with(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: &str = "1 0 0:50 / / rw - overlay overlay rw\n";

    fn at(mounts: &str) -> (Fate, Vec<PathBuf>) {
        fate_by(Path::new("/var/lib/registry"), &format!("{LAYER}{mounts}"))
    }

    #[test]
    fn what_goes_with_its_container() {
        assert_eq!(at("").0, Fate::Goes("overlay".to_owned()));
        let memory = "2 1 0:9 / /var/lib rw - tmpfs tmpfs rw\n";
        assert_eq!(at(memory).0, Fate::Goes("tmpfs".to_owned()));
        let volume = |name: &str| {
            at(&format!(
                "2 1 8:1 /docker/volumes/{name}/_data /var/lib/registry rw - ext4 /dev/sda1 rw\n"
            ))
        };
        assert_eq!(volume(&"ab".repeat(32)).0, Fate::Anonymous);
        assert_eq!(volume("registry").0, Fate::Lasts);
        let network = "2 1 0:9 / /var/lib rw - nfs4 server:/x rw\n";
        assert_eq!(at(network).0, Fate::Lasts);
    }

    #[test]
    fn what_goes_with_its_pod() {
        let disk = "2 1 8:1 /var/lib/kubelet/pods/1b-2c/volumes/kubernetes.io~empty-dir/data /var/lib/registry rw - ext4 /dev/sda1 rw\n";
        assert_eq!(at(disk).0, Fate::EmptyDir);
        let memory = "2 1 0:9 / /var/lib/registry rw - tmpfs tmpfs rw\n3 1 8:1 /var/lib/kubelet/pods/1b-2c/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw\n";
        assert_eq!(at(memory).0, Fate::EmptyDir);
        let claim = "2 1 8:1 /var/lib/kubelet/pods/1b-2c/volumes/kubernetes.io~csi/pvc-3d/mount /var/lib/registry rw - ext4 /dev/sda1 rw\n";
        assert_eq!(at(claim).0, Fate::Lasts);
    }

    /// A tutorial mounts `/data`, and its images went with the container: the image declares a volume of its
    /// own at the place where they really are.
    #[test]
    fn a_volume_that_was_mounted_where_nothing_is_kept_is_named() {
        let mounts = format!(
            "2 1 8:1 /docker/volumes/{}/_data /var/lib/registry rw - ext4 /dev/sda1 rw\n\
             3 1 8:1 /srv/data /data rw - ext4 /dev/sda1 rw\n4 1 8:1 /r /etc/hosts rw - ext4 /dev/sda1 rw\n",
            "ab".repeat(32)
        );
        let root = Path::new("/var/lib/registry");
        let (fate, others) = at(&mounts);
        let (what, fix) = fate.problem(root, &others).unwrap();
        assert_eq!(
            what,
            "/var/lib/registry is an anonymous volume, which goes with its container; /data is mounted, and not \
             used for images"
        );
        assert!(fix.starts_with("mount a volume at /var/lib/registry, or set REGISTRY_STORAGE_"));
        let (what, _) = at("3 1 8:1 /srv/data /data rw - ext4 /dev/sda1 rw\n")
            .0
            .problem(root, &others)
            .unwrap();
        assert!(
            what.contains("on overlay") && what.contains("/data"),
            "{what}"
        );
        assert_eq!(Fate::Lasts.problem(root, &others), None);
    }
}
