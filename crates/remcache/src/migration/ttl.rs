//! How long a copy lives.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use crate::client::Client;
use crate::proto::Ttl;
use crate::result::Item;

/// Tells how long an item has to live that is brought over; [`Ttl::Expired`] leaves it where it is.
///
/// A function of key and item is one. What has to ask the old placement implements the trait: a protocol
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

/// What the old server tells; where its protocol cannot, the same for all.
pub(crate) fn told_or(otherwise: Ttl) -> Arc<dyn TtlSource> {
    Arc::new(Told { otherwise })
}

struct Told {
    otherwise: Ttl,
}

impl TtlSource for Told {
    fn ttl<'a>(
        &'a self,
        old: &'a Client,
        key: &'a [u8],
        item: &'a Item,
    ) -> Pin<Box<dyn Future<Output = Ttl> + Send + 'a>> {
        Box::pin(async move {
            if self.otherwise == Ttl::Expired {
                return Ttl::Expired;
            }
            match old.inspect(key).await {
                // Another item now, or none: the copy will not be left there.
                Ok(Some(found)) if found.cas == item.cas => found.ttl.map_or(self.otherwise, left),
                _ => self.otherwise,
            }
        })
    }
}

/// The time that an item has left; none is not for ever.
fn left(told: Ttl) -> Ttl {
    match told {
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
        assert_eq!(left(Ttl::After(Duration::ZERO)), Ttl::Expired);
        assert_eq!(left(Ttl::After(second)), Ttl::After(second));
        assert_eq!(left(Ttl::Never), Ttl::Never);
    }
}
