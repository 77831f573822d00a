//! Invalid server lists, URL options and settings.

use std::time::Duration;

use remcache::{Client, Config, ErrorKind};

use super::assert_error;

#[test]
fn an_invalid_server_list_is_explained() {
    let empty: [&str; 0] = [];
    assert_error(&Client::new(empty).unwrap_err(), ErrorKind::Config, &["empty", "localhost:11211"]);
    for (text, words) in [
        ("", ["empty", "host:port"]),
        ("a,,b", ["empty", "host:port"]),
        ("cache:", ["cache:", "port"]),
        ("cache:0", ["cache:0", "port"]),
        ("cache:65536", ["65536", "port"]),
        ("cache:memcached", ["memcached", "port"]),
        ("cache:11211:0", ["cache:11211:0", "weight"]),
        ("cache:1:2:3", ["cache:1:2:3", "[::1]:11211"]),
        ("my cache", ["my cache", "host"]),
        ("[::1", ["[::1", "bracket"]),
        ("[cache]:11211", ["cache", "IPv6"]),
        ("unix://socket", ["socket", "/"]),
        ("http://cache", ["http", "memcached"]),
    ] {
        assert_error(&Client::new([text]).unwrap_err(), ErrorKind::Config, &words);
        assert_error(&Client::new(["localhost", text]).unwrap_err(), ErrorKind::Config, &words);
    }
    let twice = Client::new(["a", "b:11211:3", "a:11211"]).unwrap_err();
    assert_error(&twice, ErrorKind::Config, &["0 and 2", "\"a\"", "list it once"]);
}

#[test]
fn an_invalid_url_option_is_explained() {
    for (url, words) in [
        ("memcached://cache/?tiemout=1s", &["tiemout", "timeout", "connections"][..]),
        ("memcached://cache/?timeout=0s", &["timeout=0s", "250ms"]),
        ("memcached://cache/?timeout=soon", &["timeout=soon", "250ms"]),
        ("memcached://cache/?timeout=-1s", &["timeout=-1s", "250ms"]),
        ("memcached://cache/?timeout", &["timeout", "name=value"]),
        ("memcached://cache/?connections=0", &["connections=0", "number"]),
        ("memcached://cache/?max_value_size=big", &["max_value_size=big", "number"]),
        ("memcached://cache/?distribution=random", &["random", "ketama"]),
        ("memcached://", &["empty"]),
    ] {
        assert_error(&Config::from_url(url).unwrap_err(), ErrorKind::Config, words);
        assert_error(&Client::new([url]).unwrap_err(), ErrorKind::Config, words);
    }
}

#[test]
fn an_invalid_configuration_value_is_named() {
    let (zero, second) = (Duration::ZERO, Duration::from_secs(1));
    for (config, word) in [
        (Config::new().timeout(zero), "timeout"),
        (Config::new().connect_timeout(zero), "connect_timeout"),
        (Config::new().keepalive(zero, second), "keepalive"),
        (Config::new().keepalive(second, zero), "keepalive's timeout"),
        (Config::new().reconnect_delay(second, zero), "reconnect_delay"),
        (Config::new().reconnect_delay(zero, second), "reconnect_delay"),
        (Config::new().connections(0), "connections"),
        (Config::new().max_in_flight(0), "max_in_flight"),
        (Config::new().max_output(0), "max_output"),
        (Config::new().max_value_size(0), "max_value_size"),
        (Config::new().namespace("n".repeat(250)), "namespace"),
    ] {
        let result = Client::with_config(["localhost"], config).map(|_| word);
        assert_error(&result.expect_err(word), ErrorKind::Config, &[word]);
    }
}
