//! A project in Python or JavaScript: an example as it is, with the WIT package that its bindings come from.

use super::{EmbeddedFile, ProjectFile, ProjectLanguage, ProjectTemplate};

pub(super) const PYTHON_LONGPOLL: &EmbeddedFile = embedded!["guest/examples/python-longpoll":
    ".gitignore",
    "README.md",
    "answer.py",
    "app.py",
    "build.py",
    "linger/__init__.py",
    "linger/__init__.pyi",
    "linger/local.py",
    "linger/p2.py",
    "linger/p3.py",
    "linger/refusals.py",
    "linger/types.py",
    "requirements.txt",
    "test_app.py",
];

pub(super) const JS_LONGPOLL: &EmbeddedFile = embedded!["guest/examples/js-longpoll":
    ".gitignore",
    ".npmrc",
    "README.md",
    "answer.js",
    "answer.test.js",
    "app.js",
    "linger/answers.d.ts",
    "linger/answers.js",
    "linger/index.d.ts",
    "linger/index.js",
    "package-lock.json",
    "package.json",
];

pub(super) const JS_HELLO: &EmbeddedFile = embedded!["guest/examples/js-hello":
    ".gitignore",
    ".npmrc",
    "README.md",
    "app.js",
    "package-lock.json",
    "package.json",
    "wit/hello.wit",
];

/// Where the build leaves the component.
pub(super) const COMPONENT: &str = "app.wasm";

/// All files of a project; none if there is no such one.
pub(super) fn files(
    name: &str,
    language: ProjectLanguage,
    template: ProjectTemplate,
) -> Option<Vec<ProjectFile>> {
    let (example, wit) = match (language, template) {
        (ProjectLanguage::Python, ProjectTemplate::Longpoll) => (PYTHON_LONGPOLL, "wit/linger.wit"),
        (ProjectLanguage::Js, ProjectTemplate::Longpoll) => (JS_LONGPOLL, "wit/linger.wit"),
        // What it imports is a world of its own, beside the package.
        (ProjectLanguage::Js, ProjectTemplate::Hello) => (JS_HELLO, "wit/deps/linger.wit"),
        _ => return None,
    };
    let mut files: Vec<_> = example.iter().map(|&(path, text)| file(path, text, name)).collect();
    files.push(ProjectFile { path: wit.into(), text: linger_base::wit::document().into() });
    Some(files)
}

/// The tools of JavaScript want to know the project's name, in lower case.
fn file(path: &str, text: &'static str, name: &str) -> ProjectFile {
    let renamed = |before: &str| {
        let (before, after) =
            (format!("\"name\": \"{before}\""), format!("\"name\": \"{}\"", name.to_lowercase()));
        text.replace(&before, &after).into()
    };
    let text = match path {
        "package.json" | "package-lock.json" if text.contains("\"js-hello\"") => renamed("js-hello"),
        "package.json" | "package-lock.json" => renamed("js-longpoll"),
        _ => text.into(),
    };
    ProjectFile { path: path.into(), text }
}
