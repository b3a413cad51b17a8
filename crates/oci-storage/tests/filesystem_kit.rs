//! Every contract of the storage traits, on the filesystem engine.
#![cfg(feature = "filesystem")]
#![expect(
    clippy::unwrap_used,
    reason = "a failed expectation is how a test reports"
)]

use std::io::Write;

use oci_core::Digest;
use oci_core::testkit::{StoreUnderTest, Stores};
use oci_storage::filesystem::{Filesystem, Options};

#[derive(Debug)]
struct Volume(tempfile::TempDir);

impl Volume {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl StoreUnderTest for Volume {
    fn open(&self) -> Stores {
        Stores::both(Filesystem::open(self.0.path(), Options::default()).unwrap())
    }

    fn damage(&self, digest: &Digest) -> bool {
        let hex = digest.hex();
        let path = self.0.path().join(format!(
            "docker/registry/v2/blobs/{}/{}/{hex}/data",
            digest.algorithm(),
            &hex[..2]
        ));
        let mut data = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        data.write_all(b"damage").unwrap();
        true
    }

    fn can_damage(&self) -> bool {
        true
    }
}

oci_core::store_contracts!(Volume::new());
