//! The format of dumps: one JSON document per item.

mod item;
mod reader;
mod writer;

pub(crate) use item::DumpItem;
pub(crate) use reader::{DumpReader, InputError, InvalidItem};
pub(crate) use writer::write;
