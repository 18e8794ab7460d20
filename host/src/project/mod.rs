//! A new project for a handler: one of the examples, and what it is written with. All of it is in the binary; this is text
//! alone, and writes no file.

/// A file's path within its folder, and its text.
type EmbeddedFile = [(&'static str, &'static str)];

macro_rules! embedded {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../", $folder, "/", $path)))),*]
    };
}

mod lock;
mod manifest;
mod rust;
mod script;

use std::borrow::Cow;

use clap::ValueEnum;

/// The programming language of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProjectLanguage {
    /// Rust, with the SDK `linger-guest`, for WASI 0.3
    Rust,
    /// Python, with a helper module, for WASI 0.3 or 0.2
    Python,
    /// JavaScript: `longpoll` for WASI 0.2, `hello` for WASI 0.3
    Js,
}

impl ProjectLanguage {
    /// The default template.
    #[must_use]
    pub fn usual_template(self) -> ProjectTemplate {
        match self {
            Self::Rust => ProjectTemplate::Hello,
            Self::Python | Self::Js => ProjectTemplate::Longpoll,
        }
    }

    /// The commands that build a new project's component.
    #[must_use]
    pub fn steps(self) -> &'static [&'static str] {
        match self {
            Self::Rust => &[
                "rustup target add wasm32-wasip2      # once",
                "cargo test",
                "cargo build --release --target wasm32-wasip2",
            ],
            Self::Python => &["python3 -m unittest", "python3 build.py"],
            Self::Js => &["npm ci      # once", "npm test --if-present", "npm run build"],
        }
    }
}

/// The template of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProjectTemplate {
    /// The smallest handler
    Hello,
    /// Long polling with queues and topics
    Longpoll,
    /// Server-sent events: a topic as an event stream for browsers
    Sse,
}

impl ProjectTemplate {
    fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Longpoll => "longpoll",
            Self::Sse => "sse",
        }
    }
}

/// A file of a project.
#[derive(Debug)]
pub struct ProjectFile {
    /// Its path within the project's folder.
    pub path: String,
    /// Its contents.
    pub text: Cow<'static, str>,
}

/// All files of a project. Its name is the one of its folder and its app, and in Rust of its crate. An error says what is
/// wrong, and what to do.
pub fn files(
    name: &str,
    language: ProjectLanguage,
    template: ProjectTemplate,
) -> Result<Vec<ProjectFile>, String> {
    check_name(name)?;
    let (mut files, component) = match language {
        ProjectLanguage::Rust => {
            rust::check_name(name, template)?;
            (rust::files(name, template), rust::component(name))
        }
        ProjectLanguage::Python | ProjectLanguage::Js => {
            let files = script::files(name, language, template);
            (files.ok_or_else(|| not_there(language, template))?, script::COMPONENT.to_owned())
        }
    };
    let text = include_str!("linger.toml").replace("{name}", name).replace("{component}", &component);
    files.push(ProjectFile { path: "linger.toml".into(), text: text.into() });
    Ok(files)
}

fn not_there(language: ProjectLanguage, template: ProjectTemplate) -> String {
    let there: Vec<_> = ProjectTemplate::value_variants()
        .iter()
        .filter(|&&other| script::files("name", language, other).is_some())
        .map(|other| format!("--template {}", other.name()))
        .collect();
    format!("the template `{}` is for Rust only; use {}, or --lang rust", template.name(), there.join(" or "))
}

fn check_name(name: &str) -> Result<(), String> {
    const MOST: usize = 64;
    let fits = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= MOST
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if fits {
        Ok(())
    } else {
        Err(format!(
            "`{name}` is not a valid project name: use up to {MOST} letters, digits, `-` and `_`, starting with a letter"
        ))
    }
}

#[cfg(test)]
mod tests;
