//! Quiet commands and multi-commands.

use super::*;

#[tokio::test]
async fn quiet_commands_have_replies_too() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    for (request, opcode, status) in [
        (Request::get("k"), 0x09, Status::KeyNotFound),
        (Request::add("k", "v"), 0x12, Status::NoError),
        (Request::add("k", "v"), 0x12, Status::KeyExists),
        (Request::set("k", "v"), 0x11, Status::NoError),
        (Request::get("k"), 0x09, Status::NoError),
        (Request::delete("k"), 0x14, Status::NoError),
        (Request::delete("k"), 0x14, Status::KeyNotFound),
    ] {
        let request = request.quiet();
        assert_eq!(encoded(&request)[1], opcode);
        assert_eq!(client.call(request).await.status, status, "{opcode:#04x}");
    }
}

/// Reads requests up to the first non-quiet one, answers it with success, and returns all opcodes.
async fn serve_one_batch(listener: &TcpListener) -> Vec<u8> {
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut input, mut opcodes) = (InputBuffer::new(), Vec::new());
    loop {
        while let Some(packet) = Packet::decode(&mut input, 1024).unwrap() {
            opcodes.push(packet.header.opcode);
            let opcode = Opcode(packet.header.opcode);
            if !opcode.is_quiet() {
                let reply = Reply::new(Status::NoError);
                let answer = bytes_of(|output| binary::encode_reply(&reply, opcode, packet.header.opaque, output));
                stream.write_all(&answer).await.unwrap();
                return opcodes;
            }
        }
        assert!(stream.read_buf(input.spare_capacity()).await.unwrap() > 0, "the client disconnected");
    }
}

#[tokio::test]
async fn multi_commands_are_quiet_except_the_last() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = || Client::with_config([&address], patient_config().protocol(ProtocolSetting::Binary)).unwrap();
    let pairs = || (0..5).map(|n| (format!("k{n}"), "v"));

    let (set_client, add_client, delete_client) = (client(), client(), client());
    let (opcodes, stored) = tokio::join!(serve_one_batch(&listener), set_client.set_many(pairs()).into_future());
    assert_eq!((opcodes, stored.applied().count()), (vec![0x11, 0x11, 0x11, 0x11, 0x01], 5));
    let (opcodes, added) = tokio::join!(serve_one_batch(&listener), add_client.add_many(pairs()).into_future());
    assert_eq!((opcodes, added.applied().count()), (vec![0x12, 0x12, 0x12, 0x12, 0x02], 5));
    let keys = pairs().map(|(key, _)| key);
    let (opcodes, deleted) = tokio::join!(serve_one_batch(&listener), delete_client.delete_many(keys).into_future());
    assert_eq!((opcodes, deleted.applied().count()), (vec![0x14, 0x14, 0x14, 0x14, 0x04], 5));
}

#[tokio::test]
async fn multi_commands_return_a_result_for_every_key() {
    let (server, dead) = (Memcached::start(&[]), format!("127.0.0.1:{}", unused_port()));
    let client = Client::with_config([server.addr(), dead.clone()], patient_config()).unwrap();
    let keys: Vec<String> = (0..1000).map(|n| format!("key{n}")).collect();
    let is_dead = |key: &str| client.locate(key).unwrap().unwrap().name() == dead;
    let alive = keys.iter().filter(|key| !is_dead(key)).count();
    assert!((100..900).contains(&alive));
    let stored = client.set_many(keys.iter().step_by(2).map(|key| (key, key))).await;
    assert_eq!((stored.len(), stored.applied().count() + stored.failed().count()), (500, 500));
    let fetched = client.get_many(&keys).await;
    assert_eq!(fetched.found().count() + fetched.missing().count(), alive);
    for (n, (key, result)) in fetched.iter().enumerate() {
        match result {
            Ok(Some(item)) => assert!(n % 2 == 0 && item.value == key.as_bytes()),
            Ok(None) => assert!(n % 2 == 1),
            Err(error) => assert!(is_dead(key) && error.is_disconnected(), "{key}: {error}"),
        }
    }
}
