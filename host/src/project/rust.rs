//! A project in Rust: one of the examples, and the SDK that it is written with.

use std::borrow::Cow;

use super::{EmbeddedFile, ProjectFile, ProjectTemplate, lock, manifest};

const LICENSE: &str = include_str!("../../../LICENSE");

pub(super) const SDK: &EmbeddedFile = embedded!["guest/sdk":
    "Cargo.toml",
    "src/bindings.rs",
    "src/body.rs",
    "src/cancellation.rs",
    "src/error.rs",
    "src/event.rs",
    "src/handler.rs",
    "src/lib.rs",
    "src/look.rs",
    "src/queue.rs",
    "src/request.rs",
    "src/response.rs",
    "src/select.rs",
    "src/sse.rs",
    "src/task.rs",
    "src/time.rs",
    "src/topic.rs",
];

pub(super) const HELLO: &EmbeddedFile = embedded!["guest/examples/hello": "Cargo.toml", "src/lib.rs"];

pub(super) const LONGPOLL: &EmbeddedFile = embedded!["guest/examples/longpoll":
    "Cargo.toml",
    "src/answer.rs",
    "src/lib.rs",
    "src/queue.rs",
    "src/topic.rs",
];

pub(super) const SSE: &EmbeddedFile = embedded!["guest/examples/sse":
    "Cargo.toml",
    "src/answer.rs",
    "src/events.rs",
    "src/lib.rs",
    "src/page.html",
];

/// The name of the SDK's crate, and of its folder in a project.
pub(super) const SDK_NAME: &str = "linger-guest";

/// Where the SDK has the WIT package: two folders up in this repository, its own in a project.
const WIT_HERE: &str = "path: \"../../wit\"";
const WIT_THERE: &str = "path: \"wit\"";

/// All files of a project.
pub(super) fn files(name: &str, template: ProjectTemplate) -> Vec<ProjectFile> {
    let mut files: Vec<_> = SDK.iter().map(sdk_file).collect();
    let mut add = |path: &str, text: Cow<'static, str>| files.push(ProjectFile { path: path.into(), text });
    add(&format!("{SDK_NAME}/wit/linger.wit"), linger_base::wit::document().into());
    add(&format!("{SDK_NAME}/LICENSE"), LICENSE.into());
    for &(path, text) in example(template) {
        let text = match path {
            "Cargo.toml" => manifest::of_project(text, name).into(),
            _ => Cow::Borrowed(text),
        };
        add(path, text);
    }
    add("Cargo.lock", lock::of_project(template.name(), name).into());
    add("README.md", readme(name, template).into());
    add(".gitignore", "/target\n".into());
    files
}

fn example(template: ProjectTemplate) -> &'static EmbeddedFile {
    match template {
        ProjectTemplate::Hello => HELLO,
        ProjectTemplate::Longpoll => LONGPOLL,
        ProjectTemplate::Sse => SSE,
    }
}

fn sdk_file(&(path, text): &(&'static str, &'static str)) -> ProjectFile {
    let text = match path {
        "Cargo.toml" => manifest::of_sdk(text).into(),
        "src/bindings.rs" => text.replace(WIT_HERE, WIT_THERE).into(),
        _ => Cow::Borrowed(text),
    };
    ProjectFile { path: format!("{SDK_NAME}/{path}"), text }
}

fn readme(name: &str, template: ProjectTemplate) -> String {
    include_str!("README.md")
        .replace("{name}", name)
        .replace("{template}", template.name())
        .replace("{trial}", trial(template))
        .replace("{version}", env!("CARGO_PKG_VERSION"))
}

/// What shows that it works, once it is served.
fn trial(template: ProjectTemplate) -> &'static str {
    match template {
        ProjectTemplate::Hello => "curl 'http://127.0.0.1:8080/?name=you'",
        ProjectTemplate::Longpoll => {
            "curl -i 'http://127.0.0.1:8080/poll/greetings?wait=30'    # parks; meanwhile, elsewhere:\n    \
             curl -i -d hello http://127.0.0.1:8080/push/greetings"
        }
        ProjectTemplate::Sse => {
            "curl -N http://127.0.0.1:8080/events/news            # or open http://127.0.0.1:8080/\n    \
             curl -d hello http://127.0.0.1:8080/publish/news"
        }
    }
}

/// Where a project's build leaves its component.
pub(super) fn component(name: &str) -> String {
    format!("target/wasm32-wasip2/release/{}.wasm", name.replace('-', "_"))
}

/// What no crate can be called: the words of Rust, and the crates that every other can name.
const TAKEN: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Whether a crate can have this name. An error says why not, and what to do.
pub(super) fn check_name(name: &str, template: ProjectTemplate) -> Result<(), String> {
    let spelled = |name: &str| name.replace('-', "_");
    if TAKEN.contains(&spelled(name).as_str()) {
        return Err(format!("`{name}` is reserved in Rust; choose another name"));
    }
    if lock::needs(template.name()).any(|other| spelled(other) == spelled(name)) {
        return Err(format!("`{name}` is a crate that the project depends on; choose another name"));
    }
    Ok(())
}
