//! Tests of the engine over stores that interleave, fail and forget.

mod adopt;
mod faults;
mod formats;
mod harness;
mod interleaved;
mod overtaken;
mod sessions;
