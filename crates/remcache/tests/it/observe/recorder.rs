//! An observer that records the reports.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use remcache::observe::{
    ActiveExchange, ActiveOperation, ConnectionChanged, ExchangeFinished, ExchangeStarted, Observer, OperationFinished,
    OperationName, OperationStarted, Outcome,
};
use remcache::{Client, Config};

/// The report of the end of an operation.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) operation: OperationName,
    pub(crate) outcome: Outcome,
    pub(crate) server: Option<String>,
    pub(crate) keys: usize,
    pub(crate) counts: (usize, usize, usize),
    pub(crate) bytes: (u64, u64),
    pub(crate) attempts: u32,
    pub(crate) extra: (u32, u32, u32),
    pub(crate) has_peer: bool,
}

/// An exchange: its server, number of keys and outcome.
type Exchange = (String, usize, &'static str);

/// Records the reports.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    started: AtomicUsize,
    ended: Mutex<Vec<Ended>>,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
    connections: Mutex<Vec<String>>,
}

/// Returns a client of these servers, and what it reports.
pub(crate) fn observed(servers: &[String], config: Config) -> (Client, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    (Client::with_config(servers, config.observer(Arc::clone(&recorder))).unwrap(), recorder)
}

impl Recorder {
    pub(crate) fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    /// Returns the ends since the last call.
    pub(crate) fn take(&self) -> Vec<Ended> {
        std::mem::take(&mut self.ended.lock().unwrap())
    }

    /// Asserts that one operation has ended since the last call, and returns its report.
    #[track_caller]
    pub(crate) fn ended_as(&self, operation: OperationName, outcome: Outcome) -> Ended {
        let ended = self.only();
        assert_eq!((ended.operation, ended.outcome), (operation, outcome), "{ended:?}");
        ended
    }

    /// Returns the only end since the last call.
    #[track_caller]
    pub(crate) fn only(&self) -> Ended {
        let ended = self.take();
        assert_eq!(ended.len(), 1, "{ended:?}");
        ended.into_iter().next().unwrap()
    }

    /// Returns the exchanges since the last call.
    pub(crate) fn take_exchanges(&self) -> Vec<Exchange> {
        std::mem::take(&mut self.exchanges.lock().unwrap())
    }

    /// Returns the names of the states that connections were in.
    pub(crate) fn connections(&self) -> Vec<String> {
        self.connections.lock().unwrap().clone()
    }
}

struct Active(Arc<Mutex<Vec<Exchange>>>);

impl ActiveOperation for Active {
    fn exchange_started(&self, _: &ExchangeStarted<'_>) -> Option<Box<dyn ActiveExchange>> {
        Some(Box::new(Self(Arc::clone(&self.0))))
    }
}

impl ActiveExchange for Active {
    fn finished(&self, exchange: &ExchangeFinished<'_>) {
        let ended = (exchange.server.name().to_owned(), exchange.keys, exchange.outcome.label());
        self.0.lock().unwrap().push(ended);
    }
}

impl Observer for Recorder {
    fn operation_started(&self, _: &OperationStarted<'_>) -> Option<Box<dyn ActiveOperation>> {
        self.started.fetch_add(1, Ordering::SeqCst);
        Some(Box::new(Active(Arc::clone(&self.exchanges))))
    }

    fn operation_finished(&self, ended: &OperationFinished<'_>) {
        assert!(ended.queued <= ended.duration && ended.connecting <= ended.duration);
        self.ended.lock().unwrap().push(Ended {
            operation: ended.operation,
            outcome: ended.outcome,
            server: ended.server.map(|server| server.name().to_owned()),
            keys: ended.keys,
            counts: (ended.hits, ended.misses, ended.failed),
            bytes: (ended.bytes_in, ended.bytes_out),
            attempts: ended.attempts,
            extra: (ended.retries, ended.hedges, ended.failovers),
            has_peer: ended.peer.is_some(),
        });
    }

    fn connection_changed(&self, change: &ConnectionChanged<'_>) {
        let text = format!("{:?}", change.after);
        self.connections.lock().unwrap().push(text.split('(').next().unwrap_or_default().to_owned());
    }
}
