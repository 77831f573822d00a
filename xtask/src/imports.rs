//! Checks that dependencies between the modules of a crate point down only.
//!
//! A table lists the modules of a crate's `src` from the top layer to the bottom one. A module may import itself and
//! modules below it in the table. Tests may import anything.

mod paths;

use crate::{Failure, root};
pub(crate) use paths::tokens;
use paths::{Path, Scan};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path as File;

/// The layers of a crate.
struct Layers {
    /// The source directory, relative to the root of the workspace.
    src: &'static str,
    /// Its modules from top to bottom: `session`, or `connection::tls` for a nested one. Modules that are not
    /// listed belong to the nearest listed parent. Each top-level module must be listed.
    modules: &'static [&'static str],
}

/// The crates whose layers are checked.
const CRATES: &[Layers] = &[
    Layers {
        src: "crates/remcache/src",
        modules: &[
            "blocking",
            "migration",
            "discovery",
            "cache",
            "recipes",
            "ops",
            "client",
            "routing",
            "server",
            "connection",
            "health",
            "config",
            "transport",
            "policy",
            "value",
            "singleflight",
            "observe",
            "health::state",
            "address",
            "server_list",
            "journal_file",
            "percent_encoding",
            "connection_failure",
            "result",
            "sentinel",
            "error",
            "reason",
            "time",
        ],
    },
    Layers {
        src: "crates/remcache-proto/src",
        modules: &["connection", "binary", "text::server", "meta", "text", "line", "buffer", "types"],
    },
    Layers {
        src: "crates/remcache-distribution/src",
        modules: &[
            "explain",
            "candidates",
            "ring",
            "names",
            "validate",
            "spec_table",
            "hashed_part",
            "ketama",
            "rendezvous",
            "weighted_modulo",
            "spec",
            "ketama::continuum",
            "ketama::points",
            "jump",
            "furc",
            "live_modulo",
            "node_key",
            "node",
            "hash",
            "golden_vectors",
        ],
    },
    Layers {
        src: "crates/remcache-server/src",
        modules: &[
            "server",
            "builder",
            "connection",
            "session",
            "binary",
            "text",
            "tls",
            "stats",
            "state",
            "fault_injector",
            "fault_registry",
            "settings",
            "profile",
            "cluster",
            "store",
            "prefix_stats",
            "watch",
            "uri_escape",
            "arithmetic",
            "expiry",
            "clock",
            "listener",
            "stream",
            "fault",
            "buffers",
            "request_buffer",
            "reply_buffer",
            "step",
            "version",
        ],
    },
    Layers {
        src: "crates/remcache-cli/src",
        modules: &[
            "cli",
            "commands",
            "bulk",
            "load_generator",
            "metrics",
            "session",
            "embedded",
            "context",
            "atomic_file",
            "selection",
            "item_limit",
            "same_server",
            "stats",
            "certificate",
            "outcome_counts",
            "comparison",
            "input",
            "interrupt",
            "logging",
            "prompt",
            "output",
            "options",
            "exit",
            "escape",
            "wrap",
        ],
    },
];

/// Fails if a module imports one above it.
pub(crate) fn check() -> Result<(), Failure> {
    let mut problems = Vec::new();
    for layers in CRATES {
        problems.extend(layers.problems(&modules(&root().join(layers.src))?));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n")),
    }
}

/// The modules of a crate, each with its source text; the crate's root has the empty path.
pub(crate) type Modules = BTreeMap<Path, String>;

impl Layers {
    /// Returns imports that point up, and modules that are not in the table.
    fn problems(&self, modules: &Modules) -> Vec<String> {
        let scans: BTreeMap<&Path, Scan> = modules.iter().map(|(path, text)| (path, Scan::new(path, text))).collect();
        let is_test = |module: &Path| scans.values().any(|scan| scan.tests.iter().any(|test| module.starts_with(test)));
        let mut problems = self.unlisted(modules);
        // The crate's root may import everything.
        for (module, scan) in scans.iter().filter(|(module, _)| !module.is_empty() && !is_test(module)) {
            for import in &scan.imports {
                let import = resolve_root(import, &scans);
                let Some((from, to)) = self.layer(module).zip(self.layer(&import)) else { continue };
                if to < from {
                    let (from, to) = (self.modules[from], self.modules[to]);
                    let (module, import) = (module.join("::"), import.join("::"));
                    problems.push(format!("{}: {module} imports {import}, but {to} is above {from}", self.src));
                }
            }
        }
        problems.dedup();
        problems
    }

    /// Returns top-level modules that are not in the table, and entries without a module.
    fn unlisted(&self, modules: &Modules) -> Vec<String> {
        let top = modules.keys().filter(|module| module.len() == 1);
        let missing = top.filter(|module| self.layer(module).is_none());
        let missing = missing.map(|module| format!("{}: module {} is not in the table", self.src, module[0]));
        let is_known = |name: &str| modules.keys().any(|module| module.join("::") == name);
        let stale = self.modules.iter().filter(|name| !is_known(name));
        missing.chain(stale.map(|name| format!("{}: there is no module {name}", self.src))).collect()
    }

