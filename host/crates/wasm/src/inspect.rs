//! Inspects a component: its world, its imports, and which of them this host does not provide.

use std::fmt;
use std::path::Path;

use linger_base::wit;

use super::engine::{ComponentSource, Engine, LoadError, WasiVersion, exported_handler};
use super::runtime::{LanguageRuntime, usual_uses};

/// The report of `linger check` about a component.
#[derive(Debug)]
pub struct ComponentReport {
    /// The world that it fits, if any.
    pub world: Option<&'static str>,
    /// The language's runtime that it holds, where it is one of those that are used again.
    pub runtime: Option<LanguageRuntime>,
    /// Requests that an instance is used for, unless the configuration says otherwise.
    pub uses: Option<u64>,
    /// Its imports, sorted, each with whether the host provides it.
    pub imports: Vec<(String, bool)>,
    /// Why it cannot be served, in one line.
    pub problem: Option<LoadError>,
}

/// Inspects a component's file. Blocks while it compiles.
pub fn inspect(engine: &Engine, file: &Path) -> Result<ComponentReport, LoadError> {
    let source = ComponentSource::read(file)?;
    let component = engine.compile(&source)?;
    let (wasi, runtime) = (exported_handler(&component), LanguageRuntime::of(&source.bytes));
    let world = wasi.map(|wasi| match wasi {
        WasiVersion::P2 => "linger:host/handler-p2 (WASI 0.2)",
        WasiVersion::P3 => "linger:host/handler (WASI 0.3)",
    });
    let ty = component.component_type();
    let mut imports: Vec<_> =
        ty.imports(engine.wasmtime()).map(|(name, _)| (name.to_owned(), wit::provides(name))).collect();
    imports.sort();
    let problem = engine.link(&component, file).err();
    let uses = wasi.map(|wasi| usual_uses(wasi, runtime));
    Ok(ComponentReport { world, runtime, uses, imports, problem })
}

impl fmt::Display for ComponentReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "world:   {}", self.world.unwrap_or("none: the component exports no HTTP handler"))?;
        if let Some(runtime) = self.runtime {
            writeln!(f, "runtime: {runtime}")?;
        }
        match self.uses {
            Some(1) => writeln!(f, "uses:    an instance has one request (instances.max_uses)")?,
            Some(uses) => writeln!(f, "uses:    an instance has up to {uses} requests (instances.max_uses)")?,
            None => {}
        }
        writeln!(f, "imports: {}", self.imports.len())?;
        for (name, _) in &self.imports {
            writeln!(f, "  {name}")?;
        }
        let lacking: Vec<_> = self.imports.iter().filter(|(_, provided)| !provided).collect();
        match (lacking.as_slice(), &self.problem) {
            ([], None) => writeln!(f, "missing: none, this host can serve it"),
            ([], Some(problem)) => writeln!(f, "missing: {problem}"),
            (lacking, _) => {
                writeln!(f, "missing: {}", lacking.len())?;
                lacking.iter().try_for_each(|(name, _)| writeln!(f, "  {name}"))
            }
        }
    }
}
