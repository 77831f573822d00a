//! The gem's own test suite; the names are those of its contexts and examples.

use super::*;

mod packet {
    use super::*;

    mod when_generating_a_request {
        use super::*;

        #[test]
        fn should_set_default_values() {
            assert_eq!(Header::request(Opcode::GET).magic.byte(), 0x80);
            assert_eq!(encoded(&Request::noop())[0], 0x80);
        }

        mod example_4_2_1 {
            use super::*;

            #[test]
            fn should_serialize_correctly() {
                let packet = b"\x80\0\0\x05\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\0\0\0\0\0Hello";
                assert_eq!(encoded(&Request::get("Hello")), &packet[..]);
            }
        }

        mod example_4_3_1_add {
            use super::*;

            #[test]
            fn should_serialize_correctly() {
                let request = Request::add("Hello", "World").flags(0xdead_beef).ttl(seconds(0xe10));
                let packet = b"\x80\x02\0\x05\x08\0\0\0\0\0\0\x12\0\0\0\0\0\0\0\0\0\0\0\0\
                    \xde\xad\xbe\xef\0\0\x0e\x10HelloWorld";
                assert_eq!(encoded(&request), &packet[..]);
            }
        }
    }

    mod when_parsing_a_response {
        use super::*;

        mod example_4_1_1 {
            use super::*;

            fn packet() -> Packet {
                parsed(b"\x81\0\0\0\0\0\0\x01\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0Not found").0
            }

            #[test]
            fn should_return_the_right_class_according_to_magic_and_opcode() {
                let header = packet().header;
                assert_eq!((header.magic, header.magic.byte(), header.opcode), (Magic::Response, 0x81, 0));
                assert_eq!(Opcode(header.opcode).operation(), Some(Operation::Get));
            }

            #[test]
            fn should_return_the_right_data_type() {
                assert_eq!(packet().header.data_type, 0);
            }

            #[test]
            fn should_return_the_right_status() {
                assert_eq!(packet().header.status(), Status::KeyNotFound);
            }

            #[test]
            fn should_return_the_right_opaque() {
                assert_eq!(packet().header.opaque, 0);
            }

            #[test]
            fn should_return_the_right_cas() {
                assert_eq!(packet().header.cas, 0);
            }

            #[test]
            fn should_parse_the_body_correctly() {
                let Packet { extras, key, value, .. } = packet();
                assert!(extras.is_empty() && key.is_empty());
                assert_eq!(value, "Not found");
            }
        }

        mod example_4_2_1 {
            use super::*;

            fn packet() -> Packet {
                parsed(b"\x81\0\0\0\x04\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\x01\xde\xad\xbe\xefWorld").0
            }

            #[test]
            fn should_return_the_right_class_according_to_magic_and_opcode() {
                let header = packet().header;
                assert_eq!((header.magic, header.magic.byte(), header.opcode), (Magic::Response, 0x81, 0));
                assert_eq!(Opcode(header.opcode).operation(), Some(Operation::Get));
            }

            #[test]
            fn should_return_the_right_data_type() {
                assert_eq!(packet().header.data_type, 0);
            }

            #[test]
            fn should_return_the_right_status() {
                assert_eq!(packet().header.status(), Status::NoError);
            }

            #[test]
            fn should_return_the_right_opaque() {
                assert_eq!(packet().header.opaque, 0);
            }

            #[test]
            fn should_return_the_right_cas() {
                assert_eq!(packet().header.cas, 1);
            }

            #[test]
            fn should_parse_the_body_correctly() {
                let Packet { extras, key, value, .. } = packet();
                assert_eq!(extras, &b"\xde\xad\xbe\xef"[..]);
                assert!(key.is_empty());
                assert_eq!(value, "World");
            }
        }

        mod parse_body {
            use super::*;

            #[test]
            fn should_return_succeeding_bytes() {
                let bytes = b"\x81\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01chunky bacon";
                let (packet, rest) = parsed(bytes);
                assert_eq!((packet.header.status(), packet.header.body_length), (Status::NoError, 0));
                assert!(packet.value.is_empty());
                assert_eq!(rest, "chunky bacon");
            }
        }
    }
}

mod client {
    use super::*;

    mod when_getting_stats {
        use super::*;

        #[tokio::test]
        async fn should_have_received_some_keys() {
            let server = Memcached::start(&[]);
            let stats = only_server(&client_of(&server)).stats("").collect().await.unwrap();
            for name in ["pid", "uptime", "time", "version", "curr_connections", "total_connections"] {
                assert!(stats.iter().any(|(known, value)| known == name && !value.is_empty()), "{name}");
            }
        }
    }
}

