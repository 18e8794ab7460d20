use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;

const ALL: [Template; 3] = [Template::Hello, Template::Longpoll, Template::Sse];

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest").join(path)
}

/// The paths of all files in a folder of the guests' workspace.
fn paths(folder: &Path, within: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{within}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            paths(&entry.path(), &format!("{path}/"), found);
        } else {
            found.insert(path);
        }
    }
}

#[test]
fn every_file_of_a_folder_is_embedded() {
    for (folder, embedded) in
        [("sdk", SDK), ("examples/hello", HELLO), ("examples/longpoll", LONGPOLL), ("examples/sse", SSE)]
    {
        let mut there = BTreeSet::new();
        paths(&workspace(folder), "", &mut there);
        let here: BTreeSet<_> = embedded.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(here, there, "{folder}: the list in project.rs is not the folder's");
    }
}

#[test]
fn project_refers_to_nothing_outside() {
    for template in ALL {
        for File { path, text } in files("a-b", template) {
            assert!(!text.contains("../"), "{path}");
            if path.ends_with("Cargo.toml") {
                assert!(!text.contains("workspace = true"), "{path}: {text}");
                toml::from_str::<toml::Table>(&text)
                    .unwrap_or_else(|error| panic!("{path}: {error}\n{text}"));
            }
            if matches!(path.as_str(), "README.md" | "linger.toml") {
                assert!(!text.contains('{'), "{path}: {text}");
            }
        }
    }
}

#[test]
fn lock_has_what_the_project_needs_and_no_more() {
    let lock = lock::of_project("hello", "mine");
    for wanted in
        ["name = \"mine\"", "name = \"linger-guest\"", "name = \"wasip3\"", "name = \"wit-bindgen\""]
    {
        assert_eq!(lock.matches(wanted).count(), 1, "{wanted}: {lock}");
    }
    for unwanted in ["name = \"hello\"", "name = \"base64\"", "name = \"wasi\"", "\"wit-bindgen 0"] {
        assert!(!lock.contains(unwanted), "{unwanted}: {lock}");
    }
    assert!(lock::of_project("sse", "mine").contains("name = \"base64\""));
}

#[test]
fn name_that_no_crate_can_have_is_refused() {
    for name in ["hello", "a", "my-app_2", "base64"] {
        assert_eq!(check_name(name, Template::Hello), Ok(()));
    }
    for (name, reason) in [
        ("", "letters"),
        ("2nd", "letter is the first"),
        ("a/b", "letters"),
        ("..", "letters"),
        ("héllo", "letters"),
        ("fn", "Rust"),
        ("test", "Rust"),
        ("linger-guest", "needs"),
        ("linger_guest", "needs"),
        ("tokio", "needs"),
    ] {
        let error = check_name(name, Template::Hello).unwrap_err();
        assert!(error.contains(reason), "{name}: {error}");
    }
    check_name("base64", Template::Sse).unwrap_err();
}
