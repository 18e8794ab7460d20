//! Greetings in other languages, beside `wasmtime serve`. They import nothing of ours, so that both can serve them.

use std::time::Duration;

use tokio::time::sleep;

use crate::load::{CONNECTIONS, LoadWork};
use crate::process::Process;
use crate::throughput::{Comparison, compare};
use crate::{peers, throughput};

/// After it neither server keeps an instance of WASI 0.2 that has no request.
const IDLE: Duration = Duration::from_secs(12);

const LINGER: &str = "linger";
const ONCE: &str = "linger, max_uses = 1";
const WASMTIME: &str = "wasmtime serve";
const AGAIN: &str = "wasmtime serve, reusing";

/// What `make guests-bench` and `make guests-other` build, and whether it is for WASI 0.2.
const GREETINGS: [(&str, &str, bool); 4] = [
    ("Python, WASI 0.2", "python-hello-p2.wasm", true),
    ("Python, WASI 0.3", "python-hello.wasm", false),
    ("JavaScript on StarlingMonkey, WASI 0.2", "js-hello-p2.wasm", true),
    ("JavaScript on QuickJS, WASI 0.3", "js-hello.wasm", false),
];

pub(crate) async fn measure() -> anyhow::Result<()> {
    if !peers::installed("the greetings in other languages", "wasmtime", "--version") {
        return Ok(());
    }
    for (name, component, p2) in GREETINGS {
        println!("languages: {name}: greetings a second, {CONNECTIONS} connections");
        if peers::built(component).is_err() {
            println!("  skipped: there is no {component} (make guests-bench)");
        } else if p2 {
            beside_wasmtime_p2(component).await?;
        } else {
            beside_wasmtime(component).await?;
        }
    }
    Ok(())
}

/// Both with their defaults, both with an instance for each request, and both with 1,000 requests to an instance.
async fn beside_wasmtime_p2(component: &str) -> anyhow::Result<()> {
    let contestants = [
        (LINGER, Some(peers::linger(component)?)),
        (ONCE, Some(peers::linger_with(component, "apps.bench.instances.max_uses = 1")?)),
        (WASMTIME, peers::wasmtime(component, &[])?),
        (AGAIN, peers::wasmtime(component, &["--max-instance-reuse-count=1000"])?),
    ];
    let comparisons = [(LINGER, WASMTIME, None), (ONCE, WASMTIME, None), (LINGER, AGAIN, None)];
    run(contestants, &comparisons).await
}

/// Both with their defaults, and with those of Linger.
async fn beside_wasmtime(component: &str) -> anyhow::Result<()> {
    let again = ["--max-instance-reuse-count=1000000", "--max-instance-concurrent-reuse-count=1000"];
    let contestants = [
        (LINGER, Some(peers::linger(component)?)),
        (WASMTIME, peers::wasmtime(component, &[])?),
        (AGAIN, peers::wasmtime(component, &again)?),
    ];
    run(contestants, &[(LINGER, WASMTIME, None), (LINGER, AGAIN, None)]).await
}

async fn run(
    contestants: impl IntoIterator<Item = (&'static str, Option<Process>)>,
    comparisons: &[Comparison],
) -> anyhow::Result<()> {
    let contestants = compare(contestants, comparisons, LoadWork::Hello).await?;
    let loaded =
        contestants.iter().map(throughput::ThroughputContestant::resident).collect::<Result<Vec<_>, _>>()?;
    sleep(IDLE).await;
    for (contestant, loaded) in contestants.iter().zip(loaded) {
        let idle = contestant.resident()?;
        println!(
            "  {:>24} {:>6.1} MiB resident after the last turn, {:>6.1} MiB when idle for {IDLE:?}",
            contestant.name,
            mib(loaded),
            mib(idle)
        );
    }
    Ok(())
}

fn mib(kib: u32) -> f64 {
    f64::from(kib) / 1024.0
}
