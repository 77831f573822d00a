//! Retries and their budget.

use super::*;

/// A server that answers no-ops, and counts gets but never answers them.
struct GetCounter {
    address: String,
    gets: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OnGet {
    Ignore,
    Disconnect,
}

impl GetCounter {
    fn start(on_get: OnGet) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let gets = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&gets);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || serve(stream, on_get, &counter));
            }
        });
        Self { address, gets }
    }
}

fn serve(mut stream: TcpStream, on_get: OnGet, gets: &AtomicUsize) {
    let mut header = [0; 24];
    while stream.read_exact(&mut header).is_ok() {
        let mut body = vec![0; u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let is_get = header[1] == 0;
        gets.fetch_add(usize::from(is_get), Ordering::Relaxed);
        match (is_get, on_get) {
            (true, OnGet::Disconnect) => return,
            (true, OnGet::Ignore) => {}
            (false, _) => {
                header[0] = 0x81;
                let _ = stream.write_all(&header);
            }
        }
    }
}

async fn expect_gets_to_fail(client: &Client, count: usize) {
    let mut gets = JoinSet::new();
    for _ in 0..count {
        let client = client.clone();
        gets.spawn(async move { client.call(Request::get("k")).await.is_ok() });
    }
    assert!(gets.join_all().await.iter().all(|is_ok| !is_ok));
}

/// A full bucket of 500 tokens allows 50 retries after timeouts.
#[tokio::test]
async fn in_an_outage_the_budget_limits_retries_after_timeouts() {
    let server = GetCounter::start(OnGet::Ignore);
    let retries = Retries::up_to(3).attempt_timeout(millis(1_000));
    let config =
        Config::new().protocol(ProtocolSetting::Binary).timeout(Duration::from_secs(60)).breaker(0).retries(retries);
    let client = Client::with_config([&server.address], config).unwrap();
    expect_gets_to_fail(&client, 200).await;
    let sent = || server.gets.load(Ordering::Relaxed);
    wait_until("the server has read all attempts", async || sent() >= 250).await;
    expect_gets_to_fail(&client, 20).await;
    wait_until("the server has read all attempts", async || sent() >= 270).await;
    assert_eq!(sent(), 270, "200 first attempts, 50 retries, and 20 first attempts with an empty bucket");
}

/// A full bucket of 500 tokens allows 100 retries after other failures.
#[tokio::test]
async fn in_an_outage_the_budget_limits_retries_after_disconnects() {
    let server = GetCounter::start(OnGet::Disconnect);
    let config = patient_config()
        .protocol(ProtocolSetting::Binary)
        .retries(Retries::up_to(1))
        .reconnect_delay(millis(1), millis(2));
    let client = Client::with_config([&server.address], config).unwrap();
    let mut calls = 0;
    while calls < 1_000 && server.gets.load(Ordering::Relaxed) < calls + 100 {
        wait_until("the server is up", async || client.is_usable()).await;
        assert!(!client.call(Request::get("k")).await.is_ok());
        calls += 1;
    }
    let sent = server.gets.load(Ordering::Relaxed);
    assert!(sent > calls && sent <= calls + 100, "{sent} attempts for {calls} gets");
    for _ in 0..20 {
        wait_until("the server is up", async || client.is_usable()).await;
        assert!(!client.call(Request::get("k")).await.is_ok());
    }
    assert!(server.gets.load(Ordering::Relaxed) <= calls + 20 + 100);
}

#[tokio::test]
async fn a_get_is_retried_after_a_disconnect_and_an_increment_is_not() {
    let servers = embedded(1).await;
    let retries = Retries::up_to(1);
    let config = patient_config().retries(retries).reconnect_delay(millis(1), millis(5));
    let client = client_of(&servers, config);
    client.set("k", "v").await.unwrap();
    client.set("n", "0").await.unwrap();
    let corrupt_reply = || servers[0].inject(Fault::Garbage { seed: 7 }.on_reply(1));
    for _ in 0..20 {
        corrupt_reply();
        assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
    }
    let mut maybe_executed = 0;
    for _ in 0..20 {
        wait_until("the server is up", async || client.is_usable()).await;
        corrupt_reply();
        let error = client.increment("n", 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::MaybeSent));
        maybe_executed += 1;
    }
    wait_until("the server is up", async || client.is_usable()).await;
    let count = client.get("n").await.unwrap().unwrap().value;
    assert_eq!(count, maybe_executed.to_string(), "each was executed once");
    corrupt_reply();
    assert!(client.set("k", "w").await.is_err(), "retries of sets are not enabled");
}
