//! Weighted modulo: a server has as many buckets as its weight.

use crate::Node;
use crate::spec::ListOrder;

/// The end of each server's range of buckets.
#[derive(Debug, Clone)]
pub(crate) struct WeightedModulo(Box<[(u64, u32)]>);

impl WeightedModulo {
    pub(crate) fn new(order: ListOrder, nodes: &[Node]) -> Self {
        let mut servers: Vec<u32> = (0..nodes.len() as u32).collect();
        if let ListOrder::ByText(format) = order {
            servers.sort_by_cached_key(|&server| {
                let text = format.write(&nodes[server as usize]).unwrap_or_default();
                (text.len(), text)
            });
        }
        let mut end = 0;
        let ends = servers.into_iter().map(|server| {
            end += u64::from(nodes[server as usize].weight);
            (end, server)
        });
        Self(ends.collect())
    }

    /// Returns the number of buckets.
    pub(crate) fn buckets(&self) -> Option<u64> {
        self.0.last().map(|&(end, _)| end)
    }

    /// Returns the server of a hash; `None` if the list is empty.
    #[inline]
    pub(crate) fn server(&self, hash: u64) -> Option<usize> {
        let bucket = hash % self.buckets()?;
        let share = self.0.partition_point(|&(end, _)| end <= bucket);
        self.0.get(share).map(|&(_, server)| server as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_key::NodeKeyFormat;

    fn servers(order: ListOrder, nodes: &[Node]) -> Vec<usize> {
        let shares = WeightedModulo::new(order, nodes);
        (0..shares.buckets().unwrap()).filter_map(|bucket| shares.server(bucket)).collect()
    }

    #[test]
    fn a_server_has_as_many_places_as_weight() {
        let nodes = [Node::tcp("b", 11211).with_weight(2), Node::tcp("a", 11211), Node::tcp("c", 1).with_weight(3)];
        assert_eq!(servers(ListOrder::Configured, &nodes), [0, 0, 1, 2, 2, 2]);
    }

    #[test]
    fn twemproxy_sorts_by_length_before_letters() {
        let nodes = [Node::tcp("bb", 11211), Node::tcp("a", 11212).with_weight(2), Node::tcp("c", 11211)];
        assert_eq!(servers(ListOrder::ByText(NodeKeyFormat::Twemproxy), &nodes), [2, 0, 1, 1]);
    }
}
