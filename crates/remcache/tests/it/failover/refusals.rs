//! A server that refuses the password is not down: calls for its keys fail as `Auth` and do not fail over.

use remcache::config::{Credentials, ProtocolSetting};

use super::*;

/// Starts a server that refuses the password, and one that requires none.
fn servers() -> [Memcached; 2] {
    [Memcached::start_sasl(&[]), Memcached::start(&[])]
}

fn client(servers: &[Memcached], config: Config) -> Client {
    let wrong = Credentials::new("wrong", "password").optional();
    Client::with_config(servers.iter().map(Memcached::addr), config.credentials(wrong)).unwrap()
}

fn binary() -> Config {
    patient_config().protocol(ProtocolSetting::Binary)
}

#[tokio::test]
async fn keys_of_a_server_that_refuses_the_password_do_not_fail_over() {
    let servers = servers();
    let gutter = Memcached::start(&[]);
    for failover in [Failover::next(), Failover::gutter([gutter.addr()])] {
        let client = client(&servers, binary().failover(failover).retries(Retries::up_to(3)));
        let (primary, other) = (servers[0].addr(), servers[1].addr());
        let (key, other_key) = (key_of(&client, &primary), key_of(&client, &other));
        // Before the refusal is known, and when it is.
        for _ in 0..2 {
            let error = client.set(&key, "v").await.unwrap_err();
            assert_eq!((error.kind(), error.server()), (ErrorKind::Auth, Some(&*primary)), "{error}");
            assert_eq!(client.get(&key).await.unwrap_err().kind(), ErrorKind::Auth);
            assert_eq!(client.delete(&key).await.unwrap_err().kind(), ErrorKind::Auth);
            let many = client.set_many([(&key, "v"), (&other_key, "v")]).await;
            assert_eq!(many.get(&key).unwrap().as_ref().unwrap_err().kind(), ErrorKind::Auth);
            assert!(many.get(&other_key).unwrap().is_ok(), "keys of the other server are unaffected");
            assert_eq!(client.get_many([&key]).await.get(&key).unwrap().as_ref().unwrap_err().kind(), ErrorKind::Auth);
        }
        for other_server in [&other, &gutter.addr()] {
            assert_eq!(flags_and_ttl(other_server, &key), None, "nothing was stored on {other_server}");
        }
    }
}

#[tokio::test]
async fn a_replica_that_refuses_the_password_is_reported_and_not_skipped() {
    let servers = servers();
    let client = client(&servers, binary().replicas(2));
    let (primary, other) = (servers[0].addr(), servers[1].addr());
    let (key, other_key) = (key_of(&client, &primary), key_of(&client, &other));
    assert!(client.set(&key, "v").await.unwrap().is_applied(), "a set succeeds if one replica stores it");
    assert_eq!(client.get(&key).await.unwrap_err().kind(), ErrorKind::Auth, "the primary refused the get");
    assert_eq!(client.delete(&key).await.unwrap_err().kind(), ErrorKind::Auth, "one replica may remain");
    client.set(&other_key, "v").await.unwrap();
    assert_eq!(client.get(&other_key).await.unwrap().unwrap().value, "v");
}
