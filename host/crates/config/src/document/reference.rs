//! The reference for people, in Markdown.

use std::fmt::Write as _;

use super::tables::{ConfigKey, ConfigTable, tables};

/// The introduction, which does not belong to any key.
const INTRODUCTION: &str = include_str!("introduction.md");

/// Every key of a `linger.toml` with its type, default and meaning, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    for table in tables(super::described().as_value()) {
        add(&mut text, &table);
    }
    text
}

fn add(text: &mut String, ConfigTable { heading, description, keys, .. }: &ConfigTable) {
    // Writing to a string does not fail.
    let _ = match heading.as_str() {
        "" => write!(text, "\n## Top of the file\n\nThese keys come before any table.\n"),
        heading => write!(text, "\n## `{heading}`\n\n{description}\n"),
    };
    if !keys.is_empty() {
        text.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
    }
    for ConfigKey { name, kind, default, is_required, description, .. } in keys {
        let default = match default {
            Some(default) => format!("`{default}`"),
            None if *is_required => "required".to_owned(),
            None => "not set".to_owned(),
        };
        let description = description.replace('|', "\\|");
        let _ = writeln!(text, "| `{name}` | {kind} | {default} | {description} |");
    }
}
