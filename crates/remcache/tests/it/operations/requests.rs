//! Low-level requests: statuses, fields, quiet requests, callbacks, streams, namespaces.

use super::*;

#[tokio::test]
async fn a_call_returns_every_server_status_as_data() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("text", "v").await.unwrap();
    client.set("number", "5").await.unwrap();
    let cases = [
        (Request::get("text"), Status::NoError),
        (Request::get("absent"), Status::KeyNotFound),
        (Request::add("text", "w"), Status::KeyExists),
        (Request::replace("absent", "w"), Status::KeyNotFound),
        (Request::set("text", "w").cas(u64::MAX), Status::KeyExists),
        (Request::set("text", vec![0; 1 << 20]), Status::ValueTooLarge),
        (Request::append("absent", "w"), Status::ItemNotStored),
        (Request::set("text", "w"), Status::NoError),
        (Request::increment("text", 1), Status::NonNumericValue),
        (Request::increment("number", 1), Status::NoError),
        (Request::increment("absent", 1), Status::KeyNotFound),
        (Request::touch("absent", seconds(1)), Status::KeyNotFound),
        (Request::delete("absent"), Status::KeyNotFound),
        (Request::get(""), Status::InvalidKey),
        (Request::version(), Status::NoError),
        (Request::noop(), Status::NoError),
        (Request::flush(), Status::NoError),
    ];
    for (request, status) in cases {
        let shown = format!("{request:?}");
        assert_eq!(client.call(request).await.status, status, "{shown}");
    }
}

#[tokio::test]
async fn a_call_returns_every_field_of_the_reply() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let stored = client.call(Request::set("k", "v").flags(7)).await;
    assert!(stored.is_ok() && stored.cas != 0);
    let reply = client.call(Request::get("k").with_key()).await;
    assert_eq!((reply.flags, reply.cas, reply.number), (7, stored.cas, None));
    assert_eq!((&reply.key[..], &reply.value[..]), (&b"k"[..], &b"v"[..]));
    let reply = client.call(Request::get_and_touch("k", seconds(60)).with_key()).await;
    assert_eq!((&reply.key[..], &reply.value[..]), (&b"k"[..], &b"v"[..]));
    assert_eq!(client.call(Request::touch("k", seconds(60))).await.flags, 7);
    let counted = client.call(Request::increment("n", 2).initial(40)).await;
    assert_eq!((counted.number, counted.value.len()), (Some(40), 0));
    assert_eq!(client.call(Request::increment("n", 2)).await.number, Some(42));
    let miss = client.call(Request::get("absent").with_key()).await;
    assert_eq!((miss.status, &miss.key[..]), (Status::KeyNotFound, &b"absent"[..]));
}

/// Single quiet requests on a connection, confirmed by a no-op.
#[tokio::test]
async fn a_quiet_request_has_a_result() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let cases = [
        (Request::get("k"), Status::KeyNotFound),
        (Request::get("k").with_key(), Status::KeyNotFound),
        (Request::set("k", "1"), Status::NoError),
        (Request::get("k"), Status::NoError),
        (Request::get("k").with_key(), Status::NoError),
        (Request::add("k", "1"), Status::KeyExists),
        (Request::add("new", "1"), Status::NoError),
        (Request::replace("k", "2"), Status::NoError),
        (Request::replace("absent", "2"), Status::KeyNotFound),
        (Request::append("k", "3"), Status::NoError),
        (Request::append("absent", "3"), Status::ItemNotStored),
        (Request::prepend("k", "1"), Status::NoError),
        (Request::prepend("absent", "1"), Status::ItemNotStored),
        (Request::increment("k", 1), Status::NoError),
        (Request::increment("absent", 1), Status::KeyNotFound),
        (Request::decrement("k", 1), Status::NoError),
        (Request::set("k", "x").cas(u64::MAX), Status::KeyExists),
        (Request::get_and_touch("k", seconds(60)), Status::NoError),
        (Request::get_and_touch("absent", seconds(60)), Status::KeyNotFound),
        (Request::touch("k", seconds(60)), Status::NoError),
        (Request::delete("new"), Status::NoError),
        (Request::delete("new"), Status::KeyNotFound),
        (Request::flush(), Status::NoError),
        (Request::get("k"), Status::KeyNotFound),
        (Request::version(), Status::NoError),
        (Request::noop(), Status::NoError),
    ];
    for (place, (request, status)) in cases.into_iter().enumerate() {
        let shown = format!("{place}: {request:?}");
        assert_eq!(client.call(request.quiet()).await.status, status, "{shown}");
    }
    assert_eq!(only_server(&client).in_flight(), 0);
}

#[tokio::test]
async fn quiet_and_non_quiet_requests_are_answered_together() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let _ = client.set_many((0..50).map(|n| (format!("k{n}"), format!("v{n}")))).await;
    let calls = (0..100).map(|n| {
        let client = client.clone();
        tokio::spawn(async move {
            let request = Request::get(format!("k{n}"));
            let request = if n % 3 == 0 { request } else { request.quiet() };
            (n, client.call(request).await)
        })
    });
    for call in calls.collect::<Vec<_>>() {
        let (n, reply) = call.await.unwrap();
        match n < 50 {
            true => assert_eq!(reply.text(), format!("v{n}")),
            false => assert_eq!(reply.status, Status::KeyNotFound, "k{n}"),
        }
    }
}

