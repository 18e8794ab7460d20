//! The `Cargo.lock` of a project: of our workspace's what its crate needs, so that it builds what was tested.

use std::collections::BTreeMap;
use std::fmt::Write as _;

const WORKSPACE: &str = include_str!("../../../guest/Cargo.lock");

/// A package of the workspace's lock file.
#[derive(Clone, Copy)]
struct LockedPackage {
    name: &'static str,
    version: &'static str,
    text: &'static str,
}

impl LockedPackage {
    fn all() -> impl Iterator<Item = Self> {
        WORKSPACE.split("\n\n").filter_map(|text| {
            let text = text.trim().strip_prefix("[[package]]\n")?;
            let value = |key| text.lines().find_map(|line| line.strip_prefix(key)?.strip_suffix('"'));
            Some(Self { name: value("name = \"")?, version: value("version = \"")?, text })
        })
    }

    /// What it needs, as `NAME`, or as `NAME VERSION` where there are several.
    fn needs(self) -> impl Iterator<Item = &'static str> {
        self.text.lines().filter_map(|line| line.strip_prefix(" \"")?.strip_suffix("\","))
    }

    fn is(self, needed: &str) -> bool {
        match needed.split_once(' ') {
            Some((name, version)) => (self.name, self.version) == (name, version),
            None => self.name == needed,
        }
    }
}

/// What a crate of the workspace needs, and what that needs, by name and version. Without the crate itself.
fn closure(root: &str) -> BTreeMap<(&'static str, &'static str), LockedPackage> {
    let mut found = BTreeMap::new();
    let mut next: Vec<_> = LockedPackage::all().filter(|package| package.name == root).collect();
    while let Some(package) = next.pop() {
        for needed in package.needs() {
            for other in LockedPackage::all().filter(|other| other.is(needed)) {
                if found.insert((other.name, other.version), other).is_none() {
                    next.push(other);
                }
            }
        }
    }
    found
}

/// The names of the crates that a crate of the workspace needs.
pub(super) fn needs(root: &str) -> impl Iterator<Item = &'static str> {
    closure(root).into_keys().map(|(name, _)| name)
}

/// The lock file of a project that is named `name`, and otherwise like `root`.
pub(super) fn of_project(root: &str, name: &str) -> String {
    let found = closure(root);
    let mut packages: Vec<_> =
        found.values().map(|package| (package.name, package.text.to_owned())).collect();
    if let Some(root) = LockedPackage::all().find(|package| package.name == root) {
        let renamed =
            root.text.replacen(&format!("name = \"{}\"", root.name), &format!("name = \"{name}\""), 1);
        packages.push((name, renamed));
    }
    packages.sort_by_key(|(name, _)| *name);
    // As Cargo writes it, only that of several versions is named.
    let several =
        |package: &LockedPackage| found.keys().filter(|(name, _)| *name == package.name).count() > 1;
    let alone: Vec<_> = found.values().filter(|package| !several(package)).collect();
    let header = WORKSPACE.split_once("\n\n").map_or("", |(header, _)| header);
    let mut lock = format!("{header}\n");
    for (_, mut text) in packages {
        for LockedPackage { name, version, .. } in &alone {
            text = text.replace(&format!(" \"{name} {version}\","), &format!(" \"{name}\","));
        }
        // Writing to a string cannot fail.
        let _ = write!(lock, "\n[[package]]\n{text}\n");
    }
    lock
}
