//! A validated list of servers: addresses only, at least one, no duplicates.

use std::collections::HashSet;

use crate::address::Endpoint;
use crate::client::Client;

/// A validated list.
#[derive(Clone, Debug)]
pub(crate) struct List {
    /// Addresses in the client's syntax.
    pub(crate) addresses: Vec<String>,
    /// The parsed addresses, in the same order.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Duplicate addresses, which were dropped.
    pub(crate) duplicates: Vec<String>,
}

impl List {
    /// Validates a list from a source; the error describes what is invalid.
    pub(crate) fn check(listed: Vec<String>) -> Result<Self, String> {
        if listed.is_empty() {
            return Err("empty list: treated as a failure of the source".into());
        }
        let mut list = Self { addresses: Vec::new(), endpoints: Vec::new(), duplicates: Vec::new() };
        let mut names = HashSet::new();
        for text in listed {
            let endpoint = parse(&text)?;
            let address = text.trim().to_owned();
            match names.insert(endpoint.name.clone()) {
                true => {
                    list.addresses.push(address);
                    list.endpoints.push(endpoint);
                }
                false => list.duplicates.push(address),
            }
        }
        Ok(list)
    }

    /// Returns the list that a client uses.
    pub(crate) fn of(client: &Client) -> Self {
        let endpoints: Vec<Endpoint> = client.servers().iter().map(|server| server.endpoint().clone()).collect();
        let addresses = endpoints.iter().map(|endpoint| match endpoint.weight {
            1 => endpoint.name.to_string(),
            weight => format!("{}:{weight}", endpoint.name),
        });
        Self { addresses: addresses.collect(), endpoints, duplicates: Vec::new() }
    }

    /// Returns the addresses of this list that the other one does not contain.
    pub(crate) fn difference(&self, other: &Self) -> Vec<String> {
        let known: HashSet<&Endpoint> = other.endpoints.iter().collect();
        let pairs = self.addresses.iter().zip(&self.endpoints);
        pairs.filter(|(_, endpoint)| !known.contains(endpoint)).map(|(address, _)| address.clone()).collect()
    }
}

fn parse(text: &str) -> Result<Endpoint, String> {
    if text.len() > MAX_LEN {
        let start: String = text.chars().take(40).collect();
        return Err(format!("{start:?} and so on, {} bytes, is not an address", text.len()));
    }
    Endpoint::parse(text).map_err(|error| error.to_string())
}

/// Maximum length of an address: a host name has at most 253 bytes, the path of a Unix socket 107.
const MAX_LEN: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listed: &[&str]) -> Result<List, String> {
        List::check(listed.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn an_invalid_list_is_refused_as_a_whole_and_named() {
        let long = "x".repeat(301);
        let cases: [(&[&str], &str); 8] = [
            (&[], "empty"),
            (&["a:1", "b:port"], "b:port"),
            (&["a:1", ""], "empty"),
            (&["a:1,b:1"], "a:1,b:1"),
            (&["a,b"], "a,b"),
            (&["memcached://a/?timeout=1s"], "memcached"),
            (&["<html>"], "<html>"),
            (&[&long], "301 bytes"),
        ];
        for (listed, word) in cases {
            let what = check(listed).expect_err(word);
            assert!(what.contains(word), "{listed:?}: {what}");
        }
    }

    #[test]
    fn the_same_server_counts_once_however_it_is_written() {
        let list = check(&["b", " a:1 ", "b:11211", "a:1:5", "/run/c.sock", "unix:///run/c.sock"]).unwrap();
        assert_eq!(list.addresses, ["b", "a:1", "/run/c.sock"]);
        assert_eq!(list.duplicates, ["b:11211", "a:1:5", "unix:///run/c.sock"]);
    }

    #[test]
    fn a_new_weight_is_a_difference() {
        let (before, after) = (check(&["a", "b"]).unwrap(), check(&["a:11211:2", "b:11211"]).unwrap());
        assert_eq!(after.difference(&before), ["a:11211:2"]);
        assert_eq!(before.difference(&after), ["a"]);
    }
}
