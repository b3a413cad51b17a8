//! What the tests run the engine on and with.

mod clients;
mod schedule;
mod store;
mod world;

pub(super) use clients::{
    append, content, image, index, push_blob, push_blob_by_session, put, read_blob, repository,
    scope, tag,
};
pub(super) use schedule::{Crashed, Dice, Schedule, Task, block_on, give_way};
pub(super) use world::{Fault, World};
