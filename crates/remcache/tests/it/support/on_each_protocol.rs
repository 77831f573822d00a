//! The same test on each protocol.

/// Makes of a function that takes a [`Speech`](crate::support::Speech) a test for each of them:
/// `name::binary`, `name::meta`, `name::meta_one_by_one`, `name::text`.
macro_rules! on_each_protocol {
    (#[$attribute:meta] $($name:ident)+) => {$(
        mod $name {
            use crate::support::Speech;

            #[$attribute]
            async fn binary() {
                super::$name(Speech::Binary).await;
            }

            #[$attribute]
            async fn meta() {
                super::$name(Speech::Meta).await;
            }

            #[$attribute]
            async fn meta_one_by_one() {
                super::$name(Speech::MetaOneByOne).await;
            }

            #[$attribute]
            async fn text() {
                super::$name(Speech::Text).await;
            }
        }
    )+};
}
pub(crate) use on_each_protocol;
