//! What all requests of a client share apart from its servers: settings, budgets and the event channel.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::Sender;

use crate::config::Config;
use crate::health::events;
use crate::health::events::ServerEvent;
use crate::policy::{Allowance, Budget, FailureKind};

/// What all requests of a client share.
#[derive(Debug)]
pub(crate) struct ClientShared {
    pub(crate) config: Arc<Config>,
    /// Whether a request may go to more than one server, or to one more than once.
    pub(crate) is_routed: bool,
    pub(crate) events: Sender<ServerEvent>,
    budget: Mutex<Budget>,
    allowance: Mutex<Allowance>,
}

impl ClientShared {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            is_routed: config.is_routed(),
            events: events::channel(),
            budget: Mutex::new(Budget::new(config.retries.budget)),
            allowance: Mutex::new(Allowance::new(config.hedge.map_or(0, |hedge| hedge.percent))),
            config: Arc::new(config),
        }
    }

    /// Whether the budget has a second attempt after such a trouble.
    pub(crate) fn may_go_on(&self, trouble: FailureKind) -> bool {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).take(trouble)
    }

    /// Records successful requests.
    pub(crate) fn succeeded(&self, count: usize) {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        (0..count).for_each(|_| budget.refill());
    }

    /// A read was asked that may be hedged.
    pub(crate) fn asked(&self) {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner).earn();
    }

    /// Whether it may be asked a second time.
    pub(crate) fn may_hedge(&self) -> bool {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner).spend()
    }
}
