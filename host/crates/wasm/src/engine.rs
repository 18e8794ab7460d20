//! The engine: how components are compiled, linked and instantiated.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use wasmtime::component::{Component, Linker};
use wasmtime::{Cache, Config, InstanceAllocationStrategy, PoolingAllocationConfig};
use wasmtime_wasi_http::{p2, p3};

use super::meter::TICK;
use super::state::StoreState;
use super::{cache, compose, imports};

/// The reason why a component cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error(
        "{file}: {error}; give the path of a component, such as `cargo build --target wasm32-wasip2` builds"
    )]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file was changed while it was read.
    #[error("{0}: the file is still being written; try again when it is complete")]
    Changing(PathBuf),
    /// It is WebAssembly, but a core module.
    #[error(
        "{0}: the file is a core module, not a component; build it for `wasm32-wasip2`, or wrap it with `wasm-tools component new`"
    )]
    CoreModule(PathBuf),
    /// It is not WebAssembly.
    #[error(
        "{0}: the file is not a WebAssembly component; build one with `cargo build --target wasm32-wasip2`"
    )]
    NotWasm(PathBuf),
    /// It is damaged, or uses features that this host does not support.
    #[error(
        "{file}: the component does not compile: {message}; check it with `wasm-tools validate --features all`"
    )]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Why.
        message: String,
    },
    /// It has an import that the host does not provide.
    #[error("{file}: {message}; `linger check` lists the imports that this host does not provide")]
    MissingImport {
        /// The file.
        file: PathBuf,
        /// Which.
        message: String,
    },
    /// Our middleware does not fit in front of it.
    #[error(
        "{file}: on_disconnect = \"cancel\" is not possible with this component: {message}; use \"signal\""
    )]
    NotComposable {
        /// The file.
        file: PathBuf,
        /// Why.
        message: String,
    },
    /// A middleware does not fit in front of the next component.
    #[error(
        "{file}: the component is not a middleware for {inner}: {message}; it must export a handler, and import the one that {inner} exports, `wasi:http/handler@0.3` or `wasi:http/incoming-handler@0.2`"
    )]
    Middleware {
        /// The file.
        file: PathBuf,
        /// What it should be in front of.
        inner: PathBuf,
        /// Why.
        message: String,
    },
    /// A folder that the configuration grants cannot be opened.
    #[error(
        "apps.{app}.dirs: {message}; give the path of an existing folder, relative to the configuration's"
    )]
    Folder {
        /// The app.
        app: String,
        /// Which, and why.
        message: String,
    },
    /// It does not export a handler.
    #[error(
        "{0}: the component exports neither `wasi:http/handler@0.3` nor `wasi:http/incoming-handler@0.2`, so it handles no requests; `linger wit` prints the worlds to build for"
    )]
    NoHandler(PathBuf),
}

/// Compiles and links components. One for the whole process.
pub struct Engine {
    inner: wasmtime::Engine,
    linker: Linker<StoreState>,
    _ticker: EpochTicker,
}

/// A component that is ready to be instantiated.
#[derive(Clone)]
pub(super) enum ComponentHandler {
    P2(p2::bindings::ProxyPre<StoreState>),
    P3(p3::bindings::ServicePre<StoreState>),
}

impl Engine {
    /// An engine with all imports linked, which keeps compiled code in this directory. It has room for so many instances at a
    /// time, and for as many more while they are replaced; for at least 1,000 and at most 5,000. With traces, what guests
    /// request is of the trace of the request that they do it for.
    pub fn new(code_cache: Option<&Path>, instances: usize, traces: bool) -> wasmtime::Result<Self> {
        let room = instances.saturating_mul(2);
        if instances > MOST_INSTANCES as usize {
            tracing::warn!(
                "the pool has room for {MOST_INSTANCES} instances, fewer than the {instances} that instances.max of all apps allows"
            );
        }
        let engine = engine(code_cache.and_then(cache::open), room)?;
        let mut linker = Linker::new(&engine);
        imports::link(&mut linker, traces)?;
        let ticker = EpochTicker::start(&engine)?;
        Ok(Self { inner: engine, linker, _ticker: ticker })
    }

    /// What the pooling allocator has handed out, by kind. None without one.
    pub fn pool(&self) -> Option<[(&'static str, u64); 5]> {
        let pool = self.inner.pooling_allocator_metrics()?;
        Some([
            ("component-instances", pool.component_instances()),
            ("core-instances", pool.core_instances()),
            ("memories", pool.memories() as u64),
            ("tables", pool.tables() as u64),
            ("stacks", pool.stacks() as u64),
        ])
    }

    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner
    }

    /// Compiles and links a component. Blocks for as long as that takes: up to seconds.
    pub(super) fn load(&self, source: &ComponentSource) -> Result<ComponentHandler, LoadError> {
        let component = self.compile(source)?;
        self.link(&component, &source.name)
    }

    /// The same with the middleware in front that makes its calls cancellable, which is for WASI 0.3.
    pub(super) fn load_cancelling(&self, source: &ComponentSource) -> Result<ComponentHandler, LoadError> {
        let ComponentSource { name, bytes } = source;
        let not_composable = |message| LoadError::NotComposable { file: name.clone(), message };
        let composed = compose::cancelling(bytes.to_vec()).map_err(not_composable)?;
        let invalid = |error: wasmtime::Error| not_composable(one_line(&error));
        let composed = Component::from_binary(&self.inner, &composed).map_err(invalid)?;
        self.link(&composed, name)
    }

