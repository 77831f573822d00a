//! Texts generated from the definitions of the options: manual pages, help, usage errors.

use crate::tool::remcache;

#[test]
fn each_command_has_a_manual_page() {
    let run = remcache(["man"]).run().exits(0);
    assert!(run.text().contains(".TH remcache 1"), "{}", run.text());
    assert!(run.text().contains("\n.SH EXIT CODES\n") && !run.text().contains("EXTRA"), "{}", run.text());
    assert!(run.text().contains("Print only the output and errors"), "{}", run.text());
    let page = remcache(["man", "context", "add"]).run().exits(0);
    assert!(page.text().contains(".TH remcache-context-add 1"), "{}", page.text());
    remcache(["man", "got"]).run().exits(2).reports_error("no command \"got\"");
    let directory = tempfile::tempdir().unwrap();
    remcache(["man", "-d", directory.path().to_str().unwrap()]).run().exits(0);
    for page in ["remcache", "remcache-get", "remcache-bench", "remcache-context-add"] {
        let text = std::fs::read_to_string(directory.path().join(format!("{page}.1"))).unwrap();
        assert!(text.contains(&format!(".TH {page} 1")), "{page}: {text}");
    }
}

#[test]
fn help_prints_the_help_of_a_command() {
    let run = remcache(["help", "context", "add"]).run().exits(0);
    assert!(run.text().contains("Usage: remcache context add"), "{run:?}");
    assert!(remcache(["help"]).run().exits(0).text().contains("delete-matching"));
    remcache(["help", "got"]).run().exits(2).reports_error("no command \"got\"");
}

#[test]
fn usage_errors_quote_hostile_arguments_escaped() {
    for args in
        [&["get", "k", "--format=\u{202e}\x1b[2J"][..], &["ge\x1b[2Jt\u{202e}"], &["get", "k", "--\u{202e}\x1b[2J"]]
    {
        let run = remcache(args).run().exits(2);
        assert!(!run.stderr.contains(['\u{202e}', '\x1b']), "{run:?}");
        assert!(run.stderr.contains("\\u{202e}") && run.stderr.contains("\\x1b"), "{run:?}");
    }
}

#[test]
fn commands_of_other_tools_are_explained() {
    for (name, command) in
        [("del", "delete"), ("rm", "delete"), ("info", "stats"), ("ls", "keys"), ("flush_all", "flush")]
    {
        let run = remcache([name]).run().exits(2);
        assert!(run.stderr.contains(&format!("a similar subcommand exists: '{command}'")), "{name}: {run:?}");
    }
    for (name, commands) in [
        ("certs", "a similar subcommand exists: 'doctor'"),
        ("bigkeys", "a similar subcommand exists: 'keys --sort size'"),
        ("diff", "some similar subcommands exist: 'ring diff', 'stats settings --diff'"),
        ("--bigkeys", "a similar subcommand exists: 'keys --sort size'"),
    ] {
        let run = remcache([name]).run().exits(2);
        assert!(run.stderr.contains(commands), "{name}: {run:?}");
    }
    let run = remcache(["context", "info"]).run().exits(2);
    assert!(!run.stderr.contains("'stats'"), "{run:?}");
    let shell = remcache(["shell", "--embedded", "1"]).input("del k\n").run();
    assert!(shell.stderr.contains("'delete'"), "{shell:?}");
}
