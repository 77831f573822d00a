//! Parser for the replies of a configuration endpoint; performs no I/O.
//!
//! Handles `config get cluster` (docs/protocol.md 4.10), and the item that older engines use instead.

/// Cluster configuration of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClusterConfig {
    /// Version, incremented by each change of the cluster.
    pub(crate) version: u64,
    /// The nodes, in the endpoint's order.
    pub(crate) nodes: Vec<Node>,
}

/// A node as the endpoint lists it: `host|ip|port`, where either host or address may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    host: String,
    ip: String,
    port: u16,
}

impl Node {
    /// Returns the address in the client's syntax: `host:port`, or `host/ip:port` if the placement needs the address.
    /// Without a host, the address is the name.
    pub(crate) fn address(&self, needs_ip: bool) -> String {
        let Self { host, ip, port } = self;
        match (host.is_empty(), ip.is_empty()) {
            (false, false) if needs_ip => format!("{host}/{}:{port}", bracketed(ip)),
            (false, _) => format!("{}:{port}", bracketed(host)),
            (true, _) => format!("{}:{port}", bracketed(ip)),
        }
    }
}

/// Puts an IPv6 address in brackets; other hosts are returned unchanged.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Result of parsing a reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// Incomplete: more bytes are needed.
    Partial,
    /// The cluster configuration.
    Config(ClusterConfig),
    /// `ERROR`: the server does not know the command.
    Unknown,
    /// `END`: the server has no such item.
    Absent,
}

/// Parses a reply; the error describes what is invalid.
pub(crate) fn decode(input: &[u8]) -> Result<Decoded, String> {
    let Some(end) = input.iter().position(|&byte| byte == b'\n') else {
        return match input.len() <= MAX_LINE {
            true => Ok(Decoded::Partial),
            false => Err(no_memcached(input)),
        };
    };
    let (line, rest) = (&input[..end], &input[end + 1..]);
    let line = std::str::from_utf8(line.trim_ascii_end()).map_err(|_| no_memcached(line))?;
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    match words[..] {
        ["ERROR", ..] => Ok(Decoded::Unknown),
        ["END"] => Ok(Decoded::Absent),
        ["CONFIG", "cluster", _, length] | ["VALUE", ITEM, _, length] => payload(length, rest),
        ["CLIENT_ERROR" | "SERVER_ERROR", ..] => Err(format!("error reply {line:?}")),
        _ => Err(no_memcached(line.as_bytes())),
    }
}

/// Returns the payload of the announced length, once it and the trailing `END` are complete.
fn payload(length: &str, rest: &[u8]) -> Result<Decoded, String> {
    let length: usize = length.parse().map_err(|_| format!("announced length {length:?} is not a number"))?;
    if length > MAX_LEN {
        return Err(format!("server list of {length} bytes exceeds the limit of {MAX_LEN}"));
    }
    let Some((payload, tail)) = rest.split_at_checked(length) else { return Ok(Decoded::Partial) };
    if !TAIL.starts_with(&tail[..tail.len().min(TAIL.len())]) {
        return Err("server list is longer than announced, or unterminated".into());
    }
    if tail.len() < TAIL.len() {
        return Ok(Decoded::Partial);
    }
    let text = std::str::from_utf8(payload).map_err(|_| "server list is not UTF-8".to_owned())?;
    list(text).map(Decoded::Config)
}

/// Parses the payload: the version on the first line, then nodes separated by spaces.
fn list(text: &str) -> Result<ClusterConfig, String> {
    let (version, nodes) = text.split_once('\n').unwrap_or((text, ""));
    let version =
        version.trim().parse().map_err(|_| format!("version {:?} is not a number", shown(version.as_bytes())))?;
    let nodes: Result<Vec<_>, _> = nodes.split_ascii_whitespace().map(node).collect();
    Ok(ClusterConfig { version, nodes: nodes? })
}

fn node(text: &str) -> Result<Node, String> {
    let bad = || format!("node {:?} is not host|ip|port", shown(text.as_bytes()));
    let mut parts = text.split('|');
    let (Some(host), Some(ip), Some(port), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(bad());
    };
    let port = port.parse().map_err(|_| bad())?;
    if host.is_empty() && ip.is_empty() {
        return Err(bad());
    }
    Ok(Node { host: host.to_owned(), ip: ip.to_owned(), port })
}

fn no_memcached(line: &[u8]) -> String {
    format!("{:?} is not a memcached reply", shown(line))
}

/// Returns the beginning of a reply, escaped for a message.
fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(60)].escape_ascii().to_string()
}

