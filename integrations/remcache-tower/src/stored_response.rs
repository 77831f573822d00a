//! Encoding of stored responses.

use bytes::Bytes;
use http::header::{CONNECTION, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};

/// A complete response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredResponse {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl StoredResponse {
    /// Copies a response whose body has been read.
    pub(crate) fn copy(response: &Response<Bytes>) -> Self {
        let fields = response.headers().iter().filter(|(name, _)| !HOP_BY_HOP.contains(name));
        Self {
            status: response.status().as_u16(),
            fields: fields.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect(),
            body: response.body().to_vec(),
        }
    }

    /// Returns the response; `None` if the stored data is not a valid one.
    pub(crate) fn into_response<R: From<Bytes>>(self) -> Option<Response<R>> {
        let mut response = Response::new(R::from(self.body.into()));
        *response.status_mut() = StatusCode::from_u16(self.status).ok()?;
        for (name, value) in self.fields {
            response.headers_mut().append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
        }
        Some(response)
    }

    /// Returns the value of a field.
    pub(crate) fn field(&self, name: &HeaderName) -> Option<&[u8]> {
        self.fields.iter().find(|(field, _)| field == name.as_str()).map(|(_, value)| value.as_slice())
    }
}

/// The result of reading a body.
#[derive(Debug)]
pub(crate) enum ReadBody<B> {
    Complete(Bytes),
    /// Its length is unknown or above the limit.
    Unread(B),
    /// Reading it failed.
    Failed,
}

/// Reads a body whose length is known and at most `limit` bytes. Others may be endless streams.
pub(crate) async fn read_body<B: Body<Data = Bytes>>(body: B, limit: u64) -> ReadBody<B> {
    match body.size_hint().exact() {
        Some(length) if length <= limit => match body.collect().await {
            Ok(collected) => ReadBody::Complete(collected.to_bytes()),
            Err(_) => ReadBody::Failed,
        },
        _ => ReadBody::Unread(body),
    }
}

/// Decodes a stored value; `None` if it has another format.
pub(crate) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

/// Encodes a value for storage.
pub(crate) fn encode(value: &impl Serialize) -> Bytes {
    postcard::to_stdvec(value).expect("a vector takes any bytes").into()
}

/// Returns the first value of a field, if it is text.
pub(crate) fn text<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    fields.get(name)?.to_str().ok()
}

/// Fields that belong to one connection, not to the response.
const HOP_BY_HOP: [HeaderName; 6] =
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, HeaderName::from_static("keep-alive")];

#[cfg(test)]
mod tests {
    use super::*;

    fn response() -> Response<Bytes> {
        let response = Response::builder().status(201).header("Set-Cookie", "a=1").header("Set-Cookie", "b=2");
        response.header("Connection", "close").header("X-Bytes", &b"\xff"[..]).body("body".into()).unwrap()
    }

    #[test]
    fn a_response_is_returned_as_it_was_stored_without_hop_by_hop_fields() {
        let stored: StoredResponse = decode(&encode(&StoredResponse::copy(&response()))).unwrap();
        let read: Response<Bytes> = stored.into_response().unwrap();
        let mut expected = response();
        expected.headers_mut().remove(CONNECTION);
        assert_eq!(
            (read.status(), read.headers(), read.body()),
            (expected.status(), expected.headers(), expected.body())
        );
    }

    #[test]
    fn invalid_data_is_rejected() {
        let mut bytes = encode(&StoredResponse::copy(&response())).to_vec();
        for cut in 0..bytes.len() {
            assert_eq!(decode::<StoredResponse>(&bytes[..cut]), None);
        }
        bytes.push(0);
        assert_eq!(decode::<StoredResponse>(&bytes), None);
        let stored = StoredResponse { status: 99, fields: Vec::new(), body: Vec::new() };
        assert!(stored.into_response::<Bytes>().is_none());
        let stored = StoredResponse { status: 200, fields: vec![("a b".into(), Vec::new())], body: Vec::new() };
        assert!(stored.into_response::<Bytes>().is_none());
    }
}
