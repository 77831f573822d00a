//! Parser for server URLs.

use super::credentials::Credentials;
use crate::address::{Endpoint, list, unix};
use crate::error::Error;
use crate::percent_encoding::{BAD_PERCENT, decoded_text, percent_decoded};
use crate::transport::tls::Tls;

/// The parts of a URL, or of a list of addresses.
#[derive(Debug, Default)]
pub(crate) struct ParsedUrl {
    pub(crate) servers: Vec<Endpoint>,
    pub(crate) namespace: Option<Vec<u8>>,
    pub(crate) options: Vec<(String, String)>,
    pub(crate) tls: Option<Tls>,
    pub(crate) credentials: Option<Credentials>,
}

impl ParsedUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else { return Self::parse_list(text) };
        if let Some((source @ ("dns" | "dnssrv" | "elasticache"), _)) = scheme.split_once('+') {
            return Err(Error::config(format!(
                "{source}+ is a source of servers, which change: connect with discovery::connect_url"
            )));
        }
        match scheme {
            "memcached" | "memcache" => Self::parse_url(rest),
            "memcacheds" | "memcaches" => Ok(Self { tls: Some(system_tls()?), ..Self::parse_url(rest)? }),
            "tcp" | "unix" => match text.split_once('?') {
                Some((servers, query)) => Ok(Self { options: options(query)?, ..Self::parse_list(servers)? }),
                None => Self::parse_list(text),
            },
            // A list of addresses whose first has no scheme.
            _ if scheme.contains([',', '=']) => Self::parse_list(text),
            _ => Err(Error::config(format!(
                "unknown scheme {scheme:?}: expected memcached, memcacheds, tcp or unix, or an address such as host:11211"
            ))),
        }
    }

    fn parse_list(text: &str) -> Result<Self, Error> {
        Ok(Self { servers: list(text)?, ..Self::default() })
    }

    fn parse_url(rest: &str) -> Result<Self, Error> {
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, namespace) = before.split_once('/').unwrap_or((before, ""));
        // The rest is not quoted in the error, because it may be a part of a password.
        if namespace.contains('@') || query.contains('@') {
            return Err(Error::config(
                "an @ behind the hosts of a URL: in a user or password write / as %2F, ? as %3F and @ as %40",
            ));
        }
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((user_info, hosts)) => (Some(parse_user_info(user_info)?), hosts),
            None => (None, authority),
        };
        if hosts.is_empty() && !namespace.is_empty() {
            return Err(Error::config(
                "a URL without a host; for a Unix socket write unix:///path/to.sock?timeout=1s, or memcached://%2Fpath%2Fto.sock/namespace",
            ));
        }
        let in_namespace = |what| Error::config(format!("the namespace of the URL: {what}"));
        Ok(Self {
            servers: hosts.split(',').map(host_of_url).collect::<Result<_, _>>()?,
            namespace: match namespace {
                "" => None,
                encoded => Some(percent_decoded(encoded).ok_or_else(|| in_namespace(BAD_PERCENT))?),
            },
            options: options(query)?,
            tls: None,
            credentials,
        })
    }
}

/// Parses a server in a URL, percent-encoded so that it may be a socket's path.
fn host_of_url(text: &str) -> Result<Endpoint, Error> {
    let decoded = decoded_text(text).map_err(|what| Error::config(format!("server address {text:?}: {what}")))?;
    match decoded.strip_prefix('/') {
        // Colons in the path are percent-encoded; the one before a weight is not.
        Some(_) => unix(text, true).map_err(|what| Error::config(format!("server address {text:?}: {what}"))),
        None => Endpoint::parse(&decoded),
    }
}

/// Parses the options after the `?` of a URL, percent-decoded.
fn options(query: &str) -> Result<Vec<(String, String)>, Error> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let options = pairs.map(|pair| {
        let bad = |what: &str| Error::config(format!("URL option {pair:?}: {what}"));
        let (name, value) = pair.split_once('=').ok_or_else(|| bad("expected name=value"))?;
        Ok((decoded_text(name).map_err(|what| bad(&what))?, decoded_text(value).map_err(|what| bad(&what))?))
    });
    options.collect()
}

#[cfg(feature = "tls")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it cannot fail")]
fn system_tls() -> Result<Tls, Error> {
    Ok(Tls::with_system_roots())
}

#[cfg(not(feature = "tls"))]
fn system_tls() -> Result<Tls, Error> {
    Err(Error::config(
        "memcacheds:// is TLS, which this program was built without: turn on the feature `tls` of remcache",
    ))
}

