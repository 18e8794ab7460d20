//! What ARCHITECTURE.md promises of the crates, where Cargo does not keep it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::root;

/// What each crate may name of Linger.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("linger-base", &[]),
    ("linger-config", &["linger-base"]),
    ("linger-conformance", &[]),
    ("linger-net", &["linger-base", "linger-config"]),
    ("linger-events", &["linger-base", "linger-config"]),
    ("linger-telemetry", &["linger-base", "linger-config", "linger-events", "linger-net"]),
    ("linger-exchange", &["linger-base", "linger-config", "linger-events", "linger-telemetry"]),
    (
        "linger-wasm",
        &["linger-base", "linger-config", "linger-events", "linger-exchange", "linger-telemetry"],
    ),
    (
        "linger-deploy",
        &[
            "linger-base",
            "linger-config",
            "linger-events",
            "linger-exchange",
            "linger-telemetry",
            "linger-wasm",
        ],
    ),
    (
        "linger-http",
        &[
            "linger-base",
            "linger-config",
            "linger-deploy",
            "linger-events",
            "linger-exchange",
            "linger-net",
            "linger-telemetry",
            "linger-wasm",
        ],
    ),
];

/// Libraries that only some crates may name. The binary's own package is `linger`.
const NAMED_ONLY_BY: &[(&str, &[&str])] = &[
    ("async-nats", &["linger-events"]),
    ("fjall", &["linger-events"]),
    ("h2", &["linger-conformance", "linger-http"]),
    ("hyper", &["linger", "linger-http", "linger-telemetry", "linger-wasm"]),
    ("libc", &["linger-net"]),
    ("linux-raw-sys", &["linger-net"]),
    ("notify", &["linger-deploy"]),
    ("prometheus-client", &["linger", "linger-telemetry"]),
    ("socket2", &["linger-conformance", "linger-net"]),
    ("tokio-rustls", &["linger-conformance", "linger-net", "linger-telemetry"]),
    ("wac-graph", &["linger-wasm"]),
    ("wasmtime", &["linger-wasm"]),
    ("wasmtime-wasi", &["linger-wasm"]),
    ("wasmtime-wasi-http", &["linger-wasm"]),
];

/// What each package of the host names, without the needs of its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--locked", "--format-version", "1", "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter().filter(|package| {
        Path::new(package["manifest_path"].as_str().unwrap()).starts_with(root().join("host"))
    });
    let name = |name: &Value| name.as_str().unwrap().to_owned();
    let named = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| name(&dependency["name"]))
            .collect()
    };
    packages.map(|package| (name(&package["name"]), named(package))).collect()
}

#[test]
fn crates_name_only_those_below_them() {
    let dependencies = dependencies();
    let ours: BTreeSet<_> = dependencies.keys().filter(|&name| name != "linger").cloned().collect();
    let listed: BTreeSet<_> = MAY_NAME.iter().map(|&(name, _)| name.to_owned()).collect();
    assert_eq!(ours, listed, "each crate is listed here");
    for &(name, may) in MAY_NAME {
        let named: Vec<_> = dependencies[name].intersection(&ours).map(String::as_str).collect();
        assert_eq!(named, may, "what {name} names");
    }
}

#[test]
fn libraries_are_named_where_they_belong() {
    let dependencies = dependencies();
    for &(library, only) in NAMED_ONLY_BY {
        let by: Vec<_> = dependencies
            .iter()
            .filter(|(_, named)| named.contains(library))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(by, only, "who names {library}");
    }
}

#[test]
fn unsafe_code_is_in_net_only() {
    let roots =
        crates().into_iter().map(|source| source.join("lib.rs")).chain([root().join("host/src/main.rs")]);
    for file in roots {
        let forbids = fs::read_to_string(&file).unwrap().contains("\n#![forbid(unsafe_code)]\n");
        assert_eq!(forbids, !file.ends_with("net/src/lib.rs"), "{}", file.display());
    }
}

/// The `src` folders of all crates of the host.
fn crates() -> Vec<PathBuf> {
    let crates =
        fs::read_dir(root().join("host/crates")).unwrap().map(|entry| entry.unwrap().path().join("src"));
    crates.chain([root().join("host/src")]).collect()
}

#[test]
fn modules_of_a_crate_are_in_no_circle() {
    for source in crates() {
        let graph = imports(&source);
        assert!(!graph.is_empty(), "{}: nothing imports anything", source.display());
        if let Some(circle) = circle(&graph) {
            panic!("{}: {} import each other", source.display(), circle.join(", "));
        }
    }
}

