//! What the tests share: clients, servers, waiting, and a second look at a server.

mod eventually;
mod on_each_protocol;
mod only_server;
mod patient;
mod serving;
mod speaking;
mod stat;
mod text;

pub(crate) use eventually::eventually;
pub(crate) use on_each_protocol::on_each_protocol;
pub(crate) use only_server::only_server;
pub(crate) use patient::patient;
pub(crate) use serving::{Ear, Heard};
pub(crate) use speaking::Speech;
pub(crate) use stat::stat;
pub(crate) use text::{ask, flags_and_ttl};
