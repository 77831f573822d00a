//! Rings: servers as points on a circle.
pub(crate) mod continuum;
pub(crate) mod points;

use crate::Node;
use crate::hash::KeyHash;
use crate::ketama::continuum::{Continuum, Point, Position};
use crate::ketama::points::PointText;
use crate::spec::{Circle, Order, PointSpec, Tie};

impl Circle {
    /// Computes the points of all servers; their texts have the circle's format.
    pub(crate) fn continuum<P: Position>(&self, nodes: &[Node], texts: &[String], keys: KeyHash) -> Continuum<P> {
        let mut points = Vec::with_capacity(nodes.len() * POINTS_OF_MOST);
        for (server, text) in texts.iter().enumerate() {
            self.each_point(nodes, server, text, keys, |value| {
                points.push(Point { value: P::of(self.order.position(value)), server: server as u32 });
            });
        }
        self.tie.resolve(&mut points, texts);
        Continuum::new(points, self.lookup)
    }

    /// Returns the number of the point of `server` at this position, and the text whose hash it is.
    pub(crate) fn origin(
        &self,
        nodes: &[Node],
        server: usize,
        text: &str,
        keys: KeyHash,
        position: u128,
    ) -> Option<(usize, String)> {
        let (mut number, mut found) = (0, None);
        self.each_point(nodes, server, text, keys, |value| {
            if self.order.position(value) == position && found.is_none() {
                found = Some(number);
            }
            number += 1;
        });
        let numbered = PointText { stem: text, separator: self.separator };
        found.map(|number| (number, self.point_spec(nodes).hash.text_of(&numbered, number, keys)))
    }

    fn each_point(&self, nodes: &[Node], server: usize, text: &str, keys: KeyHash, give: impl FnMut(u128)) {
        let total = nodes.iter().map(|node| u64::from(node.weight)).sum();
        let spec = self.point_spec(nodes);
        let count = spec.count.of(nodes[server].weight, total, nodes.len());
        spec.hash.each(&PointText { stem: text, separator: self.separator }, count, keys, give);
    }

    fn point_spec(&self, nodes: &[Node]) -> &PointSpec {
        if nodes.iter().all(|node| node.weight == 1) { &self.equal } else { &self.weighted }
    }
}

impl Order {
    /// Converts a hash to a position that is compared as unsigned.
    #[inline]
    pub(crate) fn position(self, hash: u128) -> u128 {
        match self {
            Self::Unsigned | Self::Wide => hash,
            // The negative half comes first.
            Self::Signed => hash ^ 1 << 31,
        }
    }

    /// Formats a position as the client would print it.
    pub(crate) fn print(self, position: u128) -> String {
        match self {
            Self::Unsigned | Self::Wide => position.to_string(),
            Self::Signed => ((position ^ 1 << 31) as u32 as i32).to_string(),
        }
    }
}

impl Tie {
    /// Sorts points, and keeps one of equal ones unless all are kept.
    fn resolve<P: Position>(self, points: &mut Vec<Point<P>>, names: &[String]) {
        let name = |point: &Point<P>| &names[point.server as usize];
        match self {
            Self::InOrder => points.sort_unstable_by_key(|point| (point.value, point.server)),
            Self::Last => {
                points.sort_unstable_by_key(|point| (point.value, point.server));
                keep_last(points);
            }
            Self::LastByName => {
                points.sort_unstable_by(|a, b| (a.value, name(a)).cmp(&(b.value, name(b))));
                keep_last(points);
            }
            Self::ByPosition => {
                points.sort_unstable_by(|a, b| (a.value, name(a)).cmp(&(b.value, name(b))));
                *points = points.chunk_by(|a, b| a.value == b.value).map(choose_by_position).collect();
            }
        }
    }
}

fn keep_last<P: Position>(points: &mut Vec<Point<P>>) {
    points.dedup_by(|next, previous| {
        let is_equal = next.value == previous.value;
        if is_equal {
            *previous = *next;
        }
        is_equal
    });
}

fn choose_by_position<P: Position>(equal: &[Point<P>]) -> Point<P> {
    equal[equal[0].value.top() as usize % equal.len()]
}

const POINTS_OF_MOST: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_are_resolved_by_rule() {
        let names = ["b", "c", "a"].map(str::to_owned);
        let point = |value, server| Point { value, server };
        let crowd = || vec![point(7, 2), point(3, 0), point(7, 1), point(7, 0)];
        for (tie, expected) in [
            (Tie::InOrder, vec![point(3, 0), point(7, 0), point(7, 1), point(7, 2)]),
            (Tie::Last, vec![point(3, 0), point(7, 2)]),
            (Tie::LastByName, vec![point(3, 0), point(7, 1)]),
            // 7 modulo 3 is 1: the second by name.
            (Tie::ByPosition, vec![point(3, 0), point(7, 0)]),
        ] {
            let mut points = crowd();
            tie.resolve::<u32>(&mut points, &names);
            assert_eq!(points, expected, "{tie:?}");
        }
    }

    #[test]
    fn signed_positions_begin_with_the_most_negative() {
        let [zero, lowest, minus_one] = [0, 0x8000_0000, 0xffff_ffff].map(|hash| Order::Signed.position(hash));
        assert!(lowest < minus_one && minus_one < zero);
        assert_eq!(Order::Signed.print(minus_one), "-1");
        assert_eq!(Order::Signed.print(lowest), "-2147483648");
    }
}
