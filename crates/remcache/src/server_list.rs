//! The server addresses that a client is created with.

/// Server addresses: one string, or anything that iterates over strings.
///
/// `M` is [`OneAddress`] or [`ManyAddresses`], and is always inferred.
///
/// ```
/// use remcache::Client;
///
/// let one = Client::new("cache1:11211")?;
/// let list = Client::new(["cache1", "cache2"])?;
/// let addresses = [([127, 0, 0, 1], 11211), ([127, 0, 0, 1], 11212)].map(std::net::SocketAddr::from);
/// let numeric = Client::new(addresses.iter().map(ToString::to_string))?;
/// assert_eq!([one, list, numeric].map(|client| client.servers().len()), [1, 2, 2]);
/// # Ok::<(), remcache::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a server address nor a list of addresses",
    label = "expected a string or a list of strings",
    note = "pass an address, `\"cache1:11211\"`, or a list, `[\"cache1:11211\", \"cache2:11211\"]`; convert addresses of other types with `.to_string()`"
)]
pub trait ServerList<M> {
    /// Returns the addresses in order.
    fn into_addresses(self) -> impl Iterator<Item: AsRef<str>>;
}

/// Marker for one address.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a marker without values")]
pub enum OneAddress {}

/// Marker for a list of addresses.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a marker without values")]
pub enum ManyAddresses {}

impl<S: AsRef<str>> ServerList<OneAddress> for S {
    fn into_addresses(self) -> impl Iterator<Item: AsRef<str>> {
        std::iter::once(self)
    }
}

impl<S: AsRef<str>, L: IntoIterator<Item = S>> ServerList<ManyAddresses> for L {
    fn into_addresses(self) -> impl Iterator<Item: AsRef<str>> {
        self.into_iter()
    }
}
