//! Answers one request: from the cache, or by the handler.

use bytes::Bytes;
use http::header::{AGE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use remcache::{Error, Ttl};
use tower_service::Service;

use super::directives::storable;
use super::entry::{Content, Entry, variant_key};
use super::handler::Handler;
use super::{Needs, ResponseCacheLayer};
use crate::stored::{Read, decode, encode, read, text};

/// A request that the cache may answer.
pub(super) struct Lookup<S, Q, R, E> {
    pub(super) layer: ResponseCacheLayer,
    pub(super) key: String,
    pub(super) needs: Needs,
    pub(super) handler: Handler<S, Q, R, E>,
}

/// An item found under a key.
struct Found {
    key: String,
    cas: u64,
    entry: Entry,
    /// The fields in whose values its request agrees, if it is a variant.
    names: Vec<String>,
}

/// Why a fetch has no entry.
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
        if self.needs.is_alone {
            return self.respond_alone(&fields).await;
        }
        let entry = self.fetch(&fields).await;
        // The response of this request's own handler, which need not be storable.
        if let Some(result) = self.handler.take() {
            return result;
        }
        match entry.and_then(|entry| self.answer(entry, &fields)) {
            Some(response) => Ok(response),
            None => self.call().await,
        }
    }

    /// Answers a request without waiting for the handler of another request.
    async fn respond_alone(&self, fields: &HeaderMap) -> Result<Response<R>, E> {
        let found = self.find(fields).await;
        let entry = found.as_ref().map(|found| found.entry.clone());
        if let Some(response) = entry.and_then(|entry| self.answer(entry, fields)) {
            return Ok(response);
        }
        if self.needs.directives.only_if_cached {
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
        for _ in 0..ROUNDS {
            let entry = self.fetch_entry(&key, &names, fields).await?;
            match entry.content {
                _ if entry.is_expired() => self.remove_expired(&key).await,
                Content::Variants { names: of_index, id } if names.is_empty() => {
                    key = variant_key(&self.key, id, &of_index, fields);
                    names = of_index;
                }
                _ => return Some(entry),
            }
        }
        None
    }

    async fn fetch_entry(&self, key: &str, names: &[String], fields: &HeaderMap) -> Option<Entry> {
        let (handler, layer) = (self.handler.clone(), self.layer.clone());
        let (own_key, own_names, own_fields) = (key.to_owned(), names.to_vec(), fields.clone());
        let is_authorized = self.needs.is_authorized;
        let load = move || async move {
            let response = match handler.call().await.ok_or(NoEntry::Handler)? {
                Ok(response) => response,
                Err(error) => {
                    handler.finish(Err(error));
                    return Err(NoEntry::Handler);
                }
            };
            let (response, entry) = layer.entry_of(response, &own_names, is_authorized).await;
            let entry = layer.store_variant(&own_key, entry, &own_fields).await;
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
            let removal = client.compare_and_swap(key, "", item.cas).ttl(Ttl::Expired).timeout(timeout);
            // Otherwise another request has replaced it.
            let _ = removal.await;
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

    async fn get(&self, key: String, names: Vec<String>) -> Option<Found> {
        let item = self.layer.client.get(&key).timeout(self.layer.command_timeout()).await.ok()??;
        let entry = decode(&item.value)?;
        Some(Found { key, cas: item.cas, entry, names })
    }

    /// Replaces an item by the response to a later request, unless it was changed in the meantime.
    async fn replace(&self, found: Found, response: Response<R>) -> Response<R> {
        let (response, Prepared { entry, vary }) =
            self.layer.entry_of(response, &found.names, self.needs.is_authorized).await;
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
    fn answer(&self, entry: Entry, fields: &HeaderMap) -> Option<Response<R>> {
        let directives = &self.needs.directives;
        let (age, ttl) = (entry.age(), entry.ttl());
        let is_too_old = directives.max_age.is_some_and(|max_age| age > max_age);
        if directives.no_cache || is_too_old || entry.is_expired() {
            return None;
        }
        let Content::Response { response, is_for_all } = entry.content else { return None };
        if self.needs.is_authorized && !is_for_all {
            return None;
        }
        let is_unchanged = response.field(&ETAG).is_some_and(|tag| matches_none(fields, tag));
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

/// The entry of a response, and the fields of the request that it depends on.
pub(super) struct Prepared {
    entry: Entry,
    vary: Vec<String>,
}

impl ResponseCacheLayer {
    /// Reads a response that may be stored, and returns its entry.
    ///
    /// `names` are the fields in whose values all requests for this entry agree.
    async fn entry_of<R>(&self, response: Response<R>, names: &[String], is_authorized: bool) -> (Response<R>, Prepared)
    where
        R: Body<Data = Bytes> + From<Bytes>,
    {
        let pass = || Prepared { entry: Entry::hit_for_pass(), vary: Vec::new() };
        let storable = storable(response.status(), response.headers());
        let Some(storable) = storable.filter(|storable| storable.is_for_all || !is_authorized) else {
            return (response, pass());
        };
        let (parts, body) = response.into_parts();
        match read(body, self.max_body).await {
            Read::Unread(body) => (Response::from_parts(parts, body), pass()),
            Read::Failed => (without_body(StatusCode::BAD_GATEWAY), pass()),
            Read::Whole(body) => {
                let response = Response::from_parts(parts, body);
                let entry = Entry::of_response(&response, &storable);
                let vary = match storable.vary.iter().all(|name| names.contains(name)) {
                    true => Vec::new(),
                    false => storable.vary,
                };
                (response.map(R::from), Prepared { entry, vary })
            }
        }
    }

    /// Stores the entry of a response that varies under the key of its variant, and returns the index of variants;
    /// returns other entries as they are.
    async fn store_variant(&self, key: &str, prepared: Prepared, fields: &HeaderMap) -> Entry {
        let Prepared { entry, vary: names } = prepared;
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
fn matches_none(fields: &HeaderMap, tag: &[u8]) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let Ok(tag) = std::str::from_utf8(tag) else { return false };
    let mut values = fields.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.trim() == "*" || value.split(',').any(|named| strong(named) == strong(tag)))
}

fn without_body<R: From<Bytes>>(status: StatusCode) -> Response<R> {
    let mut response = Response::new(R::from(Bytes::new()));
    *response.status_mut() = status;
    response
}

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// An expired index, the index, an expired variant, the variant.
const ROUNDS: usize = 4;

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
            assert_eq!(matches_none(&fields, b"\"a\""), expected, "{value}");
            assert_eq!(matches_none(&fields, b"W/\"a\""), expected, "{value}");
        }
        assert!(!matches_none(&HeaderMap::new(), b"\"a\""));
    }
}
