//! The project's own commands: `cargo xtask` lists them.

mod bench;
mod bulk;
mod ci;
mod fuzz;
mod imports;
mod interop;
mod language;
mod package;
mod proto_deps;
mod public_api;
mod published;
mod step;
mod test;
mod tools;
#[cfg(test)]
mod type_names;
mod unix_only;
#[cfg(test)]
mod workflows;

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

/// The reason why a command failed, as text for its user.
type Failure = String;

struct Subcommand {
    name: &'static str,
    about: &'static str,
    run: fn(Vec<String>) -> Result<(), Failure>,
}

const COMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "test",
        about: "installs the test dependencies and runs all tests; arguments are passed to cargo test",
        run: test::run,
    },
    Subcommand { name: "ci", about: "runs everything that has to pass before a change is merged", run: |_| ci::run() },
    Subcommand { name: "lint", about: "runs the steps of ci that come before the tests", run: |_| ci::lint() },
    Subcommand {
        name: "check-language",
        about: "searches the text for phrases of xtask/words.txt; --list [PHRASE OR PATH] prints them",
        run: |args| language::run(&args),
    },
    Subcommand {
        name: "check-proto-deps",
        about: "checks the dependencies of the crates without I/O",
        run: |_| proto_deps::check(),
    },
    Subcommand {
        name: "public-api",
        about: "compares the public API with docs/public-api; --write records it",
        run: |args| public_api::run(&args),
    },
    Subcommand {
        name: "check-imports",
        about: "checks that no module imports one of a higher layer",
        run: |_| imports::check(),
    },
    Subcommand {
        name: "check-dependencies",
        about: "checks licences, sources, bans and advisories of dependencies, or those named, with cargo-deny",
        run: |args| published::check_dependencies(&args),
    },
    Subcommand {
        name: "check-semver",
        about: "compares the public API with a Git revision (default: origin/main), with cargo-semver-checks",
        run: |args| published::check_semver(&args),
    },
    Subcommand {
        name: "check-features",
        about: "lints without features, with each feature, and with pairs of features, with cargo-hack; tests messages about missing ones",
        run: |_| published::check_features(),
    },
    Subcommand {
        name: "check-tls-providers",
        about: "tests TLS with ring alone, with aws-lc-rs alone, and without either",
        run: |_| published::check_tls_providers(),
    },
    Subcommand {
        name: "check-msrv",
        about: "checks each published package with the oldest Rust that it supports, which rustup installs",
        run: |_| published::check_msrv(),
    },
    Subcommand {
        name: "check-portable",
        about: "checks everything that needs no memcached server, on any system",
        run: |_| published::check_portable(),
    },
    Subcommand {
        name: "package",
        about: "packages each published crate, and compiles all of them from their archives in an empty folder",
        run: |_| package::package(),
    },
    Subcommand {
        name: "dist",
        about: "builds the tool for release, with its archive and Debian package; --profile NAME in place of dist",
        run: |args| package::dist(&args),
    },
    Subcommand {
        name: "check-release",
        about: "checks that a tag such as v1.2.3 names the version of the packages, and that the changelog has it",
        run: |args| package::check_release(&args),
    },
    Subcommand {
        name: "check-windows",
        about: "checks the published packages for Windows, from any system",
        run: |_| published::check_windows(),
    },
    Subcommand {
        name: "check-unix-only",
        about: "checks that Unix-only APIs are compiled on Unix only",
        run: |_| unix_only::check(),
    },
    Subcommand {
        name: "shuttle",
        about: "runs the concurrency tests with a million random schedules, or with the number in the argument",
        run: |args| shuttle(&args),
    },
    Subcommand {
        name: "fuzz",
        about: "fuzzes the protocol layer; --minutes N for each target, then names of targets",
        run: |args| fuzz::run(&args),
    },
    Subcommand {
        name: "soak",
        about: "runs random operations against faulty servers; arguments are passed to remcache-soak",
        run: soak,
    },
    Subcommand {
        name: "interop",
        about: "compares remcache with other clients on the same servers; arguments are passed to remcache-interop",
        run: interop::run,
    },
    Subcommand {
        name: "sccache",
        about: "compiles with sccache, whose cache is remcache-opendal on memcached; arguments are passed to cargo test",
        run: sccache,
    },
    Subcommand {
        name: "bench",
        about: "measures remcache and other clients; --profile release, dist or both, others are passed to remcache-bench",
        run: bench,
    },
    Subcommand {
        name: "tool-bench",
        about: "measures the command-line tool's bench and memcaslap; arguments are passed to remcache-bench tools",
        run: tool_bench,
    },
    Subcommand {
        name: "bulk",
        about: "measures the command-line tool's bulk commands; the argument is the number of items",
        run: |args| bulk::run(&args),
    },
    Subcommand {
        name: "screenshots",
        about: "draws the command-line tool's screens for its documentation; arguments are passed to remcache-cli-docs",
        run: screenshots,
    },
    Subcommand {
        name: "dashboards",
        about: "draws the dashboards of docs/monitoring with the metrics of a run, which takes three minutes",
        run: |_| dashboards(),
    },
    Subcommand {
        name: "compare-tools",
        about: "compares the command-line tool with others; arguments are passed to remcache-cli-docs",
        run: compare_tools,
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

fn bench(args: Vec<String>) -> Result<(), Failure> {
    tools::ensure(&[Need::Tests, Need::Bench])?;
    let (profiles, args) = bench::profiles(args)?;
    for profile in profiles {
        let cargo = ["run", "--profile", profile, "-p", "remcache-bench", "--"];
        Step::cargo(format!("benchmarks, profile {profile}"), cargo).args(args.iter().cloned()).run()?;
    }
    Ok(())
}

fn soak(args: Vec<String>) -> Result<(), Failure> {
    tools::ensure(&[Need::Tests])?;
    Step::cargo("soak", ["run", "--release", "-p", "remcache-soak", "--"]).args(args).run()
}

fn sccache(args: Vec<String>) -> Result<(), Failure> {
    tools::ensure(&[Need::Tests])?;
    let cargo = ["test", "--locked", "--manifest-path", SCCACHE_MANIFEST, "--target-dir", "target/sccache"];
    Step::cargo("sccache", cargo).args(args).run()
}

fn shuttle(args: &[String]) -> Result<(), Failure> {
    let count = args.first().map_or("1000000", String::as_str);
    if count.parse::<usize>().is_err() || args.len() > 1 {
        return Err(format!("usage: cargo xtask shuttle [NUMBER OF SCHEDULES]; got {:?}", args.join(" ")));
    }
    // Optimised, because a million schedules take longer than a build; dependencies are not, to share their build.
    let optimised = ["--config", "profile.dev.package.remcache.opt-level=3"];
    test::concurrency_tests().args(optimised).env("REMCACHE_SCHEDULES", count).run()
}

fn screenshots(args: Vec<String>) -> Result<(), Failure> {
    tools::ensure(&[Need::Tests])?;
    build_tool()?;
    Step::cargo("screenshots", ["run", "-p", "remcache-cli-docs", "--", "screenshots"]).args(args).run()
}

fn dashboards() -> Result<(), Failure> {
    tools::ensure(&[Need::Tests])?;
    let packages = ["-p", "remcache-observability", "-p", "remcache-cli", "--features", "remcache-cli/full"];
    Step::cargo("the service and the tool", ["build", "--bins", "--examples"]).args(packages).run()?;
    let programs = ["target/debug/examples/service", "target/debug/remcache", "docs/monitoring"];
    Step::program("dashboards", "target/debug/remcache-observability").args(programs).run()
}

fn compare_tools(args: Vec<String>) -> Result<(), Failure> {
    tools::ensure(&[Need::Tests, Need::Bench])?;
    build_tool()?;
    install_peers();
    Step::cargo("comparison of tools", ["run", "-p", "remcache-cli-docs", "--", "compare-tools"]).args(args).run()
}

/// Installs the compared programs that come from crates.io; those that cannot be installed are marked in the table.
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

/// Builds [`TOOL`], as released binaries are built.
fn build_tool() -> Result<(), Failure> {
    Step::cargo("the tool", ["build", "--profile", "dist", "-p", "remcache-cli", "--features", "full"]).run()
}

/// The manifest of sccache with the adapter to OpenDAL, which is a separate workspace.
const SCCACHE_MANIFEST: &str = "tools/host-suites/sccache/Cargo.toml";

/// The command-line tool, relative to the root of the workspace.
const TOOL: &str = "target/dist/remcache";

fn tool_bench(args: Vec<String>) -> Result<(), Failure> {
    tools::ensure(&[Need::Tests, Need::Bench])?;
    build_tool()?;
    let cargo = ["run", "--release", "-p", "remcache-bench", "--", "tools"];
    Step::cargo("the tool and memcaslap", cargo).args(args).run()
}

fn usage() -> String {
    let lines = COMMANDS.iter().map(|command| format!("  cargo xtask {:<20}{}\n", command.name, command.about));
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
    fn command_names_are_unique() {
        let names: HashSet<_> = COMMANDS.iter().map(|command| command.name).collect();
        assert_eq!(names.len(), COMMANDS.len());
        assert!(!names.contains(""));
    }

    #[test]
    fn the_root_is_that_of_the_workspace() {
        assert!(root().join("Cargo.lock").exists());
        assert!(root().join("xtask").exists());
    }
}
