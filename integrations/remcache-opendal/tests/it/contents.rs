//! Objects of all lengths under all kinds of paths.

use opendal_core::ErrorKind;
use remcache_testkit::Memcached;

use crate::{operator, patient_service, round_trip};

/// Returns bytes without repetitions.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect()
}

#[tokio::test]
async fn objects_of_all_lengths_round_trip() {
    let server = Memcached::start(&[]);
    let operator = operator(patient_service(&server.addr()).root("/a root"));
    for length in [0, 1, 2, 1000, 524_288, 524_289, 1_048_576, 4 << 20, 20 << 20] {
        round_trip(&operator, "file", content(length)).await;
    }
}

#[tokio::test]
async fn all_kinds_of_paths_are_distinct() {
    let server = Memcached::start(&[]);
    let operator = operator(patient_service(&server.addr()));
    let long = |length: usize| format!("{}/{}", "d".repeat(length), "ü".repeat(40));
    let paths =
        ["a", "a/b", "a b", "a%20b", "special  !@#$%^&()_+-=;',.txt", "ä\n\0", "memcached\r\nflush_all", &long(90)];
    let more = [&*long(200), &*long(201), &*long(5000)];
    let paths: Vec<&str> = paths.into_iter().chain(more).collect();
    for path in &paths {
        operator.write(path, path.as_bytes().to_vec()).await.unwrap();
    }
    for path in &paths {
        assert_eq!(operator.read(path).await.unwrap().to_vec(), path.as_bytes());
    }
    for path in paths {
        round_trip(&operator, path, content(600_000)).await;
    }
}

#[tokio::test]
async fn an_object_replaces_a_longer_and_a_shorter_one() {
    let server = Memcached::start(&[]);
    let operator = operator(patient_service(&server.addr()));
    for length in [10, 2_000_000, 3_000_000, 20, 0, 1_000_000] {
        operator.write("file", content(length)).await.unwrap();
        assert!(operator.read("file").await.unwrap().to_vec() == content(length), "{length}");
    }
}

#[tokio::test]
async fn an_object_can_be_written_in_parts() {
    let server = Memcached::start(&[]);
    let operator = operator(patient_service(&server.addr()));
    let mut writer = operator.writer("file").await.unwrap();
    for part in content(1_500_000).chunks(400_000) {
        writer.write(part.to_vec()).await.unwrap();
    }
    assert!(!operator.exists("file").await.unwrap(), "it is not complete");
    writer.close().await.unwrap();
    assert!(operator.read("file").await.unwrap().to_vec() == content(1_500_000));
}

#[tokio::test]
async fn an_existing_object_is_not_replaced_if_not_exists_is_set() {
    let server = Memcached::start(&[]);
    let operator = operator(patient_service(&server.addr()));
    for first in [content(5), content(600_000)] {
        operator.write_with("file", first.clone()).if_not_exists(true).await.unwrap();
        let error = operator.write_with("file", content(9)).if_not_exists(true).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConditionNotMatch);
        assert!(operator.read("file").await.unwrap().to_vec() == first);
        operator.delete("file").await.unwrap();
    }
}

#[tokio::test]
async fn a_missing_object_is_not_found() {
    let server = Memcached::start(&[]);
    let operator = operator(patient_service(&server.addr()));
    assert_eq!(operator.read("file").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(operator.stat("file").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(operator.stat("/").await.unwrap().is_dir());
    operator.write("file", "1234").await.unwrap();
    let error = operator.read_with("file").range(5..6).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RangeNotSatisfied);
    assert_eq!(operator.list("/").await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_cancelled_read_does_not_affect_the_next() {
    let server = Memcached::start(&[]);
    let operator = operator(patient_service(&server.addr()));
    operator.write("a", "content of a").await.unwrap();
    operator.write("b", "content of b").await.unwrap();
    for _ in 0..100 {
        // It is polled once and dropped.
        let _ = tokio::time::timeout(std::time::Duration::ZERO, operator.read("a")).await;
        assert_eq!(operator.read("b").await.unwrap().to_vec(), b"content of b");
    }
}

#[tokio::test]
async fn objects_are_distributed_over_several_servers() {
    let servers = [(); 3].map(|()| Memcached::start(&[]));
    let endpoint = servers.each_ref().map(Memcached::addr).join(",");
    let all = operator(patient_service(&endpoint));
    for number in 0..100 {
        all.write(&format!("file {number}"), content(number)).await.unwrap();
    }
    for number in 0..100 {
        assert_eq!(all.read(&format!("file {number}")).await.unwrap().to_vec(), content(number));
    }
    for server in &servers {
        let client = remcache::Client::new([server.addr()]).unwrap();
        assert!(client.servers()[0].metadump().next().await.is_some(), "each server has objects");
    }
}
