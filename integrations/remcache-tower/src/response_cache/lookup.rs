//! The response to one request: from the cache, or from the handler.

use bytes::Bytes;
use http::header::{AGE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use remcache::{Error, Ttl};
use tower_service::Service;

use super::directives::storable;
use super::entry::{Content, Entry, variant_key};
use super::handler::Handler;
use super::{Requirements, ResponseCacheLayer};
use crate::stored_response::{ReadBody, decode, encode, read_body, text};

/// A request that the cache may answer.
pub(super) struct Lookup<S, Q, R, E> {
    pub(super) layer: ResponseCacheLayer,
    pub(super) key: String,
    pub(super) requirements: Requirements,
    pub(super) handler: Handler<S, Q, R, E>,
}

/// An item found under a key.
struct Found {
    key: String,
    cas: u64,
    entry: Entry,
    /// The names of the request fields that it depends on, if it is a variant.
    vary: Vec<String>,
}

/// The reason why a fetch returns no entry.
enum NoEntry {
    /// The handler failed, or had been called before.
    Handler,
    Cache(Error),
}

impl From<Error> for NoEntry {
    fn from(error: Error) -> Self {
        Self::Cache(error)
    }
}

impl<S, Q, R, E> Lookup<S, Q, R, E>
where
    S: Service<Request<Q>, Response = Response<R>, Error = E> + Send + 'static,
    S::Future: Send,
    E: Send + 'static,
    Q: Send + 'static,
    R: Body<Data = Bytes> + From<Bytes> + Send + 'static,
{
    pub(super) async fn respond(self) -> Result<Response<R>, E> {
        let fields = self.handler.fields().unwrap_or_default();
        if self.requirements.must_not_wait {
            return self.respond_without_waiting(&fields).await;
        }
        let entry = self.fetch(&fields).await;
        // The response of this request's own handler, which need not be storable.
        if let Some(result) = self.handler.take() {
            return result;
        }
        match entry.and_then(|entry| self.response_from(entry, &fields)) {
            Some(response) => Ok(response),
            None => self.call().await,
        }
    }

    /// Returns the response without waiting for the handler of another request.
    async fn respond_without_waiting(&self, fields: &HeaderMap) -> Result<Response<R>, E> {
        let found = self.find(fields).await;
        let entry = found.as_ref().map(|found| found.entry.clone());
        if let Some(response) = entry.and_then(|entry| self.response_from(entry, fields)) {
            return Ok(response);
        }
        if self.requirements.directives.only_if_cached {
            return Ok(without_body(StatusCode::GATEWAY_TIMEOUT));
        }
        let response = self.call().await?;
        match found {
            Some(found) => Ok(self.replace(found, response).await),
            None => Ok(response),
        }
    }

    async fn call(&self) -> Result<Response<R>, E> {
        match self.handler.call().await {
            Some(result) => result,
            // The response was used for a refresh.
            None => Ok(without_body(StatusCode::SERVICE_UNAVAILABLE)),
        }
    }

    /// Returns the entry for this request, or calls the handler for all requests that wait for it.
    async fn fetch(&self, fields: &HeaderMap) -> Option<Entry> {
        let (mut key, mut names) = (self.key.clone(), Vec::new());
        for _ in 0..MAX_LOOKUPS {
            let entry = self.fetch_entry(&key, &names, fields).await?;
            match entry.content {
                _ if entry.is_expired() => self.remove_expired(&key).await,
                Content::Variants { names: variant_names, id } if names.is_empty() => {
                    key = variant_key(&self.key, id, &variant_names, fields);
                    names = variant_names;
                }
                _ => return Some(entry),
            }
        }
        None
    }

    async fn fetch_entry(&self, key: &str, names: &[String], fields: &HeaderMap) -> Option<Entry> {
        let (handler, layer) = (self.handler.clone(), self.layer.clone());
        let (load_key, load_names, load_fields) = (key.to_owned(), names.to_vec(), fields.clone());
        let is_authorized = self.requirements.is_authorized;
        let load = move || async move {
            let response = match handler.call().await.ok_or(NoEntry::Handler)? {
                Ok(response) => response,
                Err(error) => {
                    handler.finish(Err(error));
                    return Err(NoEntry::Handler);
                }
            };
            let (response, entry) = layer.prepare(response, &load_names, is_authorized).await;
            let entry = layer.store_variant(&load_key, entry, &load_fields).await;
            handler.finish(Ok(response));
            Ok(Some(encode(&entry)))
        };
        let found = match self.layer.client.fetch_optional(key, self.layer.policy(), load).await {
            Ok(found) => found.and_then(|bytes| decode::<Entry>(&bytes)),
            Err(NoEntry::Handler) => None,
            Err(NoEntry::Cache(error)) => {
                tracing::warn!(%error, "responses are not cached");
                None
            }
        };
        if let (Some(entry), true) = (&found, self.handler.is_finished()) {
            // If it is lost, the time in the entry decides.
            let _ = self.layer.client.send_no_reply(remcache::Request::touch(key, entry.ttl()));
        }
        found
    }

    /// Removes an entry that has expired by the clock but not on the server, unless it has been replaced.
    async fn remove_expired(&self, key: &str) {
        let (client, timeout) = (&self.layer.client, self.layer.command_timeout());
        let Ok(Some(item)) = client.get(key).timeout(timeout).await else { return };
        if decode::<Entry>(&item.value).is_some_and(|entry| entry.is_expired()) {
            let delete = client.compare_and_swap(key, "", item.cas).ttl(Ttl::Expired).timeout(timeout);
            // Otherwise another request has replaced it.
            let _ = delete.await;
        }
    }

    /// Returns the item for this request, without waiting for a handler.
    async fn find(&self, fields: &HeaderMap) -> Option<Found> {
        let found = self.get(self.key.clone(), Vec::new()).await?;
        match &found.entry.content {
            Content::Variants { names, id } => {
                let key = variant_key(&self.key, *id, names, fields);
                self.get(key, names.clone()).await
            }
            _ => Some(found),
        }
    }

    async fn get(&self, key: String, vary: Vec<String>) -> Option<Found> {
        let item = self.layer.client.get(&key).timeout(self.layer.command_timeout()).await.ok()??;
        let entry = decode(&item.value)?;
        Some(Found { key, cas: item.cas, entry, vary })
    }

    /// Replaces an item by the response to a later request, unless it was changed in the meantime.
    async fn replace(&self, found: Found, response: Response<R>) -> Response<R> {
        let (response, PreparedEntry { entry, vary }) =
            self.layer.prepare(response, &found.vary, self.requirements.is_authorized).await;
        if let (Content::Response { .. }, true) = (&entry.content, vary.is_empty()) {
            let timeout = self.layer.command_timeout();
            let set = self.layer.client.compare_and_swap(&found.key, encode(&entry), found.cas).ttl(entry.ttl());
            if let Err(error) = set.timeout(timeout).await {
                tracing::debug!(%error, "could not replace a stored response");
            }
        }
        response
    }

    /// Returns the response of an entry; `None` if this request must not get it.
    fn response_from(&self, entry: Entry, fields: &HeaderMap) -> Option<Response<R>> {
        let directives = &self.requirements.directives;
        let (age, ttl) = (entry.age(), entry.ttl());
        let is_too_old = directives.max_age.is_some_and(|max_age| age > max_age);
        if directives.no_cache || is_too_old || entry.is_expired() {
            return None;
        }
        let Content::Response { response, allows_authorized } = entry.content else { return None };
        if self.requirements.is_authorized && !allows_authorized {
            return None;
        }
        let is_unchanged = response.field(&ETAG).is_some_and(|tag| matches_if_none_match(fields, tag));
        let mut response: Response<R> = response.into_response()?;
        if is_unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = R::from(Bytes::new());
            response.headers_mut().remove(http::header::CONTENT_LENGTH);
        }
        let age_before = text(response.headers(), &AGE).and_then(|age| age.parse().ok()).unwrap_or(0);
        response.headers_mut().insert(AGE, age.as_secs().saturating_add(age_before).into());
        let status = HeaderValue::try_from(format!("remcache; hit; ttl={}", ttl.as_secs())).ok()?;
        response.headers_mut().append(CACHE_STATUS, status);
        Some(response)
    }
}

