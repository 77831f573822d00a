//! What is made of the options' definitions: contexts, completions, manual pages.

use remcache_testkit::Memcached;
use serde_json::json;
use tempfile::TempDir;

use crate::tool::{Tool, remcache};

/// A home for the file of contexts.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn run(&self, args: &[&str]) -> Tool {
        remcache(args).env("HOME", self.0.path().to_str().expect("a path in UTF-8"))
    }
}

#[test]
fn a_context_is_added_used_and_shown() {
    let home = Home::new();
    home.run(&["context", "add", "shop", "-s", "a.invalid", "-s", "b.invalid", "--timeout", "250ms", "--production"])
        .run()
        .exits(0);
    home.run(&["context", "add", "test", "-s", "c.invalid"]).run().exits(0);
    // None is in use yet.
    assert_eq!(home.run(&["locate", "k"]).run().exits(0).text(), "k\tlocalhost:11211\n");
    home.run(&["context", "use", "shop"]).run().exits(0);
    let shown = home.run(&["context", "show", "-f", "json"]).run().exits(0).json();
    assert_eq!(
        shown,
        json!({"context": "shop", "server": "a.invalid,b.invalid", "timeout": "250ms", "production": true})
    );
    let listed = home.run(&["context", "ls", "-f", "json"]).run().exits(0).json();
    let expected = json!([
        {"context": "shop", "in_use": true, "production": true, "servers": "a.invalid,b.invalid"},
        {"context": "test", "in_use": false, "production": false, "servers": "c.invalid"},
    ]);
    assert_eq!(listed, expected);
}

#[test]
fn a_context_gives_defaults_and_no_more() {
    let home = Home::new();
    home.run(&["context", "add", "one", "-s", "one.invalid"]).run().exits(0);
    home.run(&["context", "add", "two", "-s", "two.invalid"]).run().exits(0);
    home.run(&["context", "use", "one"]).run().exits(0);
    let server = |tool: Tool| tool.run().exits(0).text().trim_end().rsplit_once('\t').unwrap().1.to_owned();
    assert_eq!(server(home.run(&["locate", "k"])), "one.invalid:11211");
    assert_eq!(server(home.run(&["locate", "k"]).env("MEMCACHED_SERVERS", "x.invalid")), "one.invalid:11211");
    assert_eq!(server(home.run(&["locate", "k", "--context", "two"])), "two.invalid:11211");
    assert_eq!(server(home.run(&["--context", "two", "locate", "k"])), "two.invalid:11211");
    assert_eq!(server(home.run(&["locate", "k"]).env("REMCACHE_CONTEXT", "two")), "two.invalid:11211");
    assert_eq!(server(home.run(&["locate", "k"]).servers("env.invalid")), "env.invalid:11211");
    assert_eq!(server(home.run(&["locate", "k", "-s", "arg.invalid"])), "arg.invalid:11211");
}

#[test]
fn contexts_that_do_not_fit_are_named() {
    let home = Home::new();
    home.run(&["locate", "k", "--context", "shop"]).run().exits(2).complains_of("there are none yet");
    home.run(&["context", "use", "shop"]).run().exits(2).complains_of("no context \"shop\"");
    home.run(&["context", "add", "shop"]).run().exits(2).complains_of("-s cache1,cache2");
    home.run(&["context", "show"]).run().exits(2).complains_of("no context is in use");
    let directory = home.0.path().join(".config/remcache");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("config.toml"), "current = \"a\"\n[contexts.a]\ntiemout = \"1s\"\n").unwrap();
    home.run(&["locate", "k"]).run().exits(2).complains_of("tiemout");
    std::fs::write(directory.join("config.toml"), "current = ").unwrap();
    home.run(&["locate", "k"]).run().exits(2).complains_of("config.toml");
}

#[test]
fn each_shell_gets_completions_of_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = remcache(["completions", shell]).run().exits(0);
        for word in ["remcache", "locate", "distribution"] {
            assert!(run.text().contains(word), "{shell}: {word}");
        }
    }
    remcache(["completions", "csh"]).run().exits(2).complains_of("zsh");
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let run = remcache(["man"]).run().exits(0);
    assert!(run.text().contains(".TH remcache 1"), "{}", run.text());
    let directory = tempfile::tempdir().unwrap();
    remcache(["man", "-d", directory.path().to_str().unwrap()]).run().exits(0);
    for page in ["remcache", "remcache-get", "remcache-bench", "remcache-context-add"] {
        let text = std::fs::read_to_string(directory.path().join(format!("{page}.1"))).unwrap();
        assert!(text.contains(&format!(".TH {page} 1")), "{page}: {text}");
    }
}

#[test]
fn production_asks_for_its_name_before_items_are_removed() {
    let server = Memcached::start(&[]);
    let home = Home::new();
    home.run(&["context", "add", "shop", "-s", &server.addr(), "--production"]).run().exits(0);
    home.run(&["context", "use", "shop"]).run().exits(0);
    home.run(&["set", "k", "v"]).run().exits(0);
    let asked = home.run(&["flush"]).run_on_terminal("y\n").exits(1);
    assert!(asked.text().contains("shop is production: type its name"), "{asked:?}");
    home.run(&["get", "k"]).run().exits(0);
    home.run(&["flush"]).run_on_terminal("shop\n").exits(0);
    home.run(&["get", "k"]).run().exits(1);
}
