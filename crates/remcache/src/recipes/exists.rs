//! Whether there is an item, on every protocol.

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::observe;
use crate::observe::{Counts, OperationName, Outcome};
use crate::ops::builder::Command;
use crate::ops::builder::kind::Exist;
use crate::proto::{MetaOptions, Request};
use crate::recipes::recipe::{Judge, Recipe};

impl Client {
    /// Whether there is an item, apart from [sentinels](crate::result::Item::is_sentinel).
    ///
    /// On the meta protocol the value stays with the server, and the question counts as no access. On the
    /// others the item is fetched, which counts as one, and its value is dropped.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    ///
    /// # Cancellation
    /// Nothing is changed by this.
    pub fn exists(&self, key: impl AsRef<[u8]>) -> Recipe<'_, bool> {
        let judge: Judge<bool, Error> = |result| match result {
            Ok(is_hit) => (if *is_hit { Outcome::Hit } else { Outcome::Miss }, Counts::found(*is_hit)),
            Err(_) => observe::done(result),
        };
        Recipe::for_key(self, OperationName::Exists, key, judge, |client, key, _| async move {
            client.exists_now(&key).await
        })
    }

    async fn exists_now(&self, key: &[u8]) -> Result<bool, Error> {
        let without_value = MetaOptions { without_value: true, no_bump: true, ..MetaOptions::default() };
        let question: Command<'_, Exist> = Command::new(self.call(Request::get(key).meta(without_value)));
        match question.await {
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(self.get(key).await?.is_some()),
            answer => answer,
        }
    }
}