    /// Returns the index in the table of the longest entry that contains this path; 0 is the top.
    fn layer(&self, path: &[String]) -> Option<usize> {
        let depth = |entry: &str| entry.split("::").count();
        let contains = |entry: &str| depth(entry) <= path.len() && entry.split("::").eq(&path[..depth(entry)]);
        let entries = self.modules.iter().enumerate().filter(|(_, entry)| contains(entry));
        entries.max_by_key(|(_, entry)| depth(entry)).map(|(index, _)| index)
    }
}

/// Resolves an item of the crate's root, `crate::Client`, to the module that the root re-exports it from.
fn resolve_root(import: &Path, scans: &BTreeMap<&Path, Scan>) -> Path {
    let is_module = import.first().is_none_or(|first| scans.contains_key(&vec![first.clone()]));
    let root = scans.get(&Path::new()).filter(|_| !is_module);
    let exported = root.and_then(|root| root.imports.iter().find(|exported| exported.last() == import.first()));
    exported.unwrap_or(import).clone()
}

/// Reads the modules below a source directory.
pub(crate) fn modules(src: &File) -> Result<Modules, Failure> {
    let mut modules = Modules::new();
    read(src, &Path::new(), &mut modules).map_err(|error| format!("{}: {error}", src.display()))?;
    Ok(modules)
}

fn read(directory: &File, parent: &Path, modules: &mut Modules) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let file = entry?.path();
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if file.is_dir() {
            read(&file, &[&parent[..], &[name]].concat(), modules)?;
        } else if file.extension().is_some_and(|extension| extension == "rs") {
            let is_parent = name == "mod" || (parent.is_empty() && (name == "lib" || name == "main"));
            let module = if is_parent { parent.clone() } else { [&parent[..], &[name]].concat() };
            modules.insert(module, fs::read_to_string(&file)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: Layers = Layers { src: "src", modules: &["top", "middle::upper", "middle", "bottom"] };

    fn problems(files: &[(&str, &str)]) -> Vec<String> {
        let path = |name: &str| name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let empty = ["", "top", "middle", "middle::upper", "bottom"].map(|name| (path(name), String::new()));
        let mut modules: Modules = empty.into_iter().collect();
        modules.extend(files.iter().map(|(name, text)| (path(name), (*text).to_owned())));
        LAYERS.problems(&modules)
    }

    #[test]
    fn the_crates_of_the_table_have_no_upward_imports() {
        check().unwrap();
    }

    #[test]
    fn imports_that_point_down_are_allowed() {
        let files = [
            ("top", "use crate::{bottom, middle::{Item, upper}};"),
            ("middle::upper", "use super::Item; use crate::bottom;"),
            ("middle", "fn f() { crate::bottom::g() }"),
        ];
        assert!(problems(&files).is_empty(), "{:?}", problems(&files));
    }

    #[test]
    fn imports_that_point_up_are_reported() {
        for (module, text) in [
            ("bottom", "use crate::top;"),
            ("bottom", "use crate::{bottom::a, middle};"),
            ("bottom", "fn f() { println!(\"{}\", crate::top::NAME) }"),
            ("bottom", "use super::top::Item;"),
            ("bottom", "mod inner { use super::super::top::Item; }"),
            ("bottom::deep", "use super::super::middle;"),
            ("middle", "use crate::middle::upper::Item;"),
            ("middle", "mod upper; pub use upper::Item;"),
            ("middle::other", "use super::upper::Item;"),
        ] {
            assert_eq!(problems(&[(module, text)]).len(), 1, "{module}: {text}");
        }
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        let text = "// use crate::top;\n/* crate::top */ /// [`crate::top`]\nconst S: &str = \"crate::top\"; \
                    const R: &str = r#\"\" crate::top\"#; const C: char = '\"'; fn f<'a>() {}\n\
                    #[cfg(test)]\nmod tests { use crate::top; }";
        assert!(problems(&[("bottom", text)]).is_empty());
        let files = [("bottom", "#[cfg(test)]\nmod checks;"), ("bottom::checks", "use crate::top;")];
        assert!(problems(&files).is_empty());
    }

    #[test]
    fn items_of_the_root_are_followed_to_their_module() {
        let files = [("", "mod top; pub use top::{Item as Renamed, Thing};"), ("bottom", "use crate::Thing;")];
        let found = problems(&files);
        assert_eq!(found, ["src: bottom imports top::Thing, but top is above bottom"]);
    }

    #[test]
    fn the_table_is_complete_and_current() {
        assert_eq!(problems(&[("new", "")]), ["src: module new is not in the table"]);
        let layers = Layers { src: "src", modules: &["gone"] };
        assert_eq!(layers.problems(&Modules::new()), ["src: there is no module gone"]);
    }
}
