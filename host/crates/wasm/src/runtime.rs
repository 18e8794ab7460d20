//! Which language's runtime a component holds, of those that are known to be at ease with a second request.
//!
//! It is seen in what links the runtime's core modules, which no tool can strip, and which a composition keeps.

use std::fmt;

use wasmparser::{Parser, Payload, Result};

use super::engine::WasiVersion;

/// The runtime of a language, in which a handler written for one request after the other lives on between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LanguageRuntime {
    /// `CPython`, by componentize-py.
    Python,
    /// `SpiderMonkey`, by componentize-js.
    StarlingMonkey,
}

/// The library that componentize-py links to each handler.
const PYTHON: &str = "libcomponentize_py_runtime.so";

/// What componentize-js looks for before it lets a module out of its hands.
const STARLING_MONKEY: &str = "check_init";

/// What it adds for a handler that a script exports. One that listens for the event `fetch` has none, and cannot be called twice.
const OF_A_SCRIPT: &str = "cabi_post_wasi:http/incoming-handler@0.2.";

impl LanguageRuntime {
    /// The one that is in a component, or in one of those that it is composed of.
    pub(super) fn of(component: &[u8]) -> Option<Self> {
        // What cannot be parsed does not compile either, and that says why.
        Parser::new(0).parse_all(component).find_map(|payload| Self::at(&payload.ok()?).ok()?)
    }

    fn at(payload: &Payload<'_>) -> Result<Option<Self>> {
        match payload {
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports() {
                    if import?.module == PYTHON {
                        return Ok(Some(Self::Python));
                    }
                }
            }
            Payload::ExportSection(exports) => {
                let (mut starling_monkey, mut of_a_script) = (false, false);
                for export in exports.clone() {
                    let name = export?.name;
                    starling_monkey |= name == STARLING_MONKEY;
                    of_a_script |= name.starts_with(OF_A_SCRIPT);
                }
                return Ok((starling_monkey && of_a_script).then_some(Self::StarlingMonkey));
            }
            _ => {}
        }
        Ok(None)
    }
}

impl fmt::Display for LanguageRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Python => "Python (componentize-py)",
            Self::StarlingMonkey => "JavaScript (StarlingMonkey)",
        })
    }
}

/// Requests that an instance is used for where the configuration does not say. What a guest leaks at each must not add up for
/// ever.
pub(super) fn usual_uses(wasi: WasiVersion, runtime: Option<LanguageRuntime>) -> u64 {
    match (wasi, runtime) {
        (WasiVersion::P3, _) => 1_000_000,
        // Each leaks some hundred bytes a request, and takes some milliseconds to start.
        (WasiVersion::P2, Some(_)) => 1_000,
        // Nothing that a component is built with promises that it expects a second one.
        (WasiVersion::P2, None) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::compose;
    use super::*;

    const PYTHON: &str = r#"(core module (import "libcomponentize_py_runtime.so" "_initialize" (func)))"#;

    fn script(exports: &[&str]) -> String {
        let exports: Vec<_> = exports.iter().map(|name| format!("(export \"{name}\" (func $f))")).collect();
        format!("(core module (func $f) {})", exports.concat())
    }

    fn runtime(component: &str) -> Option<LanguageRuntime> {
        LanguageRuntime::of(&wat::parse_str(component).unwrap())
    }

    #[test]
    fn python_is_seen_by_its_library() {
        assert_eq!(runtime(&format!("(component (core module) {PYTHON})")), Some(LanguageRuntime::Python));
        let named = r#"(component (core module (import "env" "libcomponentize_py_runtime.so" (func))))"#;
        assert_eq!(runtime(named), None);
    }

    #[test]
    fn starling_monkey_is_seen_by_its_exports() {
        let handler = "cabi_post_wasi:http/incoming-handler@0.2.12#handle";
        let of_a_script = script(&["memory", "check_init", handler]);
        assert_eq!(runtime(&format!("(component {of_a_script})")), Some(LanguageRuntime::StarlingMonkey));
    }

    #[test]
    fn script_that_listens_for_fetch_is_not_used_again() {
        let handler = "wasi:http/incoming-handler@0.2.12#handle";
        let listens = script(&["check_init", handler]);
        assert_eq!(runtime(&format!("(component {listens})")), None);
        // Not even behind what has the other half.
        let other = script(&[&format!("cabi_post_{handler}")]);
        assert_eq!(runtime(&format!("(component (component {other}) (component {listens}))")), None);
    }

    #[test]
    fn runtime_is_seen_behind_middleware() {
        let handler = r#""wasi:http/incoming-handler@0.2.0""#;
        let outer =
            format!("(component (import {handler} (instance $it)) (export {handler} (instance $it)))");
        let inner = format!("(component {PYTHON} (instance $it) (export {handler} (instance $it)))");
        let [outer, inner] = [outer, inner].map(|text| wat::parse_str(text).unwrap());
        let composed = compose::in_front(outer, inner).unwrap();
        assert_eq!(LanguageRuntime::of(&composed), Some(LanguageRuntime::Python));
    }

    #[test]
    fn what_is_no_component_has_none() {
        assert_eq!(LanguageRuntime::of(b""), None);
        assert_eq!(LanguageRuntime::of(b"hello, world"), None);
        let whole = wat::parse_str(format!("(component (core module) {PYTHON})")).unwrap();
        for end in 0..whole.len() {
            // Half of one is refused by who compiles it.
            LanguageRuntime::of(&whole[..end]);
        }
    }

    #[test]
    fn component_that_nothing_is_known_of_is_used_once() {
        assert_eq!(usual_uses(WasiVersion::P2, runtime("(component (core module))")), 1);
        assert!(usual_uses(WasiVersion::P2, Some(LanguageRuntime::Python)) > 1);
    }
}
