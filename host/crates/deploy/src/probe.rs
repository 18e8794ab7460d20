//! Tests a generation before it serves: whether an instance starts, and whether its probe succeeds.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Empty};
use tokio_util::task::TaskTracker;

use linger_base::{ClientProbe, Outcome, Reason};
use linger_config::ProbeConfig;
use linger_exchange::{Exchange, Generation, RequestInfo, RoutePolicy};
use linger_wasm::{App, CallError, ShardHandle};

/// Who sends the probe: it stays until it has its answer.
#[derive(Debug)]
struct ProbeSender;

impl ClientProbe for ProbeSender {
    fn ask_departure(&self) -> Option<Reason> {
        None
    }
}

/// What is wrong with the answer to a probe.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeFailure {
    /// It was not asked.
    #[error("all instances are busy")]
    Busy,
    /// It was, and this is what came of it.
    #[error("GET {0}")]
    Answer(String),
}

/// Sends the probe request to a component.
pub(super) async fn probe(
    app: &App,
    generation: Arc<Generation>,
    probe: &ProbeConfig,
    tasks: TaskTracker,
) -> Result<(), ProbeFailure> {
    let client: Arc<dyn ClientProbe> = Arc::new(ProbeSender);
    let watching: Weak<dyn ClientProbe> = Arc::downgrade(&client);
    // What it takes goes back, and that does not count: it is asked again and again.
    let asked = RequestInfo { uri: probe.path.parse().unwrap_or_default(), ..RequestInfo::default() };
    let exchange =
        Arc::new(Exchange::new(generation, RoutePolicy::default(), 1, watching, asked).for_nobody());
    // Of no core: its instance is nobody else's.
    let shard = ShardHandle { index: usize::MAX, tasks };
    let _ends = ProbeExchange(exchange.clone());
    let answered = tokio::time::timeout(probe.timeout, answer(app, &shard, &exchange, probe)).await;
    let (path, wanted) = (&probe.path, probe.status);
    Err(match answered {
        Ok(Ok(status)) if status == wanted => return Ok(()),
        Ok(Ok(status)) => ProbeFailure::Answer(format!("{path} responded with {status}, not {wanted}")),
        Ok(Err(ProbeFailure::Answer(failure))) => ProbeFailure::Answer(format!("{path}: {failure}")),
        Ok(Err(ProbeFailure::Busy)) => ProbeFailure::Busy,
        Err(_) => ProbeFailure::Answer(format!("{path} did not respond within {:?}", probe.timeout)),
    })
}

/// A probe's exchange. It ends when nobody waits for the answer any more, for whatever reason.
struct ProbeExchange(Arc<Exchange>);

impl Drop for ProbeExchange {
    fn drop(&mut self) {
        self.0.end(Outcome::Failed { maybe_delivered: false });
    }
}

/// The status of the answer, all of which has come.
async fn answer(
    app: &App,
    shard: &ShardHandle,
    exchange: &Arc<Exchange>,
    probe: &ProbeConfig,
) -> Result<u16, ProbeFailure> {
    let wrong = |message: String| ProbeFailure::Answer(message);
    let uri = format!("http://localhost{}", probe.path);
    let mut request = Request::new(Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync());
    *request.uri_mut() = uri.parse().map_err(|_| wrong("the path is not valid in HTTP".to_owned()))?;
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
    let called = app.call_apart(shard, exchange.clone(), Box::new(request)).await;
    let (response, hold) = called.map_err(|error| match error {
        CallError::Busy => ProbeFailure::Busy,
        other => wrong(other.to_string()),
    })?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame.map_err(|error| wrong(format!("the response was cut off: {error}")))?;
    }
    if exchange.has_failed() {
        return Err(wrong("the guest failed after its response had begun".to_owned()));
    }
    drop(hold);
    Ok(status)
}
