//! Any sequence of upload requests to the service over the memory store, compared with what a
//! correct registry holds after each: never a 5xx, offsets that are true, and no byte that was not
//! verified.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_http::RegistryService;
use registry_fuzz::oracle::{Oracle, Step};

fuzz_target!(|steps: Vec<Step>| {
    let mut oracle = Oracle::new(RegistryService::in_memory());
    for step in steps.iter().take(64) {
        oracle.step(step);
    }
    oracle.finally();
});
