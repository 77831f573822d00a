use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;

/// A path in a directory of its own.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("journal")
    }

    fn open(&self) -> JournalFile {
        JournalFile::open(&self.path()).unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }
}

fn add(file: &JournalFile, keys: &[&'static str]) {
    keys.iter().for_each(|key| add_one(file, &"cache1".into(), &Bytes::from(*key)));
}

fn add_one(file: &JournalFile, server: &Arc<str>, key: &Bytes) {
    file.queue_add(server, key);
    file.write_queued();
}

fn remove(file: &JournalFile, server: &Arc<str>, keys: &[&Bytes]) {
    keys.iter().for_each(|key| file.queue_removal(server, key));
    file.write_queued();
}

fn sorted(file: &JournalFile, server: &str) -> Vec<Bytes> {
    let mut keys = file.keys(server);
    keys.sort();
    keys
}

#[test]
fn keys_survive_until_they_are_removed() {
    let scratch = Scratch::new();
    let (one, other): (Arc<str>, Arc<str>) = ("cache1:11211".into(), "/run/my cache.sock".into());
    let (a, b) = (Bytes::from("user:42"), Bytes::from(&b"\0 \xff%\n"[..]));
    let file = scratch.open();
    for (server, key) in [(&one, &a), (&one, &a), (&one, &b), (&other, &b)] {
        add_one(&file, server, key);
    }
    assert_eq!(scratch.text().lines().count(), 4, "a key that is there is not added again");
    drop(file);
    let file = scratch.open();
    assert_eq!(sorted(&file, &one), [b.clone(), a.clone()]);
    assert_eq!(sorted(&file, &other), std::slice::from_ref(&b));
    remove(&file, &one, &[&a, &b]);
    drop(file);
    let file = scratch.open();
    assert_eq!((file.keys(&one), file.keys(&other)), (vec![], vec![b]));
}

#[test]
fn changes_are_queued_without_writing_and_written_in_order() {
    let scratch = Scratch::new();
    let file = scratch.open();
    let (server, key, other) = ("cache1".into(), Bytes::from("a"), Bytes::from("b"));
    let empty = scratch.text();
    file.queue_add(&server, &key);
    file.queue_removal(&server, &key);
    file.queue_add(&server, &other);
    assert_eq!(scratch.text(), empty);
    file.write_queued();
    assert_eq!(scratch.text().lines().count(), 4);
    drop(file);
    assert_eq!(scratch.open().keys("cache1"), [other]);
}

#[test]
fn the_file_does_not_grow_with_the_number_of_changes() {
    let scratch = Scratch::new();
    let file = scratch.open();
    for number in 0..20_000 {
        let key = Bytes::from(format!("key-{number}"));
        add_one(&file, &"cache1".into(), &key);
        if number >= 10 {
            remove(&file, &"cache1".into(), &[&key]);
        }
    }
    let lines = scratch.text().lines().count();
    assert!(lines <= 2 * 10 + SPARE_LINES + 2, "{lines} lines");
    drop(file);
    assert_eq!(scratch.open().keys("cache1").len(), 10);
}

#[test]
fn a_damaged_or_foreign_file_is_refused_and_kept() {
    let scratch = Scratch::new();
    add(&scratch.open(), &["a", "b", "c"]);
    let good = scratch.text();
    let damaged = good.replacen("cache1 b", "cache1 x", 1);
    let unknown = format!("{good}0000000000000000 + cache1 d\n");
    for (text, what) in [
        (&*damaged, "line 3 is damaged"),
        (&unknown, "line 5 is damaged"),
        ("[section]\nkey = 1\n", "another kind of file"),
        ("remcache delete journal 2\n", "another version"),
    ] {
        fs::write(scratch.path(), text).unwrap();
        let error = JournalFile::open(&scratch.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains(scratch.path().to_str().unwrap()), "{error}");
        assert_eq!(scratch.text(), text, "nothing is lost");
    }
}

#[test]
fn a_line_that_was_not_written_completely_is_dropped() {
    let scratch = Scratch::new();
    add(&scratch.open(), &["a", "b"]);
    let good = scratch.text();
    let last = good.lines().last().unwrap().len() + 1;
    for missing in 1..=last {
        fs::write(scratch.path(), &good[..good.len() - missing]).unwrap();
        let file = scratch.open();
        assert_eq!(file.keys("cache1"), ["a"], "{missing} bytes are missing");
        add(&file, &["c"]);
        drop(file);
        assert_eq!(sorted(&scratch.open(), "cache1"), ["a", "c"], "{missing} bytes are missing");
    }
}

#[test]
fn a_file_has_one_user() {
    let scratch = Scratch::new();
    let file = scratch.open();
    let error = JournalFile::open(&scratch.path()).unwrap_err();
    assert!(error.to_string().contains("another client"), "{error}");
    drop(file);
    drop(scratch.open());
    let error = JournalFile::open(&scratch.path().join("not a directory")).unwrap_err();
    assert!(std::error::Error::source(&error).is_some_and(|source| source.is::<io::Error>()), "{error}");
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new();
    let mode = || fs::metadata(scratch.path()).unwrap().permissions().mode() & 0o777;
    drop(scratch.open());
    assert_eq!(mode(), 0o600);
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let file = scratch.open();
    assert_eq!(mode(), 0o600);
    for number in 0..SPARE_LINES {
        let key = Bytes::from(number.to_string());
        add_one(&file, &"a".into(), &key);
        remove(&file, &"a".into(), &[&key]);
    }
    assert_eq!(mode(), 0o600, "also once it was rewritten");
}
