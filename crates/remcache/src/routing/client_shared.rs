//! The client-wide state apart from the servers: settings, budgets and the event channel.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::Sender;

use crate::config::Config;
use crate::health::events;
use crate::health::events::ServerEvent;
use crate::policy::{Budget, FollowUp, HedgeBudget};

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

    /// Returns whether a step is taken, and withdraws the retry tokens that it costs.
    pub(crate) fn allows(&self, follow_up: FollowUp) -> bool {
        match follow_up {
            FollowUp::No => false,
            FollowUp::Yes => true,
            FollowUp::IfBudget(failure) => self.budget.lock().unwrap_or_else(PoisonError::into_inner).take(failure),
        }
    }

    /// Records successful requests.
    pub(crate) fn succeeded(&self, count: usize) {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        (0..count).for_each(|_| budget.refill());
    }

    /// Records a read, which earns a part of a hedge.
    pub(crate) fn record_read(&self) {
        self.hedge_budget.lock().unwrap_or_else(PoisonError::into_inner).deposit();
    }

    /// Withdraws a hedge from the budget; returns `false` if it is exhausted.
    pub(crate) fn may_hedge(&self) -> bool {
        self.hedge_budget.lock().unwrap_or_else(PoisonError::into_inner).withdraw()
    }
}
