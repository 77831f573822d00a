//! A watched file: replaced, written in pieces, deleted, invalid.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use remcache::discovery::{self, Event, Subscription, WatchedFile};
use remcache::{Client, ErrorKind};
use remcache_testkit::scratch;
use tempfile::TempDir;

use super::{change, failure, list, names, patient_config, wait_until};

fn source(path: &Path) -> WatchedFile {
    WatchedFile::new(path).interval(Duration::from_millis(20))
}

/// Writes the file and returns a client of its servers.
async fn start(text: &str) -> (TempDir, PathBuf, Client, Subscription) {
    let directory = scratch();
    let path = directory.path().join("servers");
    fs::write(&path, text).unwrap();
    let (client, subscription) = discovery::connect(source(&path), patient_config()).await.unwrap();
    (directory, path, client, subscription)
}

#[tokio::test]
async fn replacing_the_file_is_one_change() {
    let (directory, path, client, subscription) = start("# ours\na\nb:1:2 # heavy\n").await;
    assert_eq!(names(&client), ["a:11211", "b:1"]);
    let mut events = subscription.events();
    let next = directory.path().join("next");
    for round in 0..10 {
        let mut file = fs::File::create(&next).unwrap();
        for server in 0..50 {
            writeln!(file, "s{server}:{}", round + 1).unwrap();
        }
        fs::rename(&next, &path).unwrap();
        let (added, removed) = change(&mut events).await;
        assert_eq!((added.len(), removed.len()), (50, if round == 0 { 2 } else { 50 }));
    }
}

#[tokio::test]
async fn a_file_written_in_pieces_is_used_when_it_is_complete() {
    let (_directory, path, client, subscription) = start("a\n").await;
    let mut events = subscription.events();
    let mut file = fs::File::create(&path).unwrap();
    for piece in ["a\nb:1", "1", "1\nc", ":1111", "1\n"] {
        file.write_all(piece.as_bytes()).unwrap();
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    drop(file);
    let first = loop {
        match events.next().await.unwrap() {
            Event::Changed { servers, .. } => break servers,
            Event::Failed(error) => assert_eq!(error.kind(), ErrorKind::Discovery),
            _ => {}
        }
    };
    assert_eq!(first, list(&["a", "b:111", "c:11111"]), "no partial list was used");
    assert_eq!(names(&client), ["a:11211", "b:111", "c:11111"]);
}

#[tokio::test]
async fn a_missing_or_invalid_file_keeps_the_last_valid_list() {
    let (_directory, path, client, subscription) = start("a\n").await;
    fs::remove_file(&path).unwrap();
    failure(&subscription, "No such file").await;
    for (text, expected) in [
        (&b""[..], "empty"),
        (b"# none\n", "empty"),
        (b"a\nb c\n", "b c"),
        (b"<!DOCTYPE html>\n<html>\n", "\"<!DOCTYPE html>\": invalid host name \"<!DOCTYPE html>\": it has a '<'"),
        (b"{\"servers\": []}\n", "invalid host name"),
        (b"a\nb", "does not end"),
        (b"a\n\xff\n", "UTF-8"),
        (&[b'#'; (1 << 20) + 1], "longer than"),
    ] {
        fs::write(&path, text).unwrap();
        let error = failure(&subscription, expected).await;
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert_eq!(names(&client), ["a:11211"]);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    failure(&subscription, "not a regular file").await;
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "b\n").unwrap();
    wait_until("the source recovers", async || names(&client) == ["b:11211"]).await;
    assert_eq!(subscription.state().failures, 0);
}
