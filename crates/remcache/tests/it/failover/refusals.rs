//! A server that refuses our password is not down: its keys fail as `Auth`, and go nowhere else.

use remcache::config::{Credentials, ProtocolSetting};

use super::*;

/// A server that refuses the password, and one that asks for none.
fn servers() -> [Memcached; 2] {
    [Memcached::start_sasl(&[]), Memcached::start(&[])]
}

fn client(servers: &[Memcached], config: Config) -> Client {
    let wrong = Credentials::new("somebody", "else").optional();
    Client::with_config(servers.iter().map(Memcached::addr), config.credentials(wrong)).unwrap()
}

fn binary() -> Config {
    patient_config().protocol(ProtocolSetting::Binary)
}

#[tokio::test]
async fn the_keys_of_a_server_that_refuses_a_password_go_nowhere_else() {
    let servers = servers();
    let gutter = Memcached::start(&[]);
    for failover in [Failover::next(), Failover::gutter([gutter.addr()])] {
        let client = client(&servers, binary().failover(failover).retries(Retries::up_to(3)));
        let (home, other) = (servers[0].addr(), servers[1].addr());
        let (key, fine) = (key_of(&client, &home), key_of(&client, &other));
        // Before the refusal is known, and when it is.
        for _ in 0..2 {
            let error = client.set(&key, "v").await.unwrap_err();
            assert_eq!((error.kind(), error.server()), (ErrorKind::Auth, Some(&*home)), "{error}");
            assert_eq!(client.get(&key).await.unwrap_err().kind(), ErrorKind::Auth);
            assert_eq!(client.delete(&key).await.unwrap_err().kind(), ErrorKind::Auth);
            let many = client.set_many([(&key, "v"), (&fine, "v")]).await;
            assert_eq!(many.get(&key).unwrap().as_ref().unwrap_err().kind(), ErrorKind::Auth);
            assert!(many.get(&fine).unwrap().is_ok(), "the other server's keys are none of it");
            assert_eq!(client.get_many([&key]).await.get(&key).unwrap().as_ref().unwrap_err().kind(), ErrorKind::Auth);
        }
        for elsewhere in [&other, &gutter.addr()] {
            assert_eq!(flags_and_ttl(elsewhere, &key), None, "nothing was stored at {elsewhere}");
        }
    }
}

#[tokio::test]
async fn a_copy_that_refuses_a_password_is_told_of_and_not_read_around() {
    let servers = servers();
    let client = client(&servers, binary().replicas(2));
    let (home, other) = (servers[0].addr(), servers[1].addr());
    let (key, fine) = (key_of(&client, &home), key_of(&client, &other));
    assert!(client.set(&key, "v").await.unwrap().is_applied(), "a set is made where one copy has it");
    assert_eq!(client.get(&key).await.unwrap_err().kind(), ErrorKind::Auth, "its first copy was not asked");
    assert_eq!(client.delete(&key).await.unwrap_err().kind(), ErrorKind::Auth, "one copy may be left");
    client.set(&fine, "v").await.unwrap();
    assert_eq!(client.get(&fine).await.unwrap().unwrap().value, "v");
}
