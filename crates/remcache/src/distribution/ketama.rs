//! libmemcached's weighted ketama ring: how many points a server has, and where they are.

use std::fmt::Write as _;

use super::{
    Node,
    continuum::{Continuum, Point},
    md5,
};

/// The ring of `nodes`: for each run of four points one MD5 of `identity-i`, one point for each of its words.
pub(super) fn continuum(nodes: &[Node]) -> Continuum {
    let total = nodes.iter().map(|node| u64::from(node.weight)).sum();
    let mut points = Vec::with_capacity(nodes.len() * POINTS_PER_SERVER as usize);
    for (server, node) in nodes.iter().enumerate() {
        let digests = digests_of(node.weight, total, nodes.len());
        points.extend(values(node, digests).map(|value| Point { value, server: server as u32 }));
    }
    Continuum::new(points)
}

/// How many digests a server contributes; it has four times as many points.
///
/// Every step is in `f32`, in libmemcached's order (`update_continuum` in its `hosts.cc`).
/// Therefore equal weights give 156 points and not 160 for some numbers of servers, 25 being the lowest; computed in
/// `f64`, 2 % of the keys of 25 servers would be looked for on the wrong one.
fn digests_of(weight: u32, total_weight: u64, servers: usize) -> u32 {
    let share = weight as f32 / total_weight as f32;
    let digests = share * POINTS_PER_SERVER / 4.0 * servers as f32 + 1e-10;
    digests.floor() as u32
}

fn values(node: &Node, digests: u32) -> impl Iterator<Item = u32> {
    let mut text = identity(node);
    let stem = text.len();
    (0..digests).flat_map(move |digest| {
        text.truncate(stem);
        write!(text, "-{digest}").expect("a String takes everything");
        md5::words(text.as_bytes())
    })
}

/// What is hashed for a server, before the counter.
///
/// The default port is left out; a Unix socket has the port 0 in libmemcached and does not lose it.
fn identity(node: &Node) -> String {
    match node.port.unwrap_or(0) {
        DEFAULT_PORT => node.name.clone(),
        port => format!("{}:{port}", node.name),
    }
}

const DEFAULT_PORT: u16 = 11211;

/// Nominal, for a server of average weight.
const POINTS_PER_SERVER: f32 = 160.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::vectors;

    #[test]
    fn identities() {
        for (node, text) in [
            (Node::tcp("10.0.1.1", 11211), "10.0.1.1"),
            (Node::tcp("10.0.1.1", 11212), "10.0.1.1:11212"),
            (Node::tcp("::1", 11211), "::1"),
            (Node::tcp("[::1]", 11212), "[::1]:11212"),
            (Node::unix("/tmp/a.sock"), "/tmp/a.sock:0"),
            (Node::tcp("/tmp/a.sock", 11211), "/tmp/a.sock"),
        ] {
            assert_eq!(identity(&node), text);
        }
    }

    #[test]
    fn equal_weights_give_156_points_for_the_listed_counts_only() {
        let vectors = vectors();
        let golden = &vectors["points_per_server_equal_weights_not_160"];
        let listed: Vec<u64> =
            golden["f32_formula"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).collect();
        let found: Vec<u64> =
            (1..=500).filter(|&servers| 4 * digests_of(1, servers, servers as usize) != 160).collect();
        assert_eq!(found, listed);
        for servers in found {
            assert_eq!(golden["value"], 4 * digests_of(1, servers, servers as usize));
        }
    }

    #[test]
    fn a_common_factor_of_all_weights_changes_nothing_for_powers_of_two() {
        for servers in 1..=200_u64 {
            assert_eq!(digests_of(8, 8 * servers, servers as usize), digests_of(1, servers, servers as usize));
        }
    }

    #[test]
    fn a_server_of_negligible_weight_has_no_point() {
        assert_eq!(digests_of(1, 1001, 2), 0);
        assert_eq!(digests_of(1000, 1001, 2), 79);
    }

    #[test]
    fn golden_rings() {
        for name in [
            "libmemcached_ketama_weighted_equal",
            "libmemcached_ketama_weighted",
            "libmemcached_ketama_weighted_25_equal_156pts",
        ] {
            check(name);
        }
    }

    fn check(name: &str) {
        let ring = &vectors()["rings"][name];
        let nodes: Vec<Node> = ring["servers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|server| {
                let number = |at: usize| server[at].as_u64().unwrap();
                Node::tcp(server[0].as_str().unwrap(), number(1) as u16).with_weight(number(2) as u32)
            })
            .collect();
        let points: Vec<(u32, u32)> =
            continuum(&nodes).points().iter().map(|point| (point.value, point.server)).collect();

        let golden = &ring["ring"];
        assert_eq!(golden["n_points"], points.len(), "{name}");
        assert_eq!(golden["first5"], serde_json::json!(points[..5]), "{name}");
        assert_eq!(golden["last2"], serde_json::json!(points[points.len() - 2..]), "{name}");
        for server in 0..nodes.len() {
            let owned = points.iter().filter(|point| point.1 as usize == server).count();
            let golden = &ring["points_per_server"];
            let expected = golden.get(server).unwrap_or(golden);
            assert!(expected.is_null() || *expected == owned, "{name}: server {server}");
        }
    }
}
