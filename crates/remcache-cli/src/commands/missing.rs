//! Commands of features that this build does not have. They stay in the help, and name the feature when they are run.

/// Defines a command of a missing feature; its arguments are ignored.
macro_rules! missing {
    ($command:ident, $name:literal, $about:literal) => {
        pub(crate) mod $command {
            use std::ffi::OsString;

            use crate::exit::{Failure, Outcome};
            use crate::session::Session;

            #[doc = $about]
            #[derive(Debug, clap::Args)]
            pub(crate) struct Args {
                /// Ignored
                #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
                _ignored: Vec<OsString>,
            }

            pub(crate) async fn run(_: &Args, _: &Session) -> Outcome {
                Err(Failure::missing($name, $name))
            }
        }
    };
}

#[cfg(not(feature = "serve-metrics"))]
missing!(serve_metrics, "serve-metrics", "Serve the statistics over HTTP (not in this build)");
#[cfg(not(feature = "top"))]
missing!(top, "top", "Show a live view of the servers (not in this build)");
