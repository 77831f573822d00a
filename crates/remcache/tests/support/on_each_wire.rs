//! The same test on each wire.

/// Makes of a function that takes a wire a test for each of them: `name::binary`, `name::meta`,
/// `name::text`.
macro_rules! on_each_wire {
    (#[$attribute:meta] $($name:ident)+) => {$(
        mod $name {
            use remcache::proto::Wire;

            #[$attribute]
            async fn binary() {
                super::$name(Wire::Binary).await;
            }

            #[$attribute]
            async fn meta() {
                super::$name(Wire::Meta).await;
            }

            #[$attribute]
            async fn text() {
                super::$name(Wire::Text).await;
            }
        }
    )+};
}
pub(crate) use on_each_wire;
