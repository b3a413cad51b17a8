//! What the upload target is made of: a body that behaves badly, and a client that remembers what the
//! server owes it.

pub mod body;
pub mod oracle;
