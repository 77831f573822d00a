//! The causes of errors: the error of the socket, of TLS and of the library that encodes values.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error as StdError;
use std::io;

use remcache::config::ProtocolSetting;
use remcache::value::{Codec, ValueError};
use remcache::{Cache, Client, Error, ErrorKind};
use remcache_testkit::Memcached;
use serde::{Deserialize, Serialize};

use crate::support::{patient_config, wait_until};

/// Returns the first cause of this type, at any depth.
fn cause<E: StdError + 'static>(error: &Error) -> Option<&E> {
    std::iter::successors(error.source(), |error| (*error).source()).find_map(|error| error.downcast_ref())
}

#[track_caller]
fn assert_caused_by<E: StdError + 'static>(error: &Error) {
    assert!(cause::<E>(error).is_some(), "{error}, caused by {:?}", error.source());
    assert!(cause::<E>(&error.clone()).is_some(), "a clone has the same cause");
}

#[tokio::test]
async fn an_unavailable_server_is_an_io_error() {
    // Its port is free again when it has ended.
    let mut server = Memcached::start(&[]);
    server.kill();
    let client = Client::with_config([server.addr()], patient_config()).unwrap();
    let error = client.get("k").await.unwrap_err();
    assert_caused_by::<io::Error>(&error);
    assert_eq!(cause::<io::Error>(&error).unwrap().kind(), io::ErrorKind::ConnectionRefused);
    let outcomes = client.get_many(["k"]).await;
    assert_caused_by::<io::Error>(outcomes.failed().next().unwrap().1);
    let outcomes = client.flush().await;
    assert_caused_by::<io::Error>(outcomes.failed().next().unwrap().1);
}

#[tokio::test]
async fn replicas_that_are_down_are_an_io_error() {
    let mut servers = [Memcached::start(&[]), Memcached::start(&[])];
    servers.iter_mut().for_each(Memcached::kill);
    let config = patient_config().replicas(2);
    let client = Client::with_config(servers.each_ref().map(Memcached::addr), config).unwrap();
    assert_caused_by::<io::Error>(&client.get("k").await.unwrap_err());
    assert_caused_by::<io::Error>(client.get_many(["k"]).await.failed().next().unwrap().1);
}

#[tokio::test]
async fn an_error_reply_has_no_source() {
    let mut server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], patient_config().protocol(ProtocolSetting::Meta)).unwrap();
    client.set("k", "text").await.unwrap();
    server.kill();
    wait_until("the client knows", async || client.get("k").await.is_err()).await;
    server.restart();
    wait_until("the client is back", async || client.set("k", "text").await.is_ok()).await;
    let error = client.increment("k", 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NonNumericValue);
    assert!(error.source().is_none(), "{:?}", error.source());
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_a_rustls_error() {
    use remcache::transport::{Tls, rustls};
    use remcache_testkit::{Authority, Dates};

    let (authority, other) = (Authority::new("one"), Authority::new("another"));
    let server = Memcached::start_tls(&authority.certify(&["127.0.0.1"], Dates::Now), &[]);
    let config = patient_config().tls(Tls::with_roots_file(other.file()));
    let error = Client::with_config([server.addr()], config).unwrap().get("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls);
    assert_caused_by::<rustls::Error>(&error);
}

#[derive(Debug, Deserialize, Serialize)]
struct Text(String);

/// Writes no value, for a reason of its own.
fn fails<S: serde::Serializer>(_: &(), _: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom("it is not for storing"))
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Unwritable(#[serde(serialize_with = "fails", skip_deserializing)] ());

/// Stores what the codec cannot read, and a value that it cannot write.
async fn assert_codec_errors<D, E>(client: &Client, text: Codec<Text>, unwritable: Codec<Unwritable>)
where
    D: StdError + 'static,
    E: StdError + 'static,
{
    let (texts, unwritables) = (Cache::new(client, "", text.clone()), Cache::new(client, "", unwritable));
    let flags = text.encode(&Text("x".into())).unwrap().flags;
    client.set("k", &b"\xc1"[..]).flags(flags).await.unwrap();
    let error = texts.get("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
    assert_caused_by::<ValueError>(&error);
    assert_caused_by::<D>(&error);
    let error = unwritables.set("k", &Unwritable::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode, "{error}");
    assert_caused_by::<ValueError>(&error);
    assert_caused_by::<E>(&error);
}

#[tokio::test]
async fn values_that_serde_does_not_read_or_write() {
    let server = Memcached::start(&[]);
    let client = &Client::with_config([server.addr()], patient_config()).unwrap();
    assert_codec_errors::<serde_json::Error, serde_json::Error>(client, Codec::json(), Codec::json()).await;
    let (text, unwritable) = (Codec::msgpack(), Codec::msgpack());
    assert_codec_errors::<rmp_serde::decode::Error, rmp_serde::encode::Error>(client, text, unwritable).await;
    assert_codec_errors::<postcard::Error, postcard::Error>(client, Codec::postcard(), Codec::postcard()).await;
}
