//! sccache; `[patch]` in the manifest replaces its memcached service.

fn main() {
    sccache::main();
}
