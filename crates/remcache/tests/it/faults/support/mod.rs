//! What the fault tests share: an honest server that can be made to misbehave, in memory and on
//! sockets, and a client that is put to the test against it.

pub(crate) mod attempts;
pub(crate) mod conduct;
pub(crate) mod fetch;
pub(crate) mod host;
pub(crate) mod net;
pub(crate) mod serve;
pub(crate) mod store;
pub(crate) mod trial;