/// Which of the modules at the top of a crate imports which, but for tests.
fn imports(source: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let lib = fs::read_to_string(source.join("lib.rs")).unwrap();
    let modules = children(source);
    // What the crate's root offers of its modules can be imported from there, too.
    let mut offered = BTreeMap::new();
    for used in statements(&lib, "pub use ") {
        let (module, names) = used.split_once("::").unwrap();
        for name in names.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|name| !name.is_empty()) {
            offered.insert(name.to_owned(), module.to_owned());
        }
    }
    let mut graph = BTreeMap::<_, BTreeSet<_>>::new();
    for file in files(source) {
        let path = file.strip_prefix(source).unwrap();
        let module = path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let depth = path.components().count() - usize::from(path.ends_with("mod.rs"));
        let up = "super::".repeat(depth);
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("\n#[cfg(test)]\n").next().unwrap();
        for name in named(code, "crate::").into_iter().chain(named(code, &up)) {
            let target = if modules.contains(&name) { Some(&name) } else { offered.get(&name) };
            if let Some(target) = target.filter(|&target| *target != module) {
                graph.entry(module.clone()).or_default().insert(target.clone());
            }
        }
    }
    graph
}

/// The names that follow `prefix`: one, or those in braces.
fn named(code: &str, prefix: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect::<String>();
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let after = &code[at + prefix.len()..];
        match after.strip_prefix('{') {
            Some(group) => {
                names.extend(group[..group.find('}').unwrap()].split(',').map(|name| word(name.trim())));
            }
            None => names.push(word(after)),
        }
    }
    names
}

/// What follows `start` in statements that begin with it.
fn statements<'a>(code: &'a str, start: &str) -> Vec<&'a str> {
    code.split(start).skip(1).filter_map(|rest| rest.split(';').next()).collect()
}

/// The modules in the top of a folder.
fn children(folder: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    names
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !is_root(name))
        .collect()
}

fn is_root(name: &str) -> bool {
    ["lib", "main"].contains(&name)
}

/// The files of a crate below its root, but for those of tests.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && name != "tests"
            && !is_root(&name)
        {
            files.push(path);
        }
    }
    files
}

/// Modules that import each other, if there are some.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    // Whatever imports nothing that is left is in none.
    let mut left = graph.clone();
    loop {
        let before = left.len();
        let still: BTreeSet<_> = left.keys().cloned().collect();
        left.retain(|_, imports| {
            imports.retain(|name| still.contains(name));
            !imports.is_empty()
        });
        if left.is_empty() {
            return None;
        }
        if left.len() == before {
            return Some(left.into_keys().collect());
        }
    }
}

#[test]
fn circle_is_found() {
    let graph = |arrows: &[(&str, &str)]| {
        let mut graph = BTreeMap::<_, BTreeSet<_>>::new();
        for &(from, to) in arrows {
            graph.entry(from.to_owned()).or_default().insert(to.to_owned());
        }
        graph
    };
    assert_eq!(circle(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    let found = circle(&graph(&[("a", "b"), ("b", "c"), ("c", "b"), ("d", "e")])).unwrap();
    assert_eq!(found, ["a", "b", "c"], "those in it, and what leads there");
}

#[test]
fn names_of_imports_are_found() {
    assert_eq!(named("use crate::a::B;\nuse crate::{C, d::E};", "crate::"), ["a", "C", "d"]);
    assert_eq!(named("use super::x::Y;", "super::"), ["x"]);
    assert_eq!(statements("pub use a::{B, C};\nuse d::E;", "pub use "), ["a::{B, C}"]);
}

/// How documents name places, and the folder in which those are: the rooms of crates go without `host/crates/`, those of `http`
/// without its name.
const PLACES: &[(&str, &str)] = &[
    ("connection/", "host/crates/http/src"),
    ("request/", "host/crates/http/src"),
    ("serving/", "host/crates/http/src"),
    ("http/src/", "host/crates"),
    ("net/src/", "host/crates"),
    ("telemetry/src/", "host/crates"),
    ("wasm/src/", "host/crates"),
    ("bench/", ""),
    ("docs/", ""),
    ("findings/", ""),
    ("fuzz/", ""),
    ("guest/", ""),
    ("host/", ""),
    ("packaging/", ""),
    ("scripts/", ""),
    ("tests/", ""),
    ("wit/", ""),
];

#[test]
fn places_that_documents_name_are_there() {
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let quoted = text.split('`').skip(1).step_by(2);
        let places: Vec<_> = quoted
            .filter_map(|place| {
                let (_, folder) = PLACES.iter().find(|(start, _)| place.starts_with(start))?;
                Some((place, root().join(folder).join(place)))
            })
            .collect();
        assert!(places.len() > 10, "{document}: {places:?}");
        for (place, path) in places.into_iter().filter(|(place, _)| !place.contains([' ', '*', 'N'])) {
            assert!(path.exists(), "{document}: {place}");
        }
    }
}
