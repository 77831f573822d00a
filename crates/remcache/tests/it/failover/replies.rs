//! ReplyStream as streams and callbacks: a request with a key goes the same ways as a call; one without has one server.

use remcache::Flow;
use remcache::Reply;

use super::*;

/// The replies that a callback is given.
async fn called_back(client: &Client, request: Request<'_>) -> Vec<Reply> {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    client.call_with(request, move |reply| {
        sender.send(reply).unwrap();
        Flow::Proceed
    });
    let mut replies = Vec::new();
    while let Some(reply) = receiver.recv().await {
        replies.push(reply);
    }
    replies
}

async fn streamed(client: &Client, request: Request<'_>) -> Vec<Reply> {
    let mut stream = client.replies(request);
    let mut replies = Vec::new();
    while let Some(reply) = stream.next().await {
        replies.push(reply);
    }
    replies
}

#[track_caller]
fn only(mut replies: Vec<Reply>) -> Reply {
    assert_eq!(replies.len(), 1, "{replies:?}");
    replies.remove(0)
}

#[tokio::test]
async fn a_callback_and_a_stream_fail_over_as_a_call_does() {
    let servers = embedded(3).await;
    for config in [
        patient_config().failover(Failover::next()),
        patient_config().replicas(2),
        patient_config().namespace("ns:").replicas(2),
    ] {
        let client = client_of(&servers, config);
        let home = servers[0].address();
        let key = key_of(&client, &home);
        client.set(&key, "before").await.unwrap();
        servers[0].stop().await;
        is_noticed(&client, &home).await;
        assert!(only(called_back(&client, Request::set(&*key, "meanwhile")).await).is_ok());
        assert_eq!(only(streamed(&client, Request::get(&*key)).await).text(), "meanwhile");
        assert_eq!(only(called_back(&client, Request::get(&*key)).await).text(), "meanwhile");
        assert_eq!(client.get(&key).await.unwrap().unwrap().value, "meanwhile");
        servers[0].restart().await.unwrap();
        is_back(&client, &home).await;
    }
}

#[tokio::test]
async fn a_callback_and_a_stream_repeat_what_a_call_repeats() {
    let servers = embedded(1).await;
    let client = client_of(&servers, patient_config().retries(Retries::up_to(1)).reconnect_delay(millis(1), millis(5)));
    client.set("k", "v").await.unwrap();
    client.set("n", "0").await.unwrap();
    let cut = || servers[0].inject(Fault::Garbage { seed: 7 }.on_reply(1));
    for _ in 0..5 {
        cut();
        assert_eq!(only(streamed(&client, Request::get("k")).await).text(), "v");
        cut();
        assert_eq!(only(called_back(&client, Request::get("k")).await).text(), "v");
    }
    cut();
    let reply = only(called_back(&client, Request::increment("n", 1)).await);
    assert_eq!(reply.status, Status::Disconnected(Delivery::MaybeSent), "a counter is not repeated");
    wait_until("it is back", async || client.is_usable()).await;
    assert_eq!(client.get("n").await.unwrap().unwrap().value, "1");
}

/// The rest of another server's statistics would be no continuation, and the whole of them no answer.
#[tokio::test]
async fn a_request_without_a_key_concerns_one_server() {
    let servers = embedded(2).await;
    let client = client_of(&servers, patient_config().failover(Failover::next()).retries(Retries::up_to(3)));
    assert!(streamed(&client, Request::stat("")).await.len() > 5);
    servers[0].stop().await;
    is_noticed(&client, &servers[0].address()).await;
    for replies in [streamed(&client, Request::stat("")).await, called_back(&client, Request::stat("")).await] {
        assert_eq!(only(replies).status, Status::Disconnected(Delivery::NotSent));
    }
    assert!(client.servers()[1].stats("").collect().await.is_ok());
}

#[tokio::test]
async fn what_cannot_be_sent_is_one_reply() {
    let servers = embedded(2).await;
    let client = client_of(&servers, patient_config().replicas(2));
    for request in [Request::get(""), Request::quit(), Request::set("k", vec![0; 2 << 20])] {
        let reply = only(streamed(&client, request.clone()).await);
        assert!(matches!(reply.status, Status::InvalidArguments | Status::ValueTooLarge), "{request:?}: {reply:?}");
    }
}

/// Keys in replies are those that were asked for, without the namespace.
#[tokio::test]
async fn the_keys_of_replies_have_no_namespace() {
    let servers = embedded(2).await;
    for config in [patient_config().namespace("ns:"), patient_config().namespace("ns:").replicas(2)] {
        let client = client_of(&servers, config);
        client.set("k", "v").await.unwrap();
        let streamed = only(streamed(&client, Request::get("k")).await);
        let called = client.call(Request::get("k")).await;
        assert_eq!((&streamed.key, streamed.text()), (&called.key, called.text()));
    }
}