/// The entry of a response, and the names of the request fields by which it is still to be distinguished.
pub(super) struct PreparedEntry {
    entry: Entry,
    vary: Vec<String>,
}

impl ResponseCacheLayer {
    /// Reads a response that may be stored, and returns its entry.
    ///
    /// `names` are the request fields by which the entry's key already distinguishes requests.
    async fn prepare<R>(
        &self,
        response: Response<R>,
        names: &[String],
        is_authorized: bool,
    ) -> (Response<R>, PreparedEntry)
    where
        R: Body<Data = Bytes> + From<Bytes>,
    {
        let hit_for_pass = || PreparedEntry { entry: Entry::hit_for_pass(), vary: Vec::new() };
        let storable = storable(response.status(), response.headers());
        let Some(storable) = storable.filter(|storable| storable.allows_authorized || !is_authorized) else {
            return (response, hit_for_pass());
        };
        let (parts, body) = response.into_parts();
        match read_body(body, self.max_body).await {
            ReadBody::Unread(body) => (Response::from_parts(parts, body), hit_for_pass()),
            ReadBody::Failed => (without_body(StatusCode::BAD_GATEWAY), hit_for_pass()),
            ReadBody::Complete(body) => {
                let response = Response::from_parts(parts, body);
                let entry = Entry::from_response(&response, &storable);
                let vary = match storable.vary.iter().all(|name| names.contains(name)) {
                    true => Vec::new(),
                    false => storable.vary,
                };
                (response.map(R::from), PreparedEntry { entry, vary })
            }
        }
    }

