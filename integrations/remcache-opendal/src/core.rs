//! Objects as memcached items.

use std::time::Duration;

use bytes::Bytes;
use opendal_core::raw::percent_encode_path;
use opendal_core::{Buffer, Error, ErrorKind, Result};
use remcache::recipes::OnUnavailable;
use remcache::value::Codec;
use remcache::{Cache, Client};
use sha2::{Digest, Sha256};

/// The objects of a service.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    cache: Cache<Bytes>,
    on_unavailable: OnUnavailable,
}

impl Core {
    pub(crate) fn new(
        client: &Client,
        ttl: Option<Duration>,
        chunk_size: usize,
        on_unavailable: OnUnavailable,
    ) -> Self {
        // Without a namespace, keys are those of OpenDAL's own service.
        let cache = Cache::new(client, "", Codec::bytes()).chunked(chunk_size);
        let cache = match ttl {
            Some(ttl) => cache.ttl(ttl),
            None => cache,
        };
        Self { cache, on_unavailable }
    }

    /// Returns an object; an error of kind [`NotFound`](ErrorKind::NotFound) for a miss.
    pub(crate) async fn get(&self, path: &str) -> Result<Buffer> {
        match self.cache.get(key(path)).await.or_else(|error| self.recover(error, None))? {
            Some(content) => Ok(Buffer::from(content)),
            None => Err(Error::new(ErrorKind::NotFound, "path not found").with_context("path", path)),
        }
    }

    pub(crate) async fn set(&self, path: &str, content: Buffer) -> Result<()> {
        match self.cache.set(key(path), &content.to_bytes()).await {
            Ok(_) => Ok(()),
            Err(error) => self.recover(error, ()),
        }
    }

    /// Stores an object unless one exists; returns an error of kind
    /// [`ConditionNotMatch`](ErrorKind::ConditionNotMatch) if it does.
    pub(crate) async fn add(&self, path: &str, content: Buffer) -> Result<()> {
        match self.cache.add(key(path), &content.to_bytes()).await {
            Ok(outcome) if outcome.is_applied() => Ok(()),
            Ok(_) => Err(Error::new(ErrorKind::ConditionNotMatch, "the path exists").with_context("path", path)),
            Err(error) => self.recover(error, ()),
        }
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<()> {
        match self.cache.delete(key(path)).await {
            Ok(_) => Ok(()),
            Err(error) => self.recover(error, ()),
        }
    }

    /// Returns the default if the cache is unavailable and the service fails open, and the error otherwise.
    fn recover<T>(&self, error: remcache::Error, default: T) -> Result<T> {
        match self.on_unavailable {
            OnUnavailable::FailOpen if error.is_unavailable() => Ok(default),
            _ => Err(operation_error(error)),
        }
    }
}

/// Returns the key of a path: its percent-encoded form, or a hash if that is too long for one with chunks.
fn key(path: &str) -> String {
    let key = percent_encode_path(path);
    if key.len() <= MAX_KEY_LENGTH {
        return key;
    }
    format!("sha256:{}", hex::encode(Sha256::digest(key.as_bytes())))
}

fn operation_error(error: remcache::Error) -> Error {
    let kind = match error.kind() {
        remcache::ErrorKind::Auth => ErrorKind::PermissionDenied,
        remcache::ErrorKind::Config => ErrorKind::ConfigInvalid,
        remcache::ErrorKind::Overloaded => ErrorKind::RateLimited,
        _ => ErrorKind::Unexpected,
    };
    // Authentication and TLS errors are permanent.
    let is_permanent = matches!(error.kind(), remcache::ErrorKind::Auth | remcache::ErrorKind::Tls);
    let is_temporary = error.is_unavailable() && !is_permanent;
    let converted = Error::new(kind, error.to_string()).set_source(error);
    if is_temporary { converted.set_temporary() } else { converted }
}

pub(crate) fn configuration_error(error: remcache::Error) -> Error {
    Error::new(ErrorKind::ConfigInvalid, error.to_string()).set_source(error)
}

/// memcached's limit is 250 bytes, and the keys of chunks are longer.
const MAX_KEY_LENGTH: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_opendals_own_service() {
        assert_eq!(key("a/b.txt"), "a/b.txt");
        assert_eq!(key("with space/ü"), "with%20space/%C3%BC");
    }

    #[test]
    fn long_paths_are_hashed() {
        let long = key(&"x".repeat(201));
        assert_eq!(long.len(), 7 + 64);
        assert_ne!(long, key(&"x".repeat(202)));
        assert_eq!(key(&"x".repeat(200)), "x".repeat(200));
    }
}
