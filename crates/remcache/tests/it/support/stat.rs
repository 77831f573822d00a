//! Statistics of a real server.

use remcache::ServerHandle;

/// Returns a numeric statistic of the server, requested over the client's own connection.
pub(crate) async fn stat(server: &ServerHandle, name: &str) -> u64 {
    let stats = server.stats("").collect().await.expect("the server returns statistics");
    let (_, value) = stats.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no statistic {name}"));
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).expect("a number")
}