#[tokio::test]
async fn a_callback_receives_one_reply_or_many() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    let (sender, mut replies) = mpsc::unbounded_channel();
    client.call_with(Request::get("k"), move |reply| {
        sender.send(reply).unwrap();
        ControlFlow::Continue(())
    });
    assert_eq!(replies.recv().await.unwrap().text(), "v");
    assert!(replies.recv().await.is_none(), "one reply, one call");

    let (sender, mut replies) = mpsc::unbounded_channel();
    client.call_with(Request::stat("settings"), move |reply: Reply| {
        let end = reply.key.is_empty();
        sender.send(reply).unwrap();
        if end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let mut names = 0;
    while let Some(reply) = replies.recv().await {
        assert_eq!(reply.status, Status::NoError);
        names += usize::from(!reply.key.is_empty());
    }
    assert!(names > 50, "{names} settings");

    let (sender, mut replies) = mpsc::unbounded_channel();
    client.call_with(Request::stat(""), move |reply| {
        sender.send(reply).unwrap();
        ControlFlow::Break(())
    });
    assert!(replies.recv().await.is_some());
    assert!(replies.recv().await.is_none(), "no call after Break");
}

#[tokio::test]
async fn a_panicking_callback_affects_no_other_request() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    client.call_with(Request::get("k"), |_| panic!("on purpose"));
    assert!(client.get("k").await.unwrap().is_some());
    assert!(client.get("k").await.unwrap().is_some());
    wait_until("nothing is in flight", async || only_server(&client).in_flight() == 0).await;
}

#[tokio::test]
async fn a_request_without_reply_is_executed_without_waiting() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    assert!(client.send_no_reply(Request::set("k", "v")));
    assert!(client.send_no_reply(Request::append("k", "w").quiet()));
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "vw");
    assert!(client.send_no_reply(Request::delete("k")));
    assert_eq!(client.get("k").await.unwrap(), None);
    assert!(!client.send_no_reply(Request::get("")), "an invalid request is not queued");
    assert_eq!((only_server(&client).in_flight(), only_server(&client).waiting()), (0, 0));
}

#[tokio::test]
async fn replies_can_be_read_as_a_stream() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let mut replies = client.replies(Request::get("absent"));
    assert_eq!(replies.next().await.unwrap().status, Status::KeyNotFound);
    assert!(replies.next().await.is_none());
    assert!(replies.next().await.is_none(), "an ended stream stays ended");

    let mut replies = client.replies(Request::stat("items"));
    let end = replies.next().await.unwrap();
    assert!(end.is_ok() && end.key.is_empty(), "an empty cache has no items: only the end");
    assert!(replies.next().await.is_none());
}

#[tokio::test]
async fn requests_that_would_harm_other_callers_are_refused() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let before = stat(&only_server(&client), "total_connections").await;
    for (request, hint) in [
        (Request::quit(), "Client::close"),
        (Request::sasl_list(), "shared"),
        (Request::sasl_auth("PLAIN", "\0user\0password"), "shared"),
        (Request::sasl_step("PLAIN", ""), "shared"),
    ] {
        let reply = client.call(request.clone()).await;
        assert_eq!(reply.status, Status::InvalidArguments);
        assert!(reply.text().contains(hint), "{}", reply.text());
        assert!(!client.send_no_reply(request.clone()));
        let mut replies = client.replies(request);
        assert_eq!(replies.next().await.unwrap().status, Status::InvalidArguments);
        assert!(replies.next().await.is_none());
    }
    assert_eq!(stat(&only_server(&client), "total_connections").await, before);
}

#[tokio::test]
async fn a_namespace_is_prepended_to_every_key() {
    let server = Memcached::start(&[]);
    let shop = Client::with_config([server.addr()], patient_config().namespace("shop:")).unwrap();
    let plain = client_of(&server);
    shop.set("a", "1").await.unwrap();
    let _ = shop.set_many([("b", "2")]).await;
    assert!(shop.send_no_reply(Request::set("c", "3")));
    assert!(shop.call(Request::set("d", "4")).await.is_ok());
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")] {
        assert_eq!(shop.get(key).await.unwrap().unwrap().value, value);
        assert_eq!(plain.get(key).await.unwrap(), None);
        assert_eq!(plain.get(format!("shop:{key}")).await.unwrap().unwrap().value, value);
    }
    let many = shop.get_many(["a", "b", "absent"]).await;
    assert_eq!(many.found().map(|(key, _)| *key).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(shop.replies(Request::get("a")).next().await.unwrap().text(), "1");
    assert!(stat(&only_server(&shop), "curr_items").await == 4, "statistics have no namespace");

    let longest = "k".repeat(245);
    assert!(shop.set(&longest, "v").await.is_ok());
    let error = shop.get("k".repeat(246)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
}

#[tokio::test]
async fn an_error_names_the_server_and_prints_no_value() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("text", "secret-value").await.unwrap();
    let error = client.increment("text", 1).await.unwrap_err();
    assert_eq!((error.kind(), error.server()), (ErrorKind::NonNumericValue, Some(&*server.addr())));
    assert!(error.to_string().starts_with(&server.addr()), "{error}");
    let shown = format!("{error:?} {client:?} {:?}", Request::set("k", "secret-value"));
    assert!(!shown.contains("secret-value"), "{shown}");
}
