//! Benches only: see `benches/instructions.rs`, and `check` for how they are compared.
