//! The crate memcache-async: text protocol, on a stream that its user opens.

use std::io::ErrorKind;

use anyhow::Result;
use memcache_async::ascii::Protocol;
use tokio::io::{AsyncRead, AsyncWrite, BufWriter};
use tokio::net::TcpStream;

use super::tls::Connector;
use super::{CallResult, Caller, Item, Setup, check_get, check_many, failed};

/// The stream is buffered, because the crate writes a request in several pieces.
pub(super) struct MemcacheAsync(Protocol<BufWriter<Box<dyn Stream>>>);

/// The traits that the crate requires of a stream.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Returns one connection per caller.
pub(super) async fn connect(setup: &Setup) -> Result<Vec<MemcacheAsync>> {
    let address = setup.address()?;
    let tls = setup.authority.as_deref().map(Connector::trusting).transpose()?;
    let mut callers = Vec::with_capacity(setup.scenario.callers);
    for _ in 0..setup.scenario.callers {
        let stream = TcpStream::connect(&address).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &tls {
            Some(tls) => Box::new(tls.connect(stream).await?),
            None => Box::new(stream),
        };
        callers.push(MemcacheAsync(Protocol::new(BufWriter::new(stream))));
    }
    Ok(callers)
}

impl Caller for MemcacheAsync {
    async fn get(&mut self, item: &Item) -> CallResult {
        let result = match self.0.get(item).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        check_get(item, result)
    }

    async fn get_many(&mut self, items: &[Item]) -> CallResult {
        let found = self.0.get_multi(items).await.map_err(failed)?;
        check_many(items, found.into_iter())
    }

    async fn set(&mut self, item: &Item) -> CallResult {
        self.0.set(item.key(), item.value(), 0).await.map_err(failed)
    }
}
