//! Which tags go by themselves: rules ([`rules`]), what they mean for the tags of a repository ([`plan`]), which
//! of them are about a manifest ([`attached`]), and doing it ([`apply()`]).

mod apply;
mod attached;
mod plan;
mod rules;

pub(crate) use apply::{Outcome, apply};
pub(crate) use rules::{RepositoryPattern, Rules, TagPattern};
