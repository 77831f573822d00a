//! The client-wide state besides the servers: settings, budgets and the event channel.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::Sender;

use crate::config::Config;
use crate::health::events;
use crate::health::events::ServerEvent;
use crate::policy::{Budget, FailureKind, HedgeBudget};

/// The state that all requests of a client share.
#[derive(Debug)]
pub(crate) struct ClientShared {
    pub(crate) config: Arc<Config>,
    /// Whether a request may be sent to several servers, or repeatedly to one.
    pub(crate) is_routed: bool,
    pub(crate) events: Sender<ServerEvent>,
    budget: Mutex<Budget>,
    hedge_budget: Mutex<HedgeBudget>,
}

impl ClientShared {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            is_routed: config.is_routed(),
            events: events::channel(),
            budget: Mutex::new(Budget::new(config.retries.budget)),
            hedge_budget: Mutex::new(HedgeBudget::new(config.hedge.map_or(0, |hedge| hedge.percent))),
            config: Arc::new(config),
        }
    }

    /// Withdraws the tokens of a retry after this kind of failure; returns `false` if the budget is exhausted.
    pub(crate) fn take_retry(&self, kind: FailureKind) -> bool {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).take(kind)
    }

    /// Records successful requests.
    pub(crate) fn succeeded(&self, count: usize) {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        (0..count).for_each(|_| budget.refill());
    }

    /// Records a read, which earns a part of a hedge.
    pub(crate) fn record_read(&self) {
        self.hedge_budget.lock().unwrap_or_else(PoisonError::into_inner).earn();
    }

    /// Withdraws a hedge from the budget; returns `false` if it is exhausted.
    pub(crate) fn may_hedge(&self) -> bool {
        self.hedge_budget.lock().unwrap_or_else(PoisonError::into_inner).spend()
    }
}
