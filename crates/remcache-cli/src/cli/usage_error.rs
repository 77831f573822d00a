//! Usage errors of the argument parser, which quote arguments.

use clap::Error;
use clap::builder::StyledStr;
use clap::error::ContextValue;

use crate::escape::{escape, escape_line};

/// The error with everything escaped in the quoted arguments that could control a terminal.
pub(super) fn escaped(mut error: Error) -> Error {
    let argument = |text: &String| escape_line(text).into_owned();
    let tip = |text: &StyledStr| StyledStr::from(escape(&text.to_string()).into_owned());
    let quoted: Vec<_> = error.context().map(|(kind, value)| (kind, value.clone())).collect();
    for (kind, value) in quoted {
        let value = match value {
            ContextValue::String(text) => ContextValue::String(argument(&text)),
            ContextValue::Strings(texts) => ContextValue::Strings(texts.iter().map(argument).collect()),
            ContextValue::StyledStr(text) => ContextValue::StyledStr(tip(&text)),
            ContextValue::StyledStrs(texts) => ContextValue::StyledStrs(texts.iter().map(tip).collect()),
            other => other,
        };
        error.insert(kind, value);
    }
    error
}
