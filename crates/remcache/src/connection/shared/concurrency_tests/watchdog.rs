//! The watchdog, for which time passes whenever the scheduler lets it go on.

use std::time::Duration;

use tokio::time::Instant;

use super::caller::PATIENCE;
use super::{Scene, pause, random};

impl Scene {
    /// Looks at the deadlines of the connection some time later.
    pub(super) fn watch(&self, due: std::time::Instant) {
        let link = std::sync::Arc::clone(&self.link);
        shuttle::future::spawn(async move {
            let mut random = random();
            let mut next = Some(due);
            while let Some(due) = next {
                pause(&mut random, 60).await;
                next = link.enforce_deadlines(due, Instant::now() + PATIENCE + Duration::from_millis(15));
            }
        });
    }
}
