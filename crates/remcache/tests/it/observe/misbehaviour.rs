//! Observers that panic or block: no reply is lost, and the client continues to work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use remcache::observe::{
    ActiveExchange, ActiveOperation, ConnectionChanged, ExchangeFinished, ExchangeStarted, Observer, OperationFinished,
    OperationStarted, ServerChanged,
};
use remcache_server::{Close, Fault, Server};
use tokio::task::JoinSet;

use super::recorder::observed;
use crate::support::{patient_config, wait_until};

/// A method of an observer, or the drop of what it keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    OperationStarted,
    ExchangeStarted,
    ExchangeFinished,
    ExchangeDropped,
    ActiveFinished,
    ActiveDropped,
    OperationFinished,
    ConnectionChanged,
    ServerChanged,
}

const METHODS: [Method; 9] = [
    Method::OperationStarted,
    Method::ExchangeStarted,
    Method::ExchangeFinished,
    Method::ExchangeDropped,
    Method::ActiveFinished,
    Method::ActiveDropped,
    Method::OperationFinished,
    Method::ConnectionChanged,
    Method::ServerChanged,
];

/// Panics or blocks in one method, and counts how often.
#[derive(Clone)]
struct Misbehaving {
    method: Method,
    act: fn(),
    acted: Arc<AtomicUsize>,
}

impl Misbehaving {
    fn on_method(&self, method: Method) {
        if method == self.method {
            self.acted.fetch_add(1, Ordering::SeqCst);
            (self.act)();
        }
    }
}

impl Observer for Misbehaving {
    fn operation_started(&self, _: &OperationStarted<'_>) -> Option<Box<dyn ActiveOperation>> {
        self.on_method(Method::OperationStarted);
        Some(Box::new(Operation(self.clone())))
    }

    fn operation_finished(&self, _: &OperationFinished<'_>) {
        self.on_method(Method::OperationFinished);
    }

    fn connection_changed(&self, _: &ConnectionChanged<'_>) {
        self.on_method(Method::ConnectionChanged);
    }

    fn server_changed(&self, _: &ServerChanged<'_>) {
        self.on_method(Method::ServerChanged);
    }
}

struct Operation(Misbehaving);

impl ActiveOperation for Operation {
    fn exchange_started(&self, _: &ExchangeStarted<'_>) -> Option<Box<dyn ActiveExchange>> {
        self.0.on_method(Method::ExchangeStarted);
        Some(Box::new(Exchange(self.0.clone())))
    }

    fn finished(&self, _: &OperationFinished<'_>) {
        self.0.on_method(Method::ActiveFinished);
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.0.on_method(Method::ActiveDropped);
    }
}

struct Exchange(Misbehaving);

impl ActiveExchange for Exchange {
    fn finished(&self, _: &ExchangeFinished<'_>) {
        self.0.on_method(Method::ExchangeFinished);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.on_method(Method::ExchangeDropped);
    }
}

const CALLERS: usize = 8;

/// Runs operations with an observer that misbehaves in one method; another observer receives all reports.
async fn check(method: Method, act: fn()) {
    let servers = [Server::start().await.unwrap(), Server::start().await.unwrap()];
    let acted = Arc::new(AtomicUsize::new(0));
    let observer = Misbehaving { method, act, acted: Arc::clone(&acted) };
    let names = servers.each_ref().map(Server::address);
    let (client, recorder) = observed(&names, patient_config().breaker(0).observer(observer));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let client = client.clone();
        callers.spawn(async move {
            let key = |number| format!("{caller}-{number}");
            client.set(key(1), key(1)).await.unwrap();
            assert_eq!(client.get(key(1)).await.unwrap().unwrap().value, key(1));
            let keys: Vec<_> = (0..20).map(key).collect();
            assert_eq!(client.get_many(&keys).await.found().count(), 1);
            let pending = client.get(key(2));
            drop(tokio::time::timeout(Duration::ZERO, pending).await);
        });
    }
    callers.join_all().await;
    assert_eq!(recorder.take().len(), 4 * CALLERS, "{method:?}: the other observer receives all reports");

    servers.iter().for_each(|server| server.inject(Fault::Disconnect { after: 0, close: Close::Fin }.on_reply(1)));
    for caller in 0..CALLERS {
        // The first requests fail with their connections.
        let key = format!("{caller}-1");
        wait_until("the client has reconnected", async || match client.get(&key).await {
            Ok(item) => item.unwrap().value == key,
            Err(error) => {
                assert!(error.is_unavailable(), "{error:?}");
                false
            }
        })
        .await;
    }
    client.close().await;
    assert!(acted.load(Ordering::SeqCst) > 0, "{method:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_that_panics_loses_no_reply() {
    for method in METHODS {
        check(method, || panic!("an observer")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_that_blocks_loses_no_reply() {
    for method in METHODS {
        check(method, || std::thread::sleep(Duration::from_millis(5))).await;
    }
}
