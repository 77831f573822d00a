//! `cargo xtask interop`.
use remcache_interop::{PEERS, record};

fn main() -> anyhow::Result<()> {
    let mut all = Vec::new();
    for peer in PEERS.iter().filter(|p| !p.values.is_empty()) {
        let some = record(peer)?;
        eprintln!("{} {}", peer.name, some.len());
        all.extend(some.into_iter().filter(|it| it.bytes.len() <= 1400));
    }
    println!("[");
    for (n, it) in all.iter().enumerate() {
        println!("{}{}", serde_json::to_string(it)?, if n + 1 < all.len() { "," } else { "" });
    }
    println!("]");
    Ok(())
}
