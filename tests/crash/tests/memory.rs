//! A short form of the memory test; the `memory` program moves gigabytes.

mod server;

use registry_crash_tests::memory;

#[test]
fn a_blob_larger_than_its_memory_passes_through_the_server() {
    let scratch = server::scratch().unwrap();
    let phases = memory::large(&server::program().unwrap(), 256 << 20, scratch.path()).unwrap();
    for phase in phases {
        assert!(phase.peak <= 40 << 20, "{phase}");
    }
}
