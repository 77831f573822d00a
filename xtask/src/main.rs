//! The project's own commands: `cargo xtask` lists them.

mod bulk;
mod ci;
mod fuzz;
mod imports;
mod interop;
mod proto_deps;
mod step;
mod tools;

use std::path::Path;
use std::process::ExitCode;
use step::Step;
use tools::Need;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_default();
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprint!("{}", usage());
        return ExitCode::from(2);
    };
    match (command.run)(args.collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("\n{message}");
            ExitCode::FAILURE
        }
    }
}

/// What ends a command early, in words for the one who typed it.
type Failure = String;

struct Subcommand {
    name: &'static str,
    about: &'static str,
    run: fn(Vec<String>) -> Result<(), Failure>,
}

const COMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "test",
        about: "installs what the tests need and runs all of them; arguments go to cargo test",
        run: test,
    },
    Subcommand { name: "ci", about: "everything that has to hold before a change is taken", run: |_| ci::run() },
    Subcommand {
        name: "check-proto-deps",
        about: "checks what the protocol layer depends on when it is built alone",
        run: |_| proto_deps::check(),
    },
    Subcommand {
        name: "check-imports",
        about: "checks that no module imports one of a layer above it",
        run: |_| imports::check(),
    },
    Subcommand {
        name: "bench",
        about: "measures remcache beside its peers; arguments go to remcache-bench",
        run: bench,
    },
    Subcommand {
        name: "bulk",
        about: "measures the tool's bulk commands against the server's own speed; an argument is the number of items",
        run: |args| bulk::run(&args),
    },
    Subcommand {
        name: "tool-bench",
        about: "measures the tool's bench beside memcaslap; arguments go to remcache-bench tools",
        run: tool_bench,
    },
    Subcommand {
        name: "screenshots",
        about: "draws the tool at work for the documents; arguments go to remcache-cli-docs pictures",
        run: screenshots,
    },
    Subcommand {
        name: "compare-tools",
        about: "holds the tool against others, cell by cell; arguments go to remcache-cli-docs tools",
        run: compare_tools,
    },
    Subcommand {
        name: "interop",
        about: "holds remcache against other clients on the same servers; arguments go to remcache-interop",
        run: interop::run,
    },
    Subcommand {
        name: "soak",
        about: "loads and troubles real servers, with --flapping a fleet, with --pipelines long pipelines; arguments go to remcache-soak",
        run: soak,
    },
    Subcommand {
        name: "fuzz",
        about: "feeds arbitrary bytes to the protocol layer: --minutes N for each target, names of targets",
        run: |args| fuzz::run(&args),
    },
    Subcommand {
        name: "shuttle",
        about: "tries a million orders in which callers and a connection's task may take their lock, or as many as told",
        run: |args| shuttle(&args),
    },
    Subcommand {
        name: "tools",
        about: "lists the programs and libraries that tests and benchmarks need",
        run: |_| {
            tools::list();
            Ok(())
        },
    },
];

fn test(args: Vec<String>) -> Result<(), Failure> {
    tools::ensure(&[Need::Tests])?;
    ci::tests(args).run()
}

fn bench(args: Vec<String>) -> Result<(), Failure> {
    tools::ensure(&[Need::Tests, Need::Bench])?;
    let cargo = ["run", "--release", "-p", "remcache-bench", "--"];
    Step::cargo("benchmarks", cargo).args(args).run()
}

fn soak(args: Vec<String>) -> Result<(), Failure> {
    tools::ensure(&[Need::Tests])?;
    Step::cargo("soak", ["run", "--release", "-p", "remcache-soak", "--"]).args(args).run()
}

fn shuttle(args: &[String]) -> Result<(), Failure> {
    let count = args.first().map_or("1000000", String::as_str);
    if count.parse::<usize>().is_err() || args.len() > 1 {
        return Err(format!("{} is no number of schedules", args.join(" ")));
    }
    // Only what runs a million times is optimised: the rest is built as for the other tests.
    let optimised = "profile.dev.package.remcache.opt-level=3";
    let cargo = ["test", "--config", optimised, "-p", "remcache", "--all-features", "--lib", "link::schedules"];
    Step::cargo(format!("{count} schedules"), cargo).env("REMCACHE_SCHEDULES", count).run()
}

fn screenshots(args: Vec<String>) -> Result<(), Failure> {
    tools::ensure(&[Need::Tests])?;
    build_tool()?;
    Step::cargo("pictures", ["run", "-p", "remcache-cli-docs", "--", "pictures"]).args(args).run()
}

fn compare_tools(args: Vec<String>) -> Result<(), Failure> {
    tools::ensure(&[Need::Tests, Need::Bench])?;
    build_tool()?;
    install_peers();
    Step::cargo("the table of tools", ["run", "-p", "remcache-cli-docs", "--", "tools"]).args(args).run()
}

/// Programs of crates.io that the table compares; what cannot be had is told in its cells.
fn install_peers() {
    for (package, version) in [("mtop", "0.17.0")] {
        if root().join("target/tools/bin").join(package).exists() {
            continue;
        }
        let words = ["install", package, "--version", version, "--locked", "--root", "target/tools"];
        if let Err(failure) = Step::cargo(package, words).run() {
            println!("{failure}");
        }
    }
}

fn build_tool() -> Result<(), Failure> {
    Step::cargo("the tool", ["build", "--release", "-p", "remcache-cli"]).run()
}

fn tool_bench(args: Vec<String>) -> Result<(), Failure> {
    tools::ensure(&[Need::Tests, Need::Bench])?;
    build_tool()?;
    let cargo = ["run", "--release", "-p", "remcache-bench", "--", "tools"];
    Step::cargo("the tool beside memcaslap", cargo).args(args).run()
}

fn usage() -> String {
    let lines = COMMANDS.iter().map(|command| format!("  cargo xtask {:<18}{}\n", command.name, command.about));
    std::iter::once("usage:\n".to_owned()).chain(lines).collect()
}

fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_commands_share_a_name() {
        let names: HashSet<_> = COMMANDS.iter().map(|command| command.name).collect();
        assert_eq!(names.len(), COMMANDS.len());
        assert!(!names.contains(""));
    }

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("Cargo.lock").exists());
        assert!(root().join("xtask").exists());
    }
}
