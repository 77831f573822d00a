//! Tests that run in every protocol mode.

/// Generates a test for each [`ProtocolMode`](crate::support::ProtocolMode) from a function that takes the mode:
/// `name::binary`, `name::meta`, `name::meta_unbatched`, `name::text`.
macro_rules! protocol_mode_tests {
    (#[$attribute:meta] $($name:ident)+) => {$(
        mod $name {
            use crate::support::ProtocolMode;

            #[$attribute]
            async fn binary() {
                super::$name(ProtocolMode::Binary).await;
            }

            #[$attribute]
            async fn meta() {
                super::$name(ProtocolMode::Meta).await;
            }

            #[$attribute]
            async fn meta_unbatched() {
                super::$name(ProtocolMode::MetaUnbatched).await;
            }

            #[$attribute]
            async fn text() {
                super::$name(ProtocolMode::Text).await;
            }
        }
    )+};
}
pub(crate) use protocol_mode_tests;
