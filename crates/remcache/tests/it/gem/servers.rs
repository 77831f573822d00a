//! Several servers: addresses, distribution, changes, reconnects, keepalive.

use super::*;

#[test]
fn server_addresses_may_omit_the_port() {
    let client = Client::new(["localhost", "localhost:11212", "cache.example:11213"]).unwrap();
    let names: Vec<String> = client.servers().iter().map(|server| server.name().to_owned()).collect();
    assert_eq!(names, ["localhost:11211", "localhost:11212", "cache.example:11213"]);
}

#[tokio::test]
async fn keys_are_distributed_over_connected_servers() {
    let mut suite = Suite::start().await;
    for n in 0..300 {
        let key = format!("key{n}");
        assert_eq!(suite.client.locate(&key).unwrap().unwrap().name(), suite.server_of(&key), "{key}");
        suite.client.set(&key, "v").await.unwrap();
        assert_eq!(text_query(&suite.server_of(&key), &format!("mg {key}")), "HD", "{key} is on its server");
    }
    suite.second.kill();
    wait_until("the server is down", async || {
        let [_, second, ..] = &suite.client.servers()[..] else { panic!("four servers") };
        second.noop().await.is_err()
    })
    .await;
    for n in 0..300 {
        let key = format!("key{n}");
        assert_eq!(suite.client.locate(&key).unwrap().unwrap().name(), suite.first.addr(), "{key}");
        assert!(suite.client.set(&key, "v").await.unwrap().is_applied(), "servers that are down are skipped");
    }
    assert!(suite.client.servers()[0].name() == suite.dead && suite.client.is_usable());
}

#[test]
fn ketama_is_implemented() {
    let client = Client::new(["10.0.1.1", "10.0.1.2", "10.0.1.3:11212"]).unwrap();
    let names = ["10.0.1.1:11211", "10.0.1.2:11211", "10.0.1.3:11212"];
    // The placement of libmemcached itself.
    for (n, server_of) in [1, 2, 0, 2, 2, 1, 1, 2, 2, 1].into_iter().enumerate() {
        let server = client.locate(format!("key-{n}")).unwrap().unwrap();
        assert_eq!(server.name(), names[server_of], "key-{n}");
    }
}

#[tokio::test]
async fn servers_can_be_replaced_at_runtime() {
    let (old, new) = (Memcached::start(&[]), Memcached::start(&[]));
    let (before, after) = (Proxy::start(old.addr()).await, Proxy::start(new.addr()).await);
    let client = Client::with_config([before.addr()], patient_config()).unwrap();
    assert_eq!(before.accepted(), 0, "connections are lazy");
    client.set("k", "old").await.unwrap();
    client.set_servers([after.addr()]).unwrap();
    assert_eq!((before.accepted(), after.accepted()), (1, 0));
    assert_eq!(client.get("k").await.unwrap(), None);
    client.set("k", "new").await.unwrap();
    assert_eq!((before.accepted(), after.accepted()), (1, 1));
    assert_eq!(text_query(&old.addr(), "mg k v"), "VA 3");
}

#[tokio::test]
async fn the_client_reports_what_is_usable() {
    let suite = Suite::start().await;
    let servers = suite.client.servers();
    let connected: Vec<_> = servers
        .iter()
        .filter(|server| server.status().state == ConnectionState::Connected)
        .map(|it| it.name())
        .collect();
    assert_eq!(connected, [suite.second.addr(), suite.first.addr(), suite.first.addr()]);
    assert!(matches!(&servers[0].status().state, ConnectionState::Down(reason) if reason.contains("refused")));
    assert!(suite.client.is_usable());
    assert!(suite.client.locate("Hello").unwrap().is_some());
}

#[tokio::test]
async fn a_lost_connection_is_reestablished() {
    let mut server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    server.kill();
    wait_until("the server is down", async || client.get("k").await.is_err()).await;
    assert!(!client.is_usable());
    server.restart();
    wait_until("the client reconnects by itself", async || client.is_usable()).await;
    assert_eq!(client.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn an_idle_connection_is_probed() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client_with_silence = |limit| {
        let config = patient_config().keepalive(Duration::from_millis(50), limit);
        Client::with_config([proxy.addr()], config).unwrap()
    };
    let client = client_with_silence(seconds(60));
    client.set("k", "v").await.unwrap();
    let before = proxy.passed(Direction::Requests);
    wait_until("no-ops are sent to the idle server", async || proxy.passed(Direction::Requests) >= before + 3 * 24)
        .await;
    assert_eq!((proxy.accepted(), only_server(&client).status().state), (1, ConnectionState::Connected));

    let client = client_with_silence(seconds(1));
    wait_until("the client connects", async || client.get("k").await.is_ok()).await;
    proxy.change(|rules| rules.replies.black_hole = true);
    wait_until("the unresponsive server is down", async || !client.is_usable()).await;
    assert!(matches!(only_server(&client).status().state, ConnectionState::Down(_)));
    proxy.change(|rules| rules.replies.black_hole = false);
}

#[test]
fn keepalive_has_the_defaults_of_the_gem() {
    let limits = Limits::default();
    assert_eq!((limits.keepalive_interval, limits.keepalive_timeout), (seconds(5), seconds(15)));
}