    /// Stores the entry of a response that varies under the key of its variant, and returns the index of variants;
    /// returns other entries as they are.
    async fn store_variant(&self, key: &str, prepared: PreparedEntry, fields: &HeaderMap) -> Entry {
        let PreparedEntry { entry, vary: names } = prepared;
        if names.is_empty() {
            return entry;
        }
        let (id, lifetime) = (fastrand::u64(..), entry.ttl());
        let variant = variant_key(key, id, &names, fields);
        let set = self.client.set(variant, encode(&entry)).ttl(lifetime).timeout(self.command_timeout());
        if let Err(error) = set.await {
            tracing::debug!(%error, "could not store a response");
        }
        Entry::new(Content::Variants { names, id }, lifetime)
    }
}

/// Returns whether `If-None-Match` names this tag, or any.
fn matches_if_none_match(fields: &HeaderMap, tag: &[u8]) -> bool {
    let without_weakness = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let Ok(tag) = std::str::from_utf8(tag) else { return false };
    let mut values = fields.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| {
        value.trim() == "*" || value.split(',').any(|named| without_weakness(named) == without_weakness(tag))
    })
}

fn without_body<R: From<Bytes>>(status: StatusCode) -> Response<R> {
    let mut response = Response::new(R::from(Bytes::new()));
    *response.status_mut() = status;
    response
}

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// The lookups of a request: an expired index, the index, an expired variant, the variant.
const MAX_LOOKUPS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_compared_weakly() {
        for (value, expected) in
            [("\"a\"", true), ("W/\"a\"", true), ("\"b\", \"a\"", true), ("*", true), ("\"b\"", false), ("a", false)]
        {
            let mut fields = HeaderMap::new();
            fields.insert(IF_NONE_MATCH, HeaderValue::from_static(value));
            assert_eq!(matches_if_none_match(&fields, b"\"a\""), expected, "{value}");
            assert_eq!(matches_if_none_match(&fields, b"W/\"a\""), expected, "{value}");
        }
        assert!(!matches_if_none_match(&HeaderMap::new(), b"\"a\""));
    }
}