    /// Compiles a component. Blocks for as long as that takes: up to seconds.
    pub(super) fn compile(&self, source: &ComponentSource) -> Result<Component, LoadError> {
        source.check()?;
        Component::from_binary(&self.inner, &source.bytes)
            .map_err(|error| LoadError::Invalid { file: source.name.clone(), message: one_line(&error) })
    }

    /// Links a component and finds its handler.
    pub(super) fn link(&self, component: &Component, file: &Path) -> Result<ComponentHandler, LoadError> {
        let wasi = exported_handler(component).ok_or_else(|| LoadError::NoHandler(file.to_owned()))?;
        let missing = |error: wasmtime::Error| LoadError::MissingImport {
            file: file.to_owned(),
            message: one_line(&error),
        };
        let pre = self.linker.instantiate_pre(component).map_err(missing)?;
        Ok(match wasi {
            WasiVersion::P2 => ComponentHandler::P2(p2::bindings::ProxyPre::new(pre).map_err(missing)?),
            WasiVersion::P3 => ComponentHandler::P3(p3::bindings::ServicePre::new(pre).map_err(missing)?),
        })
    }
}

/// A component as it comes in.
#[derive(Clone, Debug)]
pub struct ComponentSource {
    /// Where it is from: its file, or what stands for it in messages.
    pub name: PathBuf,
    /// All its bytes.
    pub bytes: Bytes,
}

impl ComponentSource {
    /// Reads a file. Blocks. One that is written meanwhile may be half of one and half of another: it is not taken.
    pub fn read(file: &Path) -> Result<Self, LoadError> {
        let unreadable = |error| LoadError::Unreadable { file: file.to_owned(), error };
        let mut open = std::fs::File::open(file).map_err(unreadable)?;
        let before = open.metadata().map_err(unreadable)?;
        let mut bytes = Vec::new();
        open.read_to_end(&mut bytes).map_err(unreadable)?;
        let after = open.metadata().map_err(unreadable)?;
        if before.modified().ok() != after.modified().ok() || before.len() != after.len() {
            return Err(LoadError::Changing(file.to_owned()));
        }
        Ok(Self { name: file.to_owned(), bytes: bytes.into() })
    }

    /// Whether it begins as a component does.
    pub(super) fn check(&self) -> Result<(), LoadError> {
        match self.bytes.get(..8) {
            Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Err(LoadError::CoreModule(self.name.clone())),
            Some([0, b'a', b's', b'm', ..]) => Ok(()),
            _ => Err(LoadError::NotWasm(self.name.clone())),
        }
    }
}

/// Which WASI a component's handler is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WasiVersion {
    P2,
    P3,
}

/// The handler that a component exports; where there are both, the newer.
pub(super) fn exported_handler(component: &Component) -> Option<WasiVersion> {
    let ty = component.component_type();
    let exports = |prefix: &str| ty.exports(component.engine()).any(|(name, _)| name.starts_with(prefix));
    if exports("wasi:http/handler@0.3.") {
        Some(WasiVersion::P3)
    } else if exports("wasi:http/incoming-handler@0.2.") {
        Some(WasiVersion::P2)
    } else {
        None
    }
}

/// Whether a component imports a queue or a topic, of either WASI.
pub(super) fn imports_events(component: &Component) -> bool {
    let ty = component.component_type();
    ty.imports(component.engine())
        .any(|(name, _)| name.starts_with("linger:host/queue") || name.starts_with("linger:host/topic"))
}

/// What the pool has room for at least, for apps that come later, and at most.
const LEAST_INSTANCES: u32 = 1_000;
const MOST_INSTANCES: u32 = 5_000;

fn engine(cache: Option<Cache>, instances: usize) -> wasmtime::Result<wasmtime::Engine> {
    let mut config = Config::new();
    config.cache(cache);
    config.wasm_component_model_async(true).epoch_interruption(true);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances)));
    wasmtime::Engine::new(&config).or_else(|error| {
        // The pool reserves terabytes of addresses, which a process with `ulimit -v` cannot have.
        tracing::warn!("cannot create the instance pool, so instances are allocated on demand: {error:#}");
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        wasmtime::Engine::new(&config)
    })
}

/// Room for so many instances at a time. A slot costs addresses until it is used, 4 GiB for a memory, of which there are 128 TiB,
/// and a stack costs two of the 65,530 mappings that a process has by default. What stays resident in a freed slot saves the page faults of the next instance.
fn pool(instances: usize) -> PoolingAllocationConfig {
    let instances = u32::try_from(instances).unwrap_or(MOST_INSTANCES).clamp(LEAST_INSTANCES, MOST_INSTANCES);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        // One of Python is of 14 core instances.
        .total_core_instances(16 * instances)
        // With two components in front: middleware, and what cancels calls.
        .total_memories(3 * instances)
        .total_tables(6 * instances)
        .total_stacks(instances)
        .max_memories_per_component(20)
        .max_tables_per_component(40)
        .linear_memory_keep_resident(128 * 1024)
        .table_keep_resident(16 * 1024);
    pool
}

/// The whole chain of causes on one line.
pub(super) fn one_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Ends the turns of running guests, from a thread of its own: when guests keep all other threads busy,
/// none of those would.
struct EpochTicker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EpochTicker {
    fn start(engine: &wasmtime::Engine) -> std::io::Result<Self> {
        let engine = engine.weak();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("epochs".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for EpochTicker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It sleeps for one tick at most, and cannot panic.
            drop(thread.join());
        }
    }
}
