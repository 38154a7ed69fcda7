//! The floors of the house: a module uses what lies below it, and nothing beside or above.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each floor, from the ground up. A module may use those of lower floors.
const FLOORS: &[&[&str]] = &[
    &[
        "clock", "ending", "error", "id", "identity", "limits", "sync",
    ],
    &["ice", "observe", "signal", "wire"],
    &["broker", "cluster", "session"],
    &["server"],
    &["inspector"],
    &["actix", "middleware", "policy"],
    &["axum"],
];

/// The neighbours on one floor that know each other: a signal is what the wire makes of an event,
/// and one that the application makes is held to the same rules.
const NEIGHBOURS: &[(&str, &str)] = &[("wire", "signal"), ("signal", "wire")];

/// Crates that belong to certain modules only, where others must not come to depend on them.
const FOREIGN: &[(&str, &[&str])] = &[
    ("tokio", &["cluster", "inspector", "middleware", "server"]),
    ("sha2", &["cluster", "inspector"]),
    ("async_nats", &["cluster"]),
    ("redis", &["cluster"]),
    ("rustls", &["cluster"]),
    ("futures_util", &["cluster"]),
    ("percent_encoding", &["cluster"]),
    ("tokio_tungstenite", &["wire"]),
    ("serde_json", &["ice", "inspector", "signal", "wire"]),
    ("hmac", &["ice"]),
    ("sha1", &["ice"]),
    ("simdutf8", &["wire"]),
    ("http", &["middleware"]),
    ("http_body", &["middleware"]),
    ("hyper", &["middleware"]),
    ("hyper_util", &["middleware"]),
    ("tower", &["middleware"]),
    ("pin_project_lite", &["middleware"]),
    ("if_addrs", &["wire"]),
    ("ipnet", &["wire"]),
    ("getrandom", &["id"]),
    ("metrics", &["observe"]),
    ("tracing", &["observe"]),
    ("axum", &["axum", "middleware"]),
    ("actix_web", &["actix"]),
    ("futures_core", &["actix"]),
];

/// One source file, without its unit tests.
struct Source {
    path: PathBuf,
    /// The module at the root of the crate that it belongs to.
    module: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if matches!(
                &*name,
                "tests" | "versus_tungstenite" | "simulation" | "fuzz" | "bench" | "guide"
            ) {
                // What only tests, fuzzers and benchmarks see may look wherever it wants.
            } else if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let inside = path.strip_prefix(&root).expect("a path below").to_owned();
                let module = inside.components().next().expect("a name").as_os_str();
                let module = module.to_string_lossy().trim_end_matches(".rs").to_owned();
                let code = without_tests(&fs::read_to_string(&path).expect("text"));
                sources.push(Source {
                    path: inside,
                    module,
                    code,
                });
            }
        }
    }
    sources
}

/// The code of a file, freed of comments and of a test module at its end.
fn without_tests(text: &str) -> String {
    let code = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let lines = code.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The names that follow `prefix` where it begins a path. A group, `{`, counts as no name: each
/// `use` is to say which module it is about.
fn names_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let begins = |at: usize| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    };
    code.match_indices(prefix)
        .filter(|(at, _)| begins(*at))
        .map(|(at, _)| {
            let rest = code[at + prefix.len()..].chars();
            rest.take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        })
        .collect()
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

#[test]
fn every_module_has_a_floor() {
    let sources = sources();
    assert!(
        sources.len() > 20,
        "the sources are where they are looked for"
    );
    let modules: BTreeSet<_> = sources
        .iter()
        .map(|source| source.module.as_str())
        .collect();
    let known: BTreeSet<_> = FLOORS
        .iter()
        .flat_map(|floor| floor.iter().copied())
        .collect();
    let modules: BTreeSet<_> = modules
        .into_iter()
        .filter(|module| *module != "lib")
        .collect();
    assert_eq!(modules, known);
}

#[test]
fn the_document_has_the_same_floors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("the document");
    for (number, floor) in FLOORS.iter().enumerate() {
        let row = document
            .lines()
            .find_map(|line| line.strip_prefix(&format!("| {number} | ")))
            .expect("a row for each floor");
        let modules = row.split('|').next().unwrap_or_default();
        let modules = modules
            .split(", ")
            .map(|name| name.trim().trim_matches('`'));
        assert_eq!(
            modules.collect::<BTreeSet<_>>(),
            floor.iter().copied().collect()
        );
    }
}

#[test]
fn nobody_climbs() {
    let mut climbing = Vec::new();
    for source in sources().iter().filter(|source| source.module != "lib") {
        let own = floor(&source.module);
        for used in names_after(&source.code, "crate::") {
            let neighbours = NEIGHBOURS.contains(&(&source.module, &used));
            let below = floor(&used).is_some_and(|used| Some(used) < own);
            if used != source.module && !below && !neighbours {
                climbing.push(format!("{} uses crate::{used}", source.path.display()));
            }
        }
    }
    assert!(climbing.is_empty(), "{climbing:#?}");
}

/// `super::` could leave a module by its root; from there everything must come by `crate::`.
#[test]
fn modules_are_left_by_their_full_path_only() {
    let mut leaving = Vec::new();
    for source in sources() {
        let depth = source.path.components().count();
        let is_root = source.path.file_stem().is_some_and(|stem| stem == "mod");
        // `src/a.rs` and `src/a/mod.rs` are one step below the crate's root.
        let steps = if is_root { depth - 1 } else { depth };
        let climb = "super::".repeat(steps);
        if source.module != "lib" && source.code.contains(&climb) {
            leaving.push(source.path);
        }
    }
    assert!(leaving.is_empty(), "{leaving:#?}");
}

#[test]
fn foreign_crates_stay_where_they_belong() {
    let mut strays = Vec::new();
    for source in sources() {
        for (name, homes) in FOREIGN {
            let used = names_after(&source.code, &format!("{name}::"));
            if !used.is_empty() && !homes.contains(&&*source.module) {
                strays.push(format!("{} uses {name}", source.path.display()));
            }
        }
    }
    assert!(strays.is_empty(), "{strays:#?}");
}

/// The tests above see what they are to see.
#[test]
fn uses_are_found_however_they_are_written() {
    let names = |code: &str| names_after(code, "crate::").into_iter().collect::<Vec<_>>();
    assert_eq!(names("use crate::wire::frame;"), ["wire"]);
    assert_eq!(names("use crate::{wire::frame, broker};"), [""]);
    assert_eq!(
        names("pub(crate) use crate::server;\nfn f() -> crate::id::PeerId"),
        ["id", "server"]
    );
    assert_eq!(names("my_crate::x; a::crate::b"), Vec::<String>::new());
    let code =
        without_tests("a\n/// crate::x\nb // c\n#[cfg(test)]\nmod tests {\nuse crate::y;\n}");
    assert_eq!(code, "a\nb // c\n");
}
