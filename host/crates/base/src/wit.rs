//! The WIT package `linger:host` and what it builds on, as text in the binary.

use std::fmt::Write as _;

/// Our own files, in the order in which they read best.
const OWN: [&str; 9] = [
    include_str!("../../../../wit/types.wit"),
    include_str!("../../../../wit/cancellation.wit"),
    include_str!("../../../../wit/queue.wit"),
    include_str!("../../../../wit/topic.wit"),
    include_str!("../../../../wit/whole.wit"),
    include_str!("../../../../wit/cancellation-p2.wit"),
    include_str!("../../../../wit/queue-p2.wit"),
    include_str!("../../../../wit/topic-p2.wit"),
    include_str!("../../../../wit/world.wit"),
];

macro_rules! vendored {
    ($($folder:literal),* $(,)?) => {
        [$(include_str!(concat!("../../../../wit/deps/", $folder, "/package.wit"))),*]
    };
}

/// The packages that ours builds on, each one file.
const DEPENDENCIES: [&str; 13] = vendored![
    "io-0.2.12",
    "clocks-0.2.12",
    "random-0.2.12",
    "filesystem-0.2.12",
    "sockets-0.2.12",
    "cli-0.2.12",
    "http-0.2.12",
    "clocks-0.3.0",
    "random-0.3.0",
    "filesystem-0.3.0",
    "sockets-0.3.0",
    "cli-0.3.0",
    "http-0.3.0",
];

/// The whole package in one document, which `wit-bindgen`, `wasm-tools` and `componentize-py` read.
#[must_use]
pub fn document() -> String {
    let mut document = String::from("package linger:host@0.1.0;\n");
    for text in OWN {
        document.push_str(split_package(text).1);
    }
    for text in DEPENDENCIES {
        let (package, rest) = split_package(text);
        // Writing to a string cannot fail.
        let _ = write!(document, "\npackage {package} {{{rest}}}\n");
    }
    document
}

/// The package that a file declares, and what follows.
fn split_package(text: &str) -> (&str, &str) {
    let declared = text.split_once("package ").and_then(|(_, rest)| rest.split_once(';'));
    declared.unwrap_or(("", text))
}

/// Whether the host has an interface of this name, at a version that fits: a patch more or less of
/// 0.2 and 0.3 does not matter, as the component model has it.
#[must_use]
pub fn provides(import: &str) -> bool {
    let Some((interface, version)) = import.split_once('@') else { return false };
    let Some((package, name)) = interface.split_once('/') else { return false };
    OWN.iter().chain(&DEPENDENCIES).any(|text| {
        let (declared, rest) = split_package(text);
        let fits = |(declared, has): (&str, &str)| declared == package && track(has) == track(version);
        declared.split_once('@').is_some_and(fits) && declares(rest, name)
    })
}

fn declares(text: &str, interface: &str) -> bool {
    text.lines().any(|line| {
        line.trim()
            .strip_prefix("interface ")
            .is_some_and(|rest| rest.trim_end_matches([' ', '{']) == interface)
    })
}

/// The part of a version within which versions are compatible.
fn track(version: &str) -> Option<(&str, &str)> {
    let mut parts = version.split('.');
    Some((parts.next()?, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_found_by_name_and_track() {
        for name in [
            "linger:host/queue@0.1.0",
            "wasi:http/types@0.2.4",
            "wasi:http/types@0.3.2",
            "wasi:io/poll@0.2.6",
            "wasi:cli/environment@0.2.9",
        ] {
            assert!(provides(name), "{name}");
        }
        for name in [
            "wasi:http/types@0.4.0",
            "wasi:io/poll@0.3.0",
            "wasi:http/nothing@0.2.4",
            "acme:thing/x@0.1.0",
            "wasi:http/types",
            "run",
        ] {
            assert!(!provides(name), "{name}");
        }
    }

    #[test]
    fn document_declares_each_package_once() {
        let document = document();
        for package in ["linger:host@0.1.0;", "wasi:http@0.3.0 {", "wasi:http@0.2.12 {", "wasi:io@0.2.12 {"] {
            assert_eq!(document.matches(&format!("package {package}")).count(), 1, "{package}");
        }
    }
}
