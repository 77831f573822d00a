//! The placement of the Ruby gem `remcached`: the key as a big-endian number, modulo the connected servers.

/// Returns the server of `key` among those alive, in the order of the list.
pub(crate) fn locate(key: &[u8], servers: usize, alive: impl Fn(usize) -> bool) -> Option<usize> {
    // Liveness may change while it is read, so both the divisor and the choice are based on one pass.
    let live: Vec<usize> = (0..servers).filter(|&server| alive(server)).collect();
    among(key, &live).map(|index| live[index])
}

/// Returns all servers: the one that holds `key` while all are alive, then the one that holds it without that, and so
/// on.
pub(crate) fn order(key: &[u8], servers: usize) -> Vec<usize> {
    let mut live: Vec<usize> = (0..servers).collect();
    let mut order = Vec::with_capacity(servers);
    while let Some(index) = among(key, &live) {
        order.push(live.remove(index));
    }
    order
}

fn among(key: &[u8], live: &[usize]) -> Option<usize> {
    (!live.is_empty()).then(|| remainder(key, live.len()))
}

/// Returns the bytes of `key`, as one big-endian number, modulo `divisor`.
fn remainder(key: &[u8], divisor: usize) -> usize {
    let divisor = divisor as u64;
    let rest = key.chunks(4).fold(0_u64, |rest, chunk| {
        // A list has fewer than 2^32 servers, so the remainder and four more bytes fit into 64 bits.
        let number = chunk.iter().fold(rest, |number, &byte| number << 8 | u64::from(byte));
        number % divisor
    });
    rest as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainder_agrees_with_division_of_the_whole_number() {
        let key = b"a key of 16 byte";
        let number = u128::from_be_bytes(*key);
        for divisor in [1, 2, 3, 5, 7, 64, 97, 1000, 65_537, u32::MAX as usize] {
            assert_eq!(remainder(key, divisor) as u128, number % divisor as u128);
        }
    }

    #[test]
    fn the_order_is_that_of_servers_dying_one_after_the_other() {
        for key in [&b"a"[..], b"Hello", b"key-7"] {
            let mut alive = [true; 7];
            for server in order(key, 7) {
                assert_eq!(locate(key, 7, |server| alive[server]), Some(server));
                alive[server] = false;
            }
        }
    }
}
