//! The manifests of a project: those of our workspace, with what they take from it written out.

use super::rust::SDK_NAME;

const WORKSPACE: &str = include_str!("../../../guest/Cargo.toml");

/// The table that has lints from the workspace: a project chooses its own.
const LINTS: &str = "\n[lints]\nworkspace = true\n";

pub(super) fn of_sdk(manifest: &str) -> String {
    standalone(manifest, |_| None)
}

pub(super) fn of_project(manifest: &str, name: &str) -> String {
    let manifest = standalone(manifest, |key| match key {
        // What becomes of it is not ours to say.
        "license" => Some(String::new()),
        SDK_NAME => Some(format!("{SDK_NAME} = {{ path = \"{SDK_NAME}\" }}\n")),
        _ => None,
    });
    let manifest: String = manifest
        .split_inclusive('\n')
        .map(|line| if line.starts_with("name = ") { format!("name = \"{name}\"\n") } else { line.into() })
        .collect();
    let profile = WORKSPACE.find("[profile.release]").map_or("", |at| &WORKSPACE[at..]);
    format!("{manifest}\n# Its own workspace, independent of the parent folders.\n[workspace]\n\n{profile}")
}

/// Writes out what a manifest takes from the workspace; `instead` has what it gets in the place of that.
fn standalone(manifest: &str, instead: impl Fn(&str) -> Option<String>) -> String {
    let mut written = String::new();
    for line in manifest.replace(LINTS, "").split_inclusive('\n') {
        match line.trim_end().strip_suffix(".workspace = true") {
            Some(key) => written += &instead(key).unwrap_or_else(|| entry(key).into()),
            None => written += line,
        }
    }
    written
}

/// What the workspace says of a key, to the end of the line with its last bracket.
fn entry(key: &str) -> &'static str {
    let Some(begin) = WORKSPACE.find(&format!("\n{key} = ")) else { return "" };
    let entry = &WORKSPACE[begin + 1..];
    let mut open = 0;
    for (at, c) in entry.char_indices() {
        match c {
            '[' | '{' => open += 1,
            ']' | '}' => open -= 1,
            '\n' if open == 0 => return &entry[..=at],
            _ => {}
        }
    }
    entry
}
