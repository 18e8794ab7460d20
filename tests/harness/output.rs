//! What a command of the binary says.

use std::process::Output;

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// It was refused in one line with all of these parts, and with the exit code of a mistake.
#[track_caller]
pub(crate) fn assert_refused(output: &Output, parts: &[&str]) {
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("error: "), "{said}");
    for part in parts {
        assert!(said.contains(part), "{said:?} does not say {part:?}");
    }
    assert!(!said.contains("backtrace"), "{said}");
    assert_eq!(text(&output.stdout), "");
    assert_eq!(output.status.code(), Some(2), "{said}");
}
