use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanProcessor};

use super::*;

/// Keeps the spans that end.
#[derive(Clone, Debug, Default)]
struct KeptSpans(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for KeptSpans {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// What is known of a request when it ends.
struct Facts {
    trace: Box<RequestTrace>,
    began: Instant,
    queued: Option<Duration>,
}

/// A request for `/a`, and what its spans will be.
fn begin() -> (Facts, KeptSpans) {
    let kept = KeptSpans::default();
    let provider = SdkTracerProvider::builder().with_span_processor(kept.clone()).build();
    let tracer = RequestTracer::new(provider.tracer("test"));
    let mut request = Request::builder().method("BREW").uri("http://h/a?b").body(()).unwrap();
    let trace = tracer.begin(&mut request, &"/".into(), None);
    (Facts { trace, began: Instant::now(), queued: None }, kept)
}

fn end(facts: &Facts, status: Option<u16>) {
    let status = status.map(|status| StatusCode::from_u16(status).unwrap());
    let &Facts { ref trace, began, queued } = facts;
    trace.finish(&TraceEnd {
        app: &"a".into(),
        generation: 1,
        request: &"r",
        began,
        queued,
        cancelled: None,
        outcome: Outcome::Delivered,
        receipt: None,
        status,
        head: None,
        bytes: 0,
    });
}

fn named(kept: &KeptSpans, name: &str) -> Vec<SpanData> {
    kept.0.lock().iter().filter(|span| span.name == name).cloned().collect()
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key)?;
    Some(found.value.as_str().into_owned())
}

#[tokio::test(start_paused = true)]
async fn times_are_those_of_the_parts() {
    let (mut facts, kept) = begin();
    tokio::time::advance(Duration::from_secs(1)).await;
    facts.queued = Some(facts.began.elapsed());
    tokio::time::advance(Duration::from_secs(2)).await;
    let wait = facts.trace.begin_wait(WaitPoint::Queue, "q");
    tokio::time::advance(Duration::from_secs(4)).await;
    facts.trace.end_wait(wait, true);
    facts.trace.mark_passed_on();
    tokio::time::advance(Duration::from_secs(8)).await;
    facts.trace.mark_ended();
    tokio::time::advance(Duration::from_secs(16)).await;
    end(&facts, Some(200));
    for (name, seconds) in [("queue", 1), ("guest", 6), ("wait", 4), ("HTTP /", 15)] {
        let spans = named(&kept, name);
        assert_eq!(spans.len(), 1, "{name}");
        let took = spans[0].end_time.duration_since(spans[0].start_time).unwrap();
        assert_eq!(took, Duration::from_secs(seconds), "{name}");
    }
    let request = &named(&kept, "HTTP /")[0];
    assert_eq!(attribute(request, "http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(attribute(request, "http.request.method_original").as_deref(), Some("BREW"));
    assert_eq!(attribute(request, "url.path").as_deref(), Some("/a"));
}

#[tokio::test]
async fn request_that_no_instance_had_has_no_guest() {
    let (facts, kept) = begin();
    end(&facts, Some(503));
    assert_eq!((named(&kept, "queue").len(), named(&kept, "guest").len()), (1, 0));
    assert_eq!(named(&kept, "HTTP /")[0].status, Status::error(""));
}

#[tokio::test]
async fn waits_beyond_the_limit_are_only_counted() {
    let (mut facts, kept) = begin();
    facts.queued = Some(facts.began.elapsed());
    for _ in 0..MAX_WAITS + 3 {
        let wait = facts.trace.begin_wait(WaitPoint::Topic, "t");
        facts.trace.end_wait(wait, true);
    }
    end(&facts, None);
    assert_eq!(named(&kept, "wait").len(), MAX_WAITS);
    assert_eq!(attribute(&named(&kept, "HTTP /")[0], "linger.further_waits").as_deref(), Some("3"));
}
