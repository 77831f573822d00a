//! How long a copy lives.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use crate::client::{Client, Item};
use crate::proto::Ttl;

/// Tells how long an item has to live that is brought over; [`Ttl::Expired`] leaves it where it is.
///
/// A function of key and item is one. What has to ask the old placement implements the trait: a wire
/// that tells the time left makes copies exact.
pub trait TtlSource: Send + Sync + 'static {
    /// The time to live of a copy.
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

/// The same for all.
pub(super) fn fixed(ttl: Ttl) -> Arc<dyn TtlSource> {
    Arc::new(move |_: &[u8], _: &Item| ttl)
}