mod memcached {
    use super::*;

    mod when_doing_a_simple_operation {
        use super::*;

        /// Adds an item, and returns its CAS value.
        async fn added(suite: &Suite) -> u64 {
            suite.client.add("Hello", "World").await.unwrap().cas().unwrap()
        }

        #[tokio::test]
        async fn should_add_a_value() {
            let suite = Suite::start().await;
            let reply = suite.client.call(Request::add("Hello", "World")).await;
            assert_eq!(reply.status, Status::NoError);
            assert_ne!(reply.cas, 0);
        }

        #[tokio::test]
        async fn should_get_a_value() {
            let suite = Suite::start().await;
            let cas = added(&suite).await;
            let reply = suite.client.call(Request::get("Hello")).await;
            assert_eq!((reply.status, reply.cas), (Status::NoError, cas));
            assert_eq!(reply.text(), "World");
        }

        #[tokio::test]
        async fn should_set_a_value() {
            let suite = Suite::start().await;
            let old_cas = added(&suite).await;
            let reply = suite.client.call(Request::set("Hello", "Planet")).await;
            assert_eq!(reply.status, Status::NoError);
            assert!(reply.cas != 0 && reply.cas != old_cas);
        }

        #[tokio::test]
        async fn should_get_a_value_that_was_set() {
            let suite = Suite::start().await;
            let old_cas = added(&suite).await;
            suite.client.set("Hello", "Planet").await.unwrap();
            let reply = suite.client.call(Request::get("Hello")).await;
            assert_eq!(reply.status, Status::NoError);
            assert_eq!(reply.text(), "Planet");
            assert_ne!(reply.cas, old_cas);
        }

        #[tokio::test]
        async fn should_delete_a_value() {
            let suite = Suite::start().await;
            added(&suite).await;
            let reply = suite.client.call(Request::delete("Hello")).await;
            assert_eq!(reply.status, Status::NoError);
        }

        #[tokio::test]
        async fn should_not_get_a_value() {
            let suite = Suite::start().await;
            added(&suite).await;
            suite.client.delete("Hello").await.unwrap();
            let reply = suite.client.call(Request::get("Hello")).await;
            assert_eq!(reply.status, Status::KeyNotFound);
        }

        mod when_incrementing_a_counter_100_times {
            use super::*;

            const N: usize = 100;

            async fn counted(suite: &Suite) {
                suite.client.set("counter", "0").await.unwrap();
                let loops: Vec<_> = (0..N).map(|_| tokio::spawn(count(suite.client.clone()))).collect();
                for counted in loops {
                    counted.await.unwrap();
                }
            }

            /// Increments the counter by CAS, and retries on a conflict.
            async fn count(client: Client) {
                loop {
                    let item = client.get("counter").await.unwrap().unwrap();
                    let value: u64 = std::str::from_utf8(&item.value).unwrap().parse().unwrap();
                    match client.set("counter", (value + 1).to_string()).cas(item.cas).await.unwrap() {
                        WriteOutcome::Applied(_) => return,
                        change => assert_eq!(change, WriteOutcome::Exists),
                    }
                }
            }

            #[tokio::test]
            async fn should_initialize_the_counter() {
                let suite = Suite::start().await;
                let reply = suite.client.call(Request::set("counter", "0")).await;
                assert_eq!(reply.status, Status::NoError);
            }

            #[tokio::test]
            async fn should_count_100_times() {
                let suite = Suite::start().await;
                counted(&suite).await;
                let (mut sets, mut conflicts) = (0, 0);
                for server in &suite.client.servers()[1..3] {
                    sets += stat(server, "cas_hits").await;
                    conflicts += stat(server, "cas_badval").await;
                }
                assert!(sets == 100 && conflicts > 0, "{sets} sets, {conflicts} conflicts");
            }

            #[tokio::test]
            async fn should_have_counted_up_to_100() {
                let suite = Suite::start().await;
                counted(&suite).await;
                assert_eq!(suite.client.get("counter").await.unwrap().unwrap().value, "100");
            }
        }
    }

    mod when_using_multiple_servers {
        use super::*;

        fn place(key: &str, servers: usize) -> Option<usize> {
            let nodes = vec![remcache::distribution::Node::tcp("localhost", 11211); servers];
            Distribution::REMCACHED.ring(&nodes).unwrap().locate(key.as_bytes(), |_| true)
        }

