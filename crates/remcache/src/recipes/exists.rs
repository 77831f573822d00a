//! Checks for existence, on every protocol.

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::observe;
use crate::observe::{Classify, Counts, OperationName, Outcome};
use crate::ops::builder::Command;
use crate::ops::builder::kind::Exists;
use crate::proto::{MetaOptions, Request};
use crate::recipes::builder::Recipe;

impl Client {
    /// Returns whether an item exists; [sentinels](crate::result::Item::is_sentinel) do not count.
    ///
    /// On the meta protocol the value is not transferred, and the check does not count as an access. On the others the
    /// item is fetched, which counts as one.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    ///
    /// # Cancel safety
    /// The request changes nothing.
    pub fn exists(&self, key: impl AsRef<[u8]>) -> Recipe<'_, bool> {
        let judge: Classify<bool, Error> = |result| match result {
            Ok(is_hit) => (if *is_hit { Outcome::Hit } else { Outcome::Miss }, Counts::found(*is_hit)),
            Err(_) => observe::done(result),
        };
        Recipe::for_key(self, OperationName::Exists, key, judge, |client, key, _| async move {
            client.exists_now(&key).await
        })
    }

    async fn exists_now(&self, key: &[u8]) -> Result<bool, Error> {
        let without_value = MetaOptions::new().without_value().no_bump();
        let question: Command<'_, Exists> = Command::new(self.call(Request::get(key).meta(without_value)));
        match question.await {
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(self.get(key).await?.is_some()),
            answer => answer,
        }
    }
}
