//! The results of multi-key calls.

use crate::error::Error;
use crate::result::WriteOutcome;

/// The results of a multi-key call: one per key, in the order of the keys.
///
/// An application that calls the client through its own trait can construct outcomes in its tests:
///
/// ```
/// use remcache::{Item, Outcomes};
///
/// let many: Outcomes<_, _> = [("foo", Ok(Some(Item::new("1")))), ("bar", Ok(None))].into_iter().collect();
/// assert_eq!(many.missing().collect::<Vec<_>>(), [&"bar"]);
/// ```
#[derive(Clone, Debug)]
#[must_use = "some keys may have failed: check each result, or call `into_result`"]
pub struct Outcomes<K, T>(Vec<(K, Result<T, Error>)>);

impl<K, T> Outcomes<K, T> {
    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns every key with its result, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&K, Result<&T, &Error>)> {
        self.0.iter().map(|(key, result)| (key, result.as_ref()))
    }

    /// Returns the keys that failed, each with its error.
    pub fn failed(&self) -> impl Iterator<Item = (&K, &Error)> {
        self.iter().filter_map(|(key, result)| result.err().map(|error| (key, error)))
    }

    /// Returns whether no key failed.
    pub fn is_complete(&self) -> bool {
        self.failed().next().is_none()
    }

    /// Converts into the results of all keys, in the order in which they were given.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// client.set_many([("foo", "1"), ("bar", "2")]).await.into_result()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The error of the first key that failed. A write that the server refused is not an error: see
    /// [`not_applied`](Outcomes::not_applied).
    pub fn into_result(self) -> Result<Vec<(K, T)>, Error> {
        self.0.into_iter().map(|(key, result)| Ok((key, result?))).collect()
    }
}

impl<K, T> FromIterator<(K, Result<T, Error>)> for Outcomes<K, T> {
    fn from_iter<I: IntoIterator<Item = (K, Result<T, Error>)>>(outcomes: I) -> Self {
        Self(outcomes.into_iter().collect())
    }
}

impl<K: AsRef<[u8]>, T> Outcomes<K, T> {
    /// Returns the result of a key, the first one if it was given more than once; `None` if it was not given.
    ///
    /// The search is linear; collect into a map for many lookups.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Result<&T, &Error>> {
        let wanted = key.as_ref();
        self.iter().find(|(key, _)| key.as_ref() == wanted).map(|(_, result)| result)
    }
}

impl<K, T> Outcomes<K, Option<T>> {
    /// Returns the keys that were found, each with its item.
    pub fn found(&self) -> impl Iterator<Item = (&K, &T)> {
        self.iter().filter_map(|(key, result)| Some((key, result.ok()?.as_ref()?)))
    }

    /// Converts into the keys that were found, each with its item, without misses and failures.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::collections::HashMap;
    ///
    /// client.set("foo", "1").await?;
    /// let found: HashMap<_, _> = client.get_many(["foo", "bar"]).await.into_found().collect();
    /// assert_eq!(found["foo"].value, "1");
    /// # Ok(()) }
    /// ```
    pub fn into_found(self) -> impl Iterator<Item = (K, T)> {
        self.0.into_iter().filter_map(|(key, result)| Some((key, result.ok()??)))
    }

    /// Returns the keys that do not exist.
    pub fn missing(&self) -> impl Iterator<Item = &K> {
        self.iter().filter_map(|(key, result)| matches!(result, Ok(None)).then_some(key))
    }
}

impl<K, T: Copy + Into<WriteOutcome>> Outcomes<K, T> {
    /// Returns the keys whose write was applied.
    pub fn applied(&self) -> impl Iterator<Item = &K> {
        self.writes().filter_map(|(key, outcome)| outcome.is_applied().then_some(key))
    }

    /// Returns the keys whose write the server refused, each with its outcome.
    pub fn not_applied(&self) -> impl Iterator<Item = (&K, WriteOutcome)> {
        self.writes().filter(|(_, outcome)| !outcome.is_applied())
    }

    fn writes(&self) -> impl Iterator<Item = (&K, WriteOutcome)> {
        self.iter().filter_map(|(key, result)| Some((key, (*result.ok()?).into())))
    }
}

impl<K, T> IntoIterator for Outcomes<K, T> {
    type Item = (K, Result<T, Error>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
