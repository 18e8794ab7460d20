//! What a component is: its world, its imports, and which of them this host lacks.

use std::fmt;
use std::path::Path;

use super::engine::{Engine, LoadError, Wasi, exported_handler};
use crate::wit;

/// What `linger check` says of a component.
#[derive(Debug)]
pub struct Report {
    /// The world that it fits, if any.
    pub world: Option<&'static str>,
    /// Its imports, sorted, each with whether the host has it.
    pub imports: Vec<(String, bool)>,
    /// Why it cannot be served, in one line.
    pub problem: Option<LoadError>,
}

/// Inspects a component's file. Blocks while it compiles.
pub fn inspect(engine: &Engine, file: &Path) -> Result<Report, LoadError> {
    let component = engine.compile_file(file)?;
    let world = exported_handler(&component).map(|wasi| match wasi {
        Wasi::P2 => "linger:host/handler-p2 (WASI 0.2)",
        Wasi::P3 => "linger:host/handler (WASI 0.3)",
    });
    let ty = component.component_type();
    let mut imports: Vec<_> =
        ty.imports(engine.wasmtime()).map(|(name, _)| (name.to_owned(), wit::provides(name))).collect();
    imports.sort();
    let problem = engine.link(&component, file).err();
    Ok(Report { world, imports, problem })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "world:   {}", self.world.unwrap_or("none: it exports no HTTP handler"))?;
        writeln!(f, "imports: {}", self.imports.len())?;
        for (name, _) in &self.imports {
            writeln!(f, "  {name}")?;
        }
        let lacking: Vec<_> = self.imports.iter().filter(|(_, provided)| !provided).collect();
        match (lacking.as_slice(), &self.problem) {
            ([], None) => writeln!(f, "lacks:   nothing, this host can serve it"),
            ([], Some(problem)) => writeln!(f, "lacks:   {problem}"),
            (lacking, _) => {
                writeln!(f, "lacks:   {}", lacking.len())?;
                lacking.iter().try_for_each(|(name, _)| writeln!(f, "  {name}"))
            }
        }
    }
}