/// The item that holds the configuration on engines before 1.4.14.
pub(crate) const ITEM: &str = "AmazonElastiCache:cluster";
/// Maximum length of a server list, well above any real one at about 100 bytes per node.
const MAX_LEN: usize = 1 << 20;
const MAX_LINE: usize = 2048;
const TAIL: &[u8] = b"\r\nEND\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer as the documentation of the service shows it.
    const ANSWER: &str =
        "CONFIG cluster 0 72\r\n12\nc.0001.use1.cache|10.82.235.120|11211 c.0002.use1.cache||11212\n\r\nEND\r\n";

    fn answer(payload: &str) -> Vec<u8> {
        format!("CONFIG cluster 0 {}\r\n{payload}\r\nEND\r\n", payload.len()).into_bytes()
    }

    fn decode_list(payload: &str) -> Result<Vec<String>, String> {
        match decode(&answer(payload))? {
            Decoded::Config(config) => Ok(config.nodes.iter().map(|node| node.address(false)).collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_read_at_its_last_byte_and_not_before() {
        let payload = &ANSWER[ANSWER.find('\n').unwrap() + 1..ANSWER.len() - 7];
        let text = ANSWER.replace("72", &payload.len().to_string());
        for end in 0..text.len() {
            assert_eq!(decode(&text.as_bytes()[..end]), Ok(Decoded::Partial), "{end} bytes");
        }
        let node = |host: &str, ip: &str, port| Node { host: host.to_owned(), ip: ip.to_owned(), port };
        let nodes = vec![node("c.0001.use1.cache", "10.82.235.120", 11211), node("c.0002.use1.cache", "", 11212)];
        let config = ClusterConfig { version: 12, nodes };
        assert_eq!(decode(text.as_bytes()), Ok(Decoded::Config(config.clone())));
        let older = text.replace("CONFIG cluster", "VALUE AmazonElastiCache:cluster");
        assert_eq!(decode(older.as_bytes()), Ok(Decoded::Config(config)));
    }

    #[test]
    fn nodes_are_host_and_port() {
        assert_eq!(decode_list("3\n|10.0.0.1|1 ::1||2 a||3\n").unwrap(), ["10.0.0.1:1", "[::1]:2", "a:3"]);
        assert!(decode_list("3\n\n").unwrap().is_empty());
        assert!(decode_list("3").unwrap().is_empty());
    }

    #[test]
    fn the_address_follows_the_host_for_placements_that_hash_it() {
        let Ok(Decoded::Config(config)) = decode(&answer("3\na|10.0.0.1|1 b|fd00::1|2 c||3 |10.0.0.4|4\n")) else {
            panic!("a list of nodes");
        };
        let addresses: Vec<String> = config.nodes.iter().map(|node| node.address(true)).collect();
        assert_eq!(addresses, ["a/10.0.0.1:1", "b/[fd00::1]:2", "c:3", "10.0.0.4:4"]);
    }

    #[test]
    fn an_invalid_list_is_named() {
        for (payload, word) in [
            ("x\na||1\n", "version"),
            ("-1\na||1\n", "version"),
            ("1\na|1\n", "host|ip|port"),
            ("1\na|b|c|1\n", "host|ip|port"),
            ("1\na||70000\n", "host|ip|port"),
            ("1\n||1\n", "host|ip|port"),
        ] {
            let what = decode_list(payload).unwrap_err();
            assert!(what.contains(word), "{payload:?}: {what}");
        }
        let long = "x".repeat(MAX_LINE + 1);
        for (text, word) in [
            ("CONFIG cluster 0 1048577\r\n", "exceeds the limit"),
            ("CONFIG cluster 0 99999999999999999999999\r\n", "not a number"),
            ("CONFIG cluster 0 3\r\n1\n\nEND\r\n", "unterminated"),
            ("SERVER_ERROR busy\r\n", "SERVER_ERROR busy"),
            ("HTTP/1.1 400 Bad Request\r\n", "not a memcached reply"),
            (&long, "not a memcached reply"),
        ] {
            let what = decode(text.as_bytes()).unwrap_err();
            assert!(what.contains(word), "{text:?}: {what}");
        }
        assert_eq!(decode(b"ERROR\r\n"), Ok(Decoded::Unknown));
        assert_eq!(decode(b"END\r\n"), Ok(Decoded::Absent));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        let good = answer("12\na|1.2.3.4|11211 b||11212\n");
        for _ in 0..100_000 {
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..4) {
                let index = random.usize(..bytes.len());
                bytes[index] = random.u8(..);
            }
            bytes.truncate(random.usize(..=bytes.len()));
            let _ = decode(&bytes);
        }
    }
}
