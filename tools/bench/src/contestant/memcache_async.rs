//! The crate memcache-async: text wire, a connection on a stream that the user brings.

use std::io::ErrorKind;

use anyhow::Result;
use memcache_async::ascii::Protocol;
use tokio::io::{AsyncRead, AsyncWrite, BufWriter};
use tokio::net::TcpStream;

use super::tls::Opener;
use super::{Answer, Caller, Sample, Setup, failed, judge_get, judge_many};

/// The stream is buffered, as the crate writes a request in several pieces.
pub(super) struct MemcacheAsync(Protocol<BufWriter<Box<dyn Stream>>>);

/// What the crate asks of a stream.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One connection for each caller.
pub(super) async fn connect(setup: &Setup) -> Result<Vec<MemcacheAsync>> {
    let address = setup.address()?;
    let tls = setup.authority.as_deref().map(Opener::trusting).transpose()?;
    let mut callers = Vec::with_capacity(setup.scenario.callers);
    for _ in 0..setup.scenario.callers {
        let stream = TcpStream::connect(&address).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &tls {
            Some(tls) => Box::new(tls.open(stream).await?),
            None => Box::new(stream),
        };
        callers.push(MemcacheAsync(Protocol::new(BufWriter::new(stream))));
    }
    Ok(callers)
}

impl Caller for MemcacheAsync {
    async fn get(&mut self, sample: &Sample) -> Answer {
        let answer = match self.0.get(sample).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        judge_get(sample, answer)
    }

    async fn get_many(&mut self, samples: &[Sample]) -> Answer {
        let found = self.0.get_multi(samples).await.map_err(failed)?;
        judge_many(samples, found.into_iter())
    }

    async fn set(&mut self, sample: &Sample) -> Answer {
        self.0.set(sample.key(), sample.value(), 0).await.map_err(failed)
    }
}