/// Parses `user:password`; errors do not show them.
fn parse_user_info(text: &str) -> Result<Credentials, Error> {
    let Some((user, password)) = text.split_once(':') else {
        return Err(Error::config("a user without a password in a URL: write user:password@host"));
    };
    if text.contains('@') {
        return Err(Error::config("a URL has one user and password, for all its servers: in them write @ as %40"));
    }
    match (percent_decoded(user), percent_decoded(password)) {
        (Some(user), Some(password)) => Ok(Credentials::new(user, password)),
        _ => Err(Error::config(format!("the user or password of the URL: {BAD_PERCENT}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_url_with_a_user_and_a_password() {
        for (text, user, password, host) in [
            ("memcached://bob:secret@a", "bob", "secret", "a:11211"),
            ("memcached://b%6Fb:s%3a%40%2f%25@a:7/shop", "bob", "s:@/%", "a:7"),
            ("memcached://bob:with:colon,and%00@[::1]:7/?timeout=1s", "bob", "with:colon,and\0", "[::1]:7"),
            ("memcached://bob:@a", "bob", "", "a:11211"),
        ] {
            let target = ParsedUrl::parse(text).unwrap();
            assert!(target.credentials == Some(Credentials::new(user, password)), "{text}");
            assert_eq!(&*target.servers[0].name, host, "{text}");
        }
    }

    #[test]
    fn everything_in_a_url_is_percent_decoded() {
        for (text, name, namespace, timeout) in [
            ("memcached://h/my%3Ans%3a", "h:11211", "my:ns:", 1000),
            ("memcached://h/%00%ff%2F%40?timeout=5s", "h:11211", "\0\u{fffd}/@", 5000),
            ("memcached://h/?time%6Fut=%32s", "h:11211", "", 2000),
            ("memcached://%2Frun%2Fcache.sock/shop?timeout=2s", "/run/cache.sock", "shop", 2000),
            ("memcached://%2Frun%2Fa%3A7:3", "/run/a:7", "", 1000),
            ("memcached://[fe80::1%25eth0]:7/x", "[fe80::1%eth0]:7", "x", 1000),
            ("memcache://h:7/x", "h:7", "x", 1000),
            ("unix:///run/a.sock?timeout=2s&namespace=my%20shop", "/run/a.sock", "my shop", 2000),
            ("unix:///run/a%3F.sock:2", "/run/a?.sock", "", 1000),
            ("tcp://h:7?timeout=2s", "h:7", "", 2000),
        ] {
            let config = Config::from_url(text).unwrap();
            assert_eq!(&*config.servers[0].name, name, "{text}");
            assert_eq!(String::from_utf8_lossy(&config.namespace), namespace, "{text}");
            assert_eq!(config.timeout, Duration::from_millis(timeout), "{text}");
        }
        let weighted = Config::from_url("memcached://%2Frun%2Fa%3A7:3,b").unwrap();
        assert_eq!((weighted.servers[0].weight, &*weighted.servers[1].name), (3, "b:11211"));
        let braces = Config::from_url("memcached://h/?hash_tag=%7B%7D").unwrap();
        assert_eq!(braces.distribution, Config::from_url("memcached://h/?hash_tag={}").unwrap().distribution);
    }

    #[test]
    fn invalid_percent_encoding_is_named() {
        for (text, word) in [
            ("memcached://h/50%", "%25"),
            ("memcached://h/?hash_tag=%7", "%25"),
            ("memcached://h/?hash_tag=%ff%ff", "UTF-8"),
            ("memcached://h%/", "%25"),
            ("memcached:///run/cache.sock?timeout=1s", "unix:///"),
        ] {
            let error = Config::from_url(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn invalid_credentials_are_named() {
        for (text, word) in [
            ("bob:secret@a", "URL"),
            ("tcp://bob:secret@a", "URL"),
            ("memcached://bob@a", "password"),
            ("memcached://bob:secret@a,bob:secret@b", "%40"),
            ("memcached://bob:sec/ret@a", "%2F"),
            ("memcached://bob:sec?ret@a", "%3F"),
            ("memcached://bob:100%@a", "%25"),
            ("memcached://bob:%+1@a", "%25"),
        ] {
            let error = ParsedUrl::parse(text).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("ret"), "{text}: {error}");
        }
    }

    #[test]
    fn an_unknown_scheme_is_named() {
        let error = ParsedUrl::parse("http://cache1").unwrap_err();
        assert!(error.to_string().contains("scheme"), "{error}");
    }

    #[test]
    fn tls_is_on_or_the_feature_is_named() {
        match ParsedUrl::parse("memcacheds://a,b") {
            Ok(target) => assert!(cfg!(feature = "tls") && target.tls.is_some() && target.servers.len() == 2),
            Err(error) => assert!(!cfg!(feature = "tls") && error.to_string().contains("feature `tls`"), "{error}"),
        }
    }

    #[test]
    fn a_url_says_all_at_once() {
        let config =
            Config::from_url("memcached://a,b:11212,[::1]:3:4/shop?timeout=250ms&distribution=remcached&connections=2");
        let config = config.unwrap();
        let names: Vec<_> = config.servers.iter().map(|server| &*server.name).collect();
        assert_eq!(names, ["a:11211", "b:11212", "[::1]:3"]);
        assert_eq!(config.namespace, b"shop");
        assert_eq!((config.timeout, config.connections), (Duration::from_millis(250), 2));
    }
}
