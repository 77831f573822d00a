//! The modules that these tests share with the library's own: the server's part of each protocol, and client settings.

#[path = "../../../../crates/remcache/tests/it/support/serving.rs"]
mod serving;
#[path = "../../../../crates/remcache/tests/it/support/speaking.rs"]
mod speaking;

pub(crate) use serving::{Ear, Heard};
pub(crate) use speaking::Speech;
