//! TTL of backfilled copies.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use crate::client::Client;
use crate::proto::Ttl;
use crate::result::Item;

/// A source of the TTLs of backfilled items; [`Ttl::Expired`] prevents the copy.
///
/// Any function of key and item is a `TtlSource`. Implement the trait to query the old placement: a protocol
/// that reports the remaining TTL makes copies exact.
pub trait TtlSource: Send + Sync + 'static {
    /// Returns the TTL of a copy.
    fn ttl<'a>(
        &'a self,
        old: &'a Client,
        key: &'a [u8],
        item: &'a Item,
    ) -> Pin<Box<dyn Future<Output = Ttl> + Send + 'a>>;
}

impl<F: Fn(&[u8], &Item) -> Ttl + Send + Sync + 'static> TtlSource for F {
    fn ttl<'a>(
        &'a self,
        _: &'a Client,
        key: &'a [u8],
        item: &'a Item,
    ) -> Pin<Box<dyn Future<Output = Ttl> + Send + 'a>> {
        Box::pin(ready(self(key, item)))
    }
}

/// Uses the remaining TTL that the old server reports, or a fixed one if its protocol does not report it.
pub(crate) fn reported_ttl_or(fallback: Ttl) -> Arc<dyn TtlSource> {
    Arc::new(ServerTtl { fallback })
}

struct ServerTtl {
    fallback: Ttl,
}

impl TtlSource for ServerTtl {
    fn ttl<'a>(
        &'a self,
        old: &'a Client,
        key: &'a [u8],
        item: &'a Item,
    ) -> Pin<Box<dyn Future<Output = Ttl> + Send + 'a>> {
        Box::pin(async move {
            if self.fallback == Ttl::Expired {
                return Ttl::Expired;
            }
            match old.inspect(key).await {
                // The item was replaced or removed: the copy will be reverted.
                Ok(Some(found)) if found.cas == item.cas => found.ttl.map_or(self.fallback, normalize),
                _ => self.fallback,
            }
        })
    }
}

/// Normalizes a remaining TTL: zero means expired, not unlimited.
fn normalize(remaining: Ttl) -> Ttl {
    match remaining {
        Ttl::After(time) if time.is_zero() => Ttl::Expired,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_item_in_its_last_second_is_not_copied_for_ever() {
        let second = Duration::from_secs(1);
        assert_eq!(normalize(Ttl::After(Duration::ZERO)), Ttl::Expired);
        assert_eq!(normalize(Ttl::After(second)), Ttl::After(second));
        assert_eq!(normalize(Ttl::Never), Ttl::Never);
    }
}
