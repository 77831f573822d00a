//! The document of values against the code.
