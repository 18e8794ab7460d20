use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::rust::{HELLO, LONGPOLL, SDK, SSE};
use super::script::{JS_HELLO, JS_LONGPOLL, PYTHON_LONGPOLL};
use super::*;

const ALL: [(ProjectLanguage, ProjectTemplate); 6] = [
    (ProjectLanguage::Rust, ProjectTemplate::Hello),
    (ProjectLanguage::Rust, ProjectTemplate::Longpoll),
    (ProjectLanguage::Rust, ProjectTemplate::Sse),
    (ProjectLanguage::Python, ProjectTemplate::Longpoll),
    (ProjectLanguage::Js, ProjectTemplate::Longpoll),
    (ProjectLanguage::Js, ProjectTemplate::Hello),
];

/// What a build leaves beside the sources.
const BUILT: [&str; 4] = [".venv", "__pycache__", "node_modules", "app.wasm"];

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest").join(path)
}

/// The paths of all files in a folder of the guests' workspace.
fn paths(folder: &Path, within: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{within}{name}");
        // A link leads to the WIT package, which a project has from the binary.
        if entry.file_type().unwrap().is_symlink() || BUILT.contains(&&*name) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            paths(&entry.path(), &format!("{path}/"), found);
        } else {
            found.insert(path);
        }
    }
}

#[test]
fn every_file_of_a_folder_is_embedded() {
    for (folder, embedded) in [
        ("sdk", SDK),
        ("examples/hello", HELLO),
        ("examples/longpoll", LONGPOLL),
        ("examples/sse", SSE),
        ("examples/python-longpoll", PYTHON_LONGPOLL),
        ("examples/js-longpoll", JS_LONGPOLL),
        ("examples/js-hello", JS_HELLO),
    ] {
        let mut there = BTreeSet::new();
        paths(&workspace(folder), "", &mut there);
        let here: BTreeSet<_> = embedded.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(here, there, "{folder}: the list in project/ has not what the folder has");
    }
}

#[test]
fn project_refers_to_nothing_outside() {
    for (language, template) in ALL {
        for ProjectFile { path, text } in files("a-b", language, template).unwrap() {
            assert!(!text.contains("../"), "{path}");
            if path.ends_with("Cargo.toml") {
                assert!(!text.contains("workspace = true"), "{path}: {text}");
                toml::from_str::<toml::Table>(&text)
                    .unwrap_or_else(|error| panic!("{path}: {error}\n{text}"));
            }
            if path == "linger.toml" || (path == "README.md" && language == ProjectLanguage::Rust) {
                assert!(!text.contains('{'), "{path}: {text}");
            }
        }
    }
}

#[test]
fn project_in_javascript_has_its_name() {
    for template in [ProjectTemplate::Longpoll, ProjectTemplate::Hello] {
        let files = files("Mine", ProjectLanguage::Js, template).unwrap();
        let names = |path: &str| {
            let file = files.iter().find(|file| file.path == path).unwrap();
            file.text.matches("\"name\": \"mine\"").count()
        };
        assert_eq!((names("package.json"), names("package-lock.json")), (1, 2));
    }
}

#[test]
fn template_that_a_language_lacks_is_refused_with_those_that_it_has() {
    let refusal = |language, template| files("a", language, template).unwrap_err();
    assert!(
        refusal(ProjectLanguage::Js, ProjectTemplate::Sse)
            .contains("--template hello or --template longpoll")
    );
    let error = refusal(ProjectLanguage::Python, ProjectTemplate::Hello);
    assert!(error.contains("--template longpoll") && error.contains("--lang rust"), "{error}");
    for (language, _) in ALL {
        files("a", language, language.usual_template()).unwrap();
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
    let check = |name, template| files(name, ProjectLanguage::Rust, template).map(drop);
    for name in ["hello", "a", "my-app_2", "base64"] {
        assert_eq!(check(name, ProjectTemplate::Hello), Ok(()));
    }
    for (name, reason) in [
        ("", "letters"),
        ("2nd", "starting with a letter"),
        ("a/b", "letters"),
        ("..", "letters"),
        ("héllo", "letters"),
        ("fn", "Rust"),
        ("test", "Rust"),
        ("linger-guest", "depends on"),
        ("linger_guest", "depends on"),
        ("tokio", "depends on"),
    ] {
        let error = check(name, ProjectTemplate::Hello).unwrap_err();
        assert!(error.contains(reason), "{name}: {error}");
    }
    check("base64", ProjectTemplate::Sse).unwrap_err();
    // Elsewhere they mean nothing.
    files("test", ProjectLanguage::Python, ProjectTemplate::Longpoll).unwrap();
}
