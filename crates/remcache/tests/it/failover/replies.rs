//! Replies as streams and callbacks: requests with a key are routed like calls; requests without one go to one server.

use remcache::Reply;
use std::ops::ControlFlow;

use super::*;

/// Returns the replies that a callback receives.
async fn callback_replies(client: &Client, request: Request<'_>) -> Vec<Reply> {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    client.call_with(request, move |reply| {
        sender.send(reply).unwrap();
        ControlFlow::Continue(())
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
        let primary = servers[0].address();
        let key = key_of(&client, &primary);
        client.set(&key, "before").await.unwrap();
        servers[0].stop().await;
        wait_until_down(&client, &primary).await;
        assert!(only(callback_replies(&client, Request::set(&*key, "during")).await).is_ok());
        assert_eq!(only(streamed(&client, Request::get(&*key)).await).text(), "during");
        assert_eq!(only(callback_replies(&client, Request::get(&*key)).await).text(), "during");
        assert_eq!(client.get(&key).await.unwrap().unwrap().value, "during");
        servers[0].restart().await.unwrap();
        wait_until_up(&client, &primary).await;
    }
}

#[tokio::test]
async fn a_callback_and_a_stream_are_retried_as_a_call_is() {
    let servers = embedded(1).await;
    let client = client_of(&servers, patient_config().retries(Retries::up_to(1)).reconnect_delay(millis(1), millis(5)));
    client.set("k", "v").await.unwrap();
    client.set("n", "0").await.unwrap();
    let corrupt_reply = || servers[0].inject(Fault::Garbage { seed: 7 }.on_reply(1));
    for _ in 0..5 {
        corrupt_reply();
        assert_eq!(only(streamed(&client, Request::get("k")).await).text(), "v");
        corrupt_reply();
        assert_eq!(only(callback_replies(&client, Request::get("k")).await).text(), "v");
    }
    corrupt_reply();
    let reply = only(callback_replies(&client, Request::increment("n", 1)).await);
    assert_eq!(reply.status, Status::Disconnected(Delivery::MaybeSent), "an increment is not retried");
    wait_until("the server is up", async || client.is_usable()).await;
    assert_eq!(client.get("n").await.unwrap().unwrap().value, "1");
}

/// Statistics of another server would neither continue nor replace those of the requested one.
#[tokio::test]
async fn a_request_without_a_key_goes_to_one_server_only() {
    let servers = embedded(2).await;
    let client = client_of(&servers, patient_config().failover(Failover::next()).retries(Retries::up_to(3)));
    assert!(streamed(&client, Request::stat("")).await.len() > 5);
    servers[0].stop().await;
    wait_until_down(&client, &servers[0].address()).await;
    for replies in [streamed(&client, Request::stat("")).await, callback_replies(&client, Request::stat("")).await] {
        assert_eq!(only(replies).status, Status::Disconnected(Delivery::NotSent));
    }
    assert!(client.servers()[1].stats("").collect().await.is_ok());
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_has_one_reply() {
    let servers = embedded(2).await;
    let client = client_of(&servers, patient_config().replicas(2));
    for request in [Request::get(""), Request::quit(), Request::set("k", vec![0; 2 << 20])] {
        let reply = only(streamed(&client, request.clone()).await);
        assert!(
            matches!(reply.status, Status::InvalidKey | Status::InvalidArguments | Status::ValueTooLarge),
            "{request:?}: {reply:?}"
        );
    }
}

/// Replies contain the keys of the request, without the namespace.
#[tokio::test]
async fn keys_in_replies_have_no_namespace() {
    let servers = embedded(2).await;
    for config in [patient_config().namespace("ns:"), patient_config().namespace("ns:").replicas(2)] {
        let client = client_of(&servers, config);
        client.set("k", "v").await.unwrap();
        let streamed = only(streamed(&client, Request::get("k")).await);
        let called = client.call(Request::get("k")).await;
        assert_eq!((&streamed.key, streamed.text()), (&called.key, called.text()));
    }
}
