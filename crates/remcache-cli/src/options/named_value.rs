//! A parser of values that have names: completions list the names.

use std::ffi::OsStr;
use std::fmt::Display;
use std::str::FromStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command, Error};

use crate::exit::words;

/// Parses a type by its own `FromStr`, whose errors say more than a list of names.
#[derive(Clone, Debug)]
pub(crate) struct NamedValue<T> {
    names: fn() -> Vec<String>,
    parse: fn(&str) -> Result<T, String>,
}

impl<T: FromStr<Err: Display>> NamedValue<T> {
    /// Creates a parser that lists these names.
    pub(super) fn new(names: fn() -> Vec<String>) -> Self {
        Self { names, parse: |text| text.parse().map_err(words) }
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for NamedValue<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        let parse = self.parse;
        StringValueParser::new().try_map(move |text| parse(&text)).parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.names)().into_iter().map(PossibleValue::new)))
    }
}
