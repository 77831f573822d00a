//! The watchdog, whose clock advances whenever the scheduler lets it run.

use std::time::Duration;

use tokio::time::Instant;

use super::caller::TIMEOUT;
use super::{Scene, pause, random};

impl Scene {
    /// Enforces the connection's deadlines some steps later.
    pub(super) fn watch(&self, due: std::time::Instant) {
        let connection = std::sync::Arc::clone(&self.connection);
        shuttle::future::spawn(async move {
            let mut random = random();
            let mut next = Some(due);
            while let Some(due) = next {
                pause(&mut random, 60).await;
                next = connection.enforce_deadlines(due, Instant::now() + TIMEOUT + Duration::from_millis(15));
            }
        });
    }
}
