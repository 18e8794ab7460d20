//! A `linger.toml` with every key.

use super::tables::{ConfigKey, ConfigTable, tables};

/// The longest line of a comment, in characters.
const WIDTH: usize = 100;

/// A `linger.toml` with every key at its default. Keys without a default are there too, after a `#`.
#[must_use]
pub fn template() -> String {
    let mut text = String::new();
    comment(
        &mut text,
        "Every key of a linger.toml, at its default. A key after a `#` without a space has no default, or belongs to a \
         table that does not exist by default; its value is an example. Add an app, and keep the keys that you change.",
    );
    for table in tables(super::described().as_value()) {
        add(&mut text, &table);
    }
    text
}

fn add(text: &mut String, ConfigTable { heading, description, is_usual, keys }: &ConfigTable) {
    let off = if *is_usual { "" } else { "#" };
    if !heading.is_empty() {
        text.push('\n');
        comment(text, description);
        text.extend([off, heading, "\n"]);
    }
    for ConfigKey { name, default, example, description, .. } in keys {
        text.push('\n');
        comment(text, description);
        let off = if default.is_some() { off } else { "#" };
        let value = default.as_deref().or(example.as_deref()).unwrap_or_default();
        text.extend([off, name, " = ", value, "\n"]);
    }
}

fn comment(text: &mut String, words: &str) {
    let mut width = WIDTH;
    for word in words.split_whitespace() {
        width += 1 + word.chars().count();
        if width > WIDTH {
            let start = if text.is_empty() || text.ends_with('\n') { "#" } else { "\n#" };
            text.push_str(start);
            width = 2 + word.chars().count();
        }
        text.extend([" ", word]);
    }
    text.push('\n');
}
