//! A new project for a handler: one of the examples, and the SDK that it is written with. All of it is in the binary; this
//! is text alone, and writes no file.

mod lock;
mod manifest;

use std::borrow::Cow;

use clap::ValueEnum;

/// A file's path within its folder, and its text.
type Embedded = [(&'static str, &'static str)];

macro_rules! embedded {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../", $folder, "/", $path)))),*]
    };
}

const LICENSE: &str = include_str!("../../LICENSE");

const SDK: &Embedded = embedded!["guest/sdk":
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

const HELLO: &Embedded = embedded!["guest/examples/hello": "Cargo.toml", "src/lib.rs"];

const LONGPOLL: &Embedded = embedded!["guest/examples/longpoll":
    "Cargo.toml",
    "src/answer.rs",
    "src/lib.rs",
    "src/queue.rs",
    "src/topic.rs",
];

const SSE: &Embedded = embedded!["guest/examples/sse":
    "Cargo.toml",
    "src/answer.rs",
    "src/events.rs",
    "src/lib.rs",
    "src/page.html",
];

/// The name of the SDK's crate, and of its folder in a project.
const SDK_NAME: &str = "linger-guest";

/// Where the SDK has the WIT package: two folders up in this repository, its own in a project.
const WIT_HERE: &str = "path: \"../../wit\"";
const WIT_THERE: &str = "path: \"wit\"";

/// What a project starts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// The smallest handler
    Hello,
    /// Long polling over queues and topics
    Longpoll,
    /// The events of a topic as an event stream for browsers
    Sse,
}

impl Template {
    fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Longpoll => "longpoll",
            Self::Sse => "sse",
        }
    }

    fn files(self) -> &'static Embedded {
        match self {
            Self::Hello => HELLO,
            Self::Longpoll => LONGPOLL,
            Self::Sse => SSE,
        }
    }

    /// What shows that it works, once it is served.
    fn trial(self) -> &'static str {
        match self {
            Self::Hello => "curl 'http://127.0.0.1:8080/?name=you'",
            Self::Longpoll => {
                "curl -i 'http://127.0.0.1:8080/poll/greetings?wait=30'    # parks; meanwhile, elsewhere:\n    \
                 curl -i -d hello http://127.0.0.1:8080/push/greetings"
            }
            Self::Sse => {
                "curl -N http://127.0.0.1:8080/events/news            # or open http://127.0.0.1:8080/\n    \
                 curl -d hello http://127.0.0.1:8080/publish/news"
            }
        }
    }
}

/// A file of a project.
#[derive(Debug)]
pub struct File {
    /// Its path within the project's folder.
    pub path: String,
    /// What it holds.
    pub text: Cow<'static, str>,
}

/// All files of a project. Its name has been checked.
#[must_use]
pub fn files(name: &str, template: Template) -> Vec<File> {
    let mut files: Vec<_> = SDK.iter().map(sdk_file).collect();
    let mut add = |path: &str, text: Cow<'static, str>| files.push(File { path: path.into(), text });
    add(&format!("{SDK_NAME}/wit/linger.wit"), crate::wit::document().into());
    add(&format!("{SDK_NAME}/LICENSE"), LICENSE.into());
    for &(path, text) in template.files() {
        let text = match path {
            "Cargo.toml" => manifest::of_project(text, name).into(),
            _ => Cow::Borrowed(text),
        };
        add(path, text);
    }
    add("Cargo.lock", lock::of_project(template.name(), name).into());
    add("linger.toml", fill(include_str!("project/linger.toml"), name, template).into());
    add("README.md", fill(include_str!("project/README.md"), name, template).into());
    add(".gitignore", "/target\n".into());
    files
}

fn sdk_file(&(path, text): &(&'static str, &'static str)) -> File {
    let text = match path {
        "Cargo.toml" => manifest::of_sdk(text).into(),
        "src/bindings.rs" => text.replace(WIT_HERE, WIT_THERE).into(),
        _ => Cow::Borrowed(text),
    };
    File { path: format!("{SDK_NAME}/{path}"), text }
}

fn fill(text: &str, name: &str, template: Template) -> String {
    text.replace("{name}", name)
        .replace("{component}", &component(name))
        .replace("{template}", template.name())
        .replace("{trial}", template.trial())
        .replace("{version}", env!("CARGO_PKG_VERSION"))
}

/// Where a project's build leaves its component.
fn component(name: &str) -> String {
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

/// Whether a project can have this name, and so its crate, its folder and its app. An error says why not, and what to do.
pub fn check_name(name: &str, template: Template) -> Result<(), String> {
    const MOST: usize = 64;
    let fits = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= MOST
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if !fits {
        return Err(format!(
            "`{name}` is no name for a crate: take up to {MOST} letters, digits, `-` and `_`, of which a letter is the first"
        ));
    }
    let spelled = |name: &str| name.replace('-', "_");
    if TAKEN.contains(&spelled(name).as_str()) {
        return Err(format!("`{name}` means something else in Rust; take another name"));
    }
    if lock::needs(template.name()).any(|other| spelled(other) == spelled(name)) {
        return Err(format!("`{name}` is a crate that the project needs; take another name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
