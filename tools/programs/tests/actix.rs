//! actix-web: a runtime for each worker, and one client with the default settings for all of them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use remcache::{Client, Config};
use remcache_testkit::Memcached;

/// Time after which a call counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);
const WORKERS: usize = 4;

/// The state that the handlers share.
struct State {
    client: Client,
    /// Whether blocked handlers may continue.
    is_released: (Mutex<bool>, Condvar),
}

impl State {
    fn new(client: Client) -> Arc<Self> {
        Arc::new(Self { client, is_released: Default::default() })
    }

    fn wait_until_released(&self) {
        let (is_released, changed) = &self.is_released;
        drop(changed.wait_while(is_released.lock().unwrap(), |is_released| !*is_released).unwrap());
    }

    fn release(&self) {
        *self.is_released.0.lock().unwrap() = true;
        self.is_released.1.notify_all();
    }
}

/// Stores a key with itself as value, reads it back, and responds with the ID of the worker's thread.
async fn echo(key: web::Path<String>, state: web::Data<State>) -> HttpResponse {
    let key = key.into_inner();
    let stored = state.client.set(&key, key.clone()).await;
    match (stored, state.client.get(&key).await) {
        (Ok(_), Ok(Some(item))) if item.value == key => {
            HttpResponse::Ok().body(format!("{:?}", thread::current().id()))
        }
        (Ok(_), Ok(other)) => HttpResponse::InternalServerError().body(format!("{key}: {other:?}")),
        (Err(error), _) | (_, Err(error)) => HttpResponse::ServiceUnavailable().body(error.to_string()),
    }
}

/// Uses the client, and then blocks the worker.
async fn block(state: web::Data<State>) -> HttpResponse {
    let outcome = state.client.get("k").await;
    state.wait_until_released();
    HttpResponse::Ok().body(format!("{:?}", outcome.is_ok()))
}

/// A web server in a thread, stopped when this is dropped.
struct Web {
    address: SocketAddr,
    handle: ServerHandle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Web {
    fn start(state: &Arc<State>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let data = web::Data::from(Arc::clone(state));
        let (started, is_started) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            actix_web::rt::System::new().block_on(async {
                let app = move || {
                    App::new()
                        .app_data(data.clone())
                        .route("/echo/{key}", web::get().to(echo))
                        .route("/block", web::get().to(block))
                };
                let server = HttpServer::new(app).workers(WORKERS).disable_signals().listen(listener).unwrap().run();
                started.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        Self { address, handle: is_started.recv().unwrap(), thread: Some(thread) }
    }

    /// Returns the status and the body of the response to a key that is unique to a thread and a round.
    fn echo(&self, thread: usize, round: usize) -> (u16, String) {
        self.get(&format!("/echo/{thread}-{round}"), PATIENCE).expect("a response")
    }

    /// Returns the status and the body; `None` if there is no response in time.
    fn get(&self, path: &str, patience: Duration) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(patience)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut response = String::new();
        match stream.read_to_string(&mut response) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
            Err(error) => panic!("{error}"),
        }
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        Some((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let stopped = self.handle.stop(false);
        actix_web::rt::System::new().block_on(stopped);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn client_of(server: &Memcached, timeout: Duration) -> Client {
    let config = Config::new().timeout(timeout).reconnect_delay(Duration::from_millis(10), Duration::from_millis(100));
    Client::with_config([server.addr()], config).unwrap()
}

/// Calls fail only while the server is down, on any worker.
#[test]
fn four_workers_share_one_client() {
    let mut server = Memcached::start(&[]);
    let state = State::new(client_of(&server, Duration::from_secs(10)));
    let web = Web::start(&state);
    let workers: HashSet<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                scope.spawn({
                    let web = &web;
                    move || echo_successfully(web, thread)
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(workers.len() > 1, "{workers:?}");

    let is_finished = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..8 {
            let (web, is_finished) = (&web, &is_finished);
            scope.spawn(move || echo_until_finished(web, thread, is_finished));
        }
        interrupt_repeatedly(&mut server);
        is_finished.store(true, Ordering::Relaxed);
    });
    let start = Instant::now();
    while web.echo(0, 0).0 != 200 {
        assert!(start.elapsed() < PATIENCE, "it does not recover");
    }
}

/// Sends requests that must succeed, and returns the workers that responded.
fn echo_successfully(web: &Web, thread: usize) -> Vec<String> {
    let responses = (0..50).map(|round| web.echo(thread, round));
    responses.map(|(status, body)| if status == 200 { body } else { panic!("{status} {body}") }).collect()
}

/// Sends requests, which may fail while the server is down, and must all get a response.
fn echo_until_finished(web: &Web, thread: usize, is_finished: &AtomicBool) {
    for round in 0.. {
        let (status, body) = web.echo(thread, round);
        assert!(status == 200 || status == 503, "{status} {body}");
        if is_finished.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Stops, resumes and restarts a server several times.
fn interrupt_repeatedly(server: &mut Memcached) {
    for _ in 0..3 {
        server.stop();
        thread::sleep(Duration::from_millis(100));
        server.cont();
        thread::sleep(Duration::from_millis(50));
        server.restart();
        thread::sleep(Duration::from_millis(50));
    }
}

/// The worker that owns the connection is blocked: calls of the others fail for a moment, and then succeed.
#[test]
fn a_blocked_worker_does_not_hold_up_the_others() {
    let server = Memcached::start(&[]);
    let state = State::new(client_of(&server, Duration::from_millis(200)));
    let web = Web::start(&state);
    thread::scope(|scope| {
        let blocked = scope.spawn(|| web.get("/block", PATIENCE));
        let start = Instant::now();
        while state.client.servers()[0].metrics().open == 0 {
            assert!(start.elapsed() < PATIENCE, "the worker does not connect");
            thread::sleep(Duration::from_millis(5));
        }
        // Every fourth connection is the blocked worker's, and gets no reply.
        let responses = std::iter::repeat_with(|| web.get("/echo/k", Duration::from_secs(3))).flatten();
        let mut successes = 0;
        for (status, body) in responses {
            assert!(status == 200 || status == 503, "{status} {body}");
            assert!(start.elapsed() < PATIENCE, "{body}");
            successes += usize::from(status == 200);
            if successes == 8 {
                break;
            }
        }
        state.release();
        assert_eq!(blocked.join().unwrap().expect("a response").0, 200);
    });
}
