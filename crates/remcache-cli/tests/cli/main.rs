//! Tests of the command-line tool: output, errors and exit code for arguments and input, with real memcached servers
//! and embedded ones.

mod change;
mod check;
mod completions;
mod contexts;
mod copy;
mod definitions;
mod discovery;
mod dump;
mod exists;
mod exits;
mod fields;
mod get;
mod help;
mod hostile;
mod hotkeys;
mod item_limit;
mod keys;
mod load;
mod matching;
mod memory;
mod metrics;
mod options;
mod placement;
mod restarts;
mod security;
mod serve;
mod servers;
mod shell;
mod stats;
mod store;
mod tool;
mod top;
mod width;
mod without_cas;
