//! HTTP/2, spoken by h2.
//!
//! Not by hyper: it gives h2 the whole of a response, and while that waits for a client's window it asks neither whether
//! anybody still waits for it, nor can it take it back. Here what waits for room stays with us (`sending`).

mod head;
mod pings;
mod sending;
mod stall;
mod stream;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::server::{Builder, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, header};
use tokio_util::task::TaskTracker;

use linger_base::rate;
use linger_config::{DetectionConfig, ServerLimits};

use crate::connection::Connection;
use crate::request::content_length;
use crate::request::http2_body::Http2Body;
use crate::request::incoming::IncomingBody;
use crate::request::progress::TrackedChunk;
use crate::serving::protocol::RequestHandler;
use crate::serving::stream::ClientStream;
use pings::PingTimer;
use stream::StreamTask;

/// Room for bodies of requests that nobody has read yet, of a stream and of all of a connection.
const WINDOW: u32 = 1024 * 1024;

/// Bytes of a response that h2 holds, within the client's window, until the socket takes them.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that were reset here and are remembered, and for how long: what their clients had sent by then is no fault of
/// theirs. Of others h2 takes a thousand frames, and then ends the connection.
const RESET_STREAMS: usize = 512;
const RESET_MEMORY: Duration = Duration::from_secs(10);

/// What a connection goes by.
pub(crate) struct Http2Settings {
    max_streams: u32,
    max_head: u32,
    /// The interval of PING frames, and how long an answer may take.
    ping: Option<(Duration, Duration)>,
    /// How slow a client may read.
    pace: Option<rate::MinRate>,
    /// Owns the tasks of streams.
    tasks: TaskTracker,
}

impl Http2Settings {
    pub(crate) fn new(limits: &ServerLimits, detection: &DetectionConfig, tasks: &TaskTracker) -> Self {
        Self {
            max_streams: limits.max_streams_per_connection,
            // H2 answers without a word to what is beyond: so it lets pass what is a little beyond, and the host answers.
            max_head: u32::try_from(limits.max_head_size.as_u64().saturating_mul(2)).unwrap_or(u32::MAX),
            ping: detection.ping(),
            pace: detection.read_pace(),
            tasks: tasks.clone(),
        }
    }

    fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_streams(self.max_streams)
            .max_header_list_size(self.max_head)
            .max_concurrent_reset_streams(RESET_STREAMS)
            .reset_stream_duration(RESET_MEMORY);
        builder
    }
}

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Http2EarlyEnd {
    #[error(transparent)]
    Broken(#[from] h2::Error),
    #[error("the client does not respond")]
    Silent,
}

/// A connection that is served. Resolves at its end.
pub(crate) struct Http2Connection<S> {
    phase: Http2Phase,
    handler: S,
    connection: Arc<Connection>,
    terms: Http2Settings,
    shut_down: bool,
}

#[expect(clippy::large_enum_variant, reason = "the smaller one is there for a moment")]
enum Http2Phase {
    Beginning(Handshake<ClientStream, TrackedChunk>),
    Open(h2::server::Connection<ClientStream, TrackedChunk>, Option<PingTimer>),
}

// Nothing in it is pinned.
impl<S> Unpin for Http2Connection<S> {}

impl<S: RequestHandler> Http2Connection<S> {
    pub(crate) fn new(stream: ClientStream, handler: S, terms: Http2Settings) -> Self {
        let connection = stream.connection().clone();
        let phase = Http2Phase::Beginning(terms.builder().handshake(stream));
        Self { phase, handler, connection, terms, shut_down: false }
    }

    /// It ends when its streams have, and takes no more. To be polled on.
    pub(crate) fn shut_down(&mut self) {
        self.shut_down = true;
        if let Http2Phase::Open(connection, _) = &mut self.phase {
            connection.graceful_shutdown();
        }
    }

    fn accept(&self, request: Request<RecvStream>, respond: SendResponse<TrackedChunk>) {
        let (head, stream) = request.into_parts();
        let (mut body, mut leave) = (IncomingBody::None, None);
        if !stream.is_end_stream() {
            leave = head.headers.contains_key(header::EXPECT).then(Arc::default);
            body = IncomingBody::Http2(Http2Body::new(stream, content_length(&head.headers), leave.clone()));
        }
        let handling = self.handler.call(Request::from_parts(head, body));
        let terms = (self.connection.clone(), self.terms.pace);
        self.terms.tasks.spawn(StreamTask::new(handling, respond, leave, terms));
    }
}

impl<S: RequestHandler> Future for Http2Connection<S> {
    type Output = Result<(), Http2EarlyEnd>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Http2Phase::Beginning(handshake) = &mut this.phase {
            let mut open = ready!(Pin::new(handshake).poll(cx))?;
            let pings = this.terms.ping.and_then(|times| {
                Some(PingTimer::new(open.ping_pong()?, times, this.terms.pace, &this.connection))
            });
            if this.shut_down {
                open.graceful_shutdown();
            }
            this.phase = Http2Phase::Open(open, pings);
        }
        loop {
            let Http2Phase::Open(open, pings) = &mut this.phase else { return Poll::Pending };
            // First: what is sent for it goes out below.
            if let Some(pings) = pings
                && pings.poll_silent(&this.connection, cx).is_ready()
            {
                this.connection.monitor.note_unresponsive();
                open.abrupt_shutdown(Reason::NO_ERROR);
                // As much of that as there is room for.
                let _ = open.poll_closed(cx);
                return Poll::Ready(Err(Http2EarlyEnd::Silent));
            }
            let Some(stream) = ready!(open.poll_accept(cx)) else { return Poll::Ready(Ok(())) };
            let (request, respond) = stream?;
            this.accept(request, respond);
        }
    }
}