        #[test]
        fn should_not_return_the_same_hash_for_the_succeeding_key() {
            for servers in 2..10 {
                assert_ne!(place("0", servers), place("1", servers));
            }
        }

        #[tokio::test]
        async fn should_not_return_the_same_client_for_the_succeeding_key() {
            let suite = Suite::start().await;
            let server = |key| suite.client.locate(key).unwrap().unwrap().name().to_owned();
            let servers = ["0", "1", "2"].map(server);
            assert_eq!(servers, ["0", "1", "2"].map(|key| suite.server_of(key)));
            assert!(servers[0] != servers[1] || servers[1] != servers[2]);
        }

        #[tokio::test]
        async fn should_spread_load() {
            const N: usize = 10_000;
            let suite = Suite::start().await;
            let sets: Vec<_> = (0..N)
                .map(|n| {
                    let client = suite.client.clone();
                    tokio::spawn(async move { client.set((n % 100).to_string(), n.to_string()).await })
                })
                .collect();
            for set in sets {
                assert!(set.await.unwrap().unwrap().is_applied());
            }
            let servers = suite.client.servers();
            let loads = [stat(&servers[1], "cmd_set").await, stat(&servers[2], "cmd_set").await];
            assert_eq!(loads.iter().sum::<u64>(), N as u64);
            assert!(loads.iter().all(|&load| load > N as u64 / 5), "{loads:?}");
        }
    }

    mod when_manipulating_multiple_records_at_once {
        use super::*;

        const N: usize = 10;

        fn key(n: usize) -> String {
            format!("test:item:{n}")
        }

        async fn add_every_second(suite: &Suite) -> Outcomes<String, WriteOutcome> {
            let items = (0..N).step_by(2).map(|n| (key(n), "Foo"));
            suite.client.add_many(items).ttl(seconds(20)).await
        }

        #[tokio::test]
        async fn should_add_some_items() {
            let suite = Suite::start().await;
            let added = add_every_second(&suite).await;
            assert_eq!((added.len(), added.applied().count()), (N / 2, N / 2));
        }

        #[tokio::test]
        async fn should_get_all_items() {
            let suite = Suite::start().await;
            let _ = add_every_second(&suite).await;
            let got = suite.client.get_many((0..N).map(key)).await;
            assert_eq!(got.len(), N);
            for (n, (_, item)) in got.iter().enumerate() {
                let value = item.unwrap().as_ref().map(|item| &item.value[..]);
                assert_eq!(value, (n % 2 == 0).then_some(&b"Foo"[..]), "{}", key(n));
            }
        }

        #[tokio::test]
        async fn should_delete_all_items() {
            let suite = Suite::start().await;
            let _ = add_every_second(&suite).await;
            let deleted = suite.client.delete_many((0..N).map(key)).await;
            for (n, (_, change)) in deleted.iter().enumerate() {
                let change = change.unwrap();
                assert!(if n % 2 == 0 { change.is_applied() } else { *change == WriteOutcome::NotFound }, "{}", key(n));
            }
            assert_eq!(suite.client.get_many((0..N).map(key)).await.missing().count(), N);
        }

        mod when_the_multi_operation_is_empty {
            use super::*;

            #[tokio::test]
            async fn should_return_immediately() {
                let client = Client::new([format!("127.0.0.1:{}", unused_port())]).unwrap();
                let mut added = Box::pin(client.add_many([("", ""); 0]).into_future());
                let polled = added.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(polled.is_ready());
                assert_eq!(only_server(&client).status().state, ConnectionState::Idle);
            }
        }
    }

    mod when_all_servers_are_away {
        use super::*;

        #[tokio::test]
        async fn should_answer_every_key_with_disconnected() {
            let Suite { client, mut first, mut second, .. } = Suite::start().await;
            first.kill();
            second.kill();
            wait_until("the servers are down", async || {
                let _ = client.noop().await;
                !client.is_usable()
            })
            .await;
            let got = client.get_many((0..10).map(|n| format!("test:item:{n}"))).await;
            assert_eq!(got.failed().count(), 10);
            for (_, error) in got.failed() {
                assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::NotSent));
            }
            let reply = client.call(Request::get("Hello")).await;
            assert_eq!((reply.status, reply.status.code()), (Status::Disconnected(Delivery::NotSent), 0xffff));
            assert!(client.locate("Hello").unwrap().is_none());
        }
    }
}
