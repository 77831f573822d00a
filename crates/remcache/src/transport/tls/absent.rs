//! Uninhabited replacement for the TLS settings when the feature is off.

use std::any::Any;
use std::io;
use std::net::SocketAddr;

use crate::address::Address;
use crate::connection_failure::Failure;
use crate::transport::Stream;

/// TLS settings, which cannot be constructed.
#[derive(Clone, Debug)]
pub(crate) enum Tls {}

impl Tls {
    pub(crate) fn check(&self) -> Result<(), String> {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "the other one waits for the server")]
    pub(crate) async fn connect(&self, _: Box<dyn Stream>, _: &Address) -> Result<Box<dyn Stream>, Failure> {
        match *self {}
    }
}

/// Returns `None`: no stream is encrypted.
pub(crate) fn peer_addr(_: &dyn Any) -> Option<SocketAddr> {
    None
}

/// Returns `None`: no stream has a certificate.
pub(crate) fn peer_certificate(_: &dyn Any) -> Option<Vec<u8>> {
    None
}

/// Returns `None`: no error is a TLS error.
pub(crate) fn failure(_: &io::Error) -> Option<Failure> {
    None
}
