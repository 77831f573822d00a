//! The options that every command has, and the parsers of option values.

mod global;
mod named_value;
mod security;
pub(crate) mod value;

pub(crate) use global::{Color, Format, Global, distribution};
