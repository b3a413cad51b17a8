//! Tests of the engine over stores that interleave, fail and forget.

mod adopt;
mod collecting;
mod damage;
mod explored;
mod faults;
mod finishing;
mod formats;
mod harness;
mod interleaved;
mod keeping;
mod overtaken;
mod replicas;
mod restarts;
mod sessions;
