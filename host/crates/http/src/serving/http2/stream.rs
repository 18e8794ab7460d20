//! One stream: a request, and the response to it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use h2::Reason;
use h2::server::SendResponse;
use http::{Response, StatusCode};
use http_body::Body as _;

use linger_base::rate::MinRate;

use super::head;
use super::sending::SendingResponse;
use crate::connection::Connection;
use crate::request::body::GuardedBody;
use crate::request::http2_body::ContinueSignal;
use crate::request::progress::TrackedChunk;

/// The task of one stream. Dropped, it has ended, and so has its request.
pub(super) struct StreamTask<F> {
    state: StreamState<F>,
    connection: Arc<Connection>,
    pace: Option<MinRate>,
}

#[expect(clippy::large_enum_variant, reason = "most of the time it is the larger one, in a task of its own")]
enum StreamState<F> {
    /// In a box that is free as soon as there is a head: what handles requests is large.
    Answering(Pin<Box<F>>, SendResponse<TrackedChunk>, Option<Arc<ContinueSignal>>),
    Sending(SendingResponse),
}

impl<F, E> StreamTask<F>
where
    F: Future<Output = Result<Response<GuardedBody>, E>>,
{
    /// `pace`: how slow the client may read.
    pub(super) fn new(
        handling: F,
        respond: SendResponse<TrackedChunk>,
        leave: Option<Arc<ContinueSignal>>,
        (connection, pace): (Arc<Connection>, Option<MinRate>),
    ) -> Self {
        Self { state: StreamState::Answering(Box::pin(handling), respond, leave), connection, pace }
    }

    /// Ready with what follows the head; without one there is nobody to answer.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<SendingResponse>> {
        let StreamState::Answering(handling, respond, leave) = &mut self.state else {
            return Poll::Ready(None);
        };
        match handling.as_mut().poll(cx) {
            Poll::Ready(Ok(response)) => {
                Poll::Ready(begin(response, respond, (self.connection.clone(), self.pace)))
            }
            Poll::Ready(Err(_)) => {
                respond.send_reset(Reason::CANCEL);
                Poll::Ready(None)
            }
            Poll::Pending => {
                if leave.as_ref().is_some_and(|leave| leave.poll_wanted(cx).is_ready()) {
                    *leave = None;
                    let mut interim = Response::new(());
                    *interim.status_mut() = StatusCode::CONTINUE;
                    // It fails for a stream that was reset.
                    let _ = respond.send_informational(interim);
                }
                // Dropped with the task, the handler tells that the client has left.
                respond.poll_reset(cx).map(|_| None)
            }
        }
    }
}

/// Sends the head of a response.
fn begin(
    response: Response<GuardedBody>,
    respond: &mut SendResponse<TrackedChunk>,
    terms: (Arc<Connection>, Option<MinRate>),
) -> Option<SendingResponse> {
    let (mut head, mut body) = response.into_parts();
    let ended = body.is_end_stream();
    let length = body.size_hint().exact().filter(|_| !ended);
    head::complete(&mut head.headers, length);
    match respond.send_response(Response::from_parts(head, ()), ended) {
        Ok(stream) => Some(SendingResponse::new(stream, body, ended, terms)),
        Err(error) => {
            tracing::debug!("cannot send a response on a stream: {error}");
            respond.send_reset(Reason::INTERNAL_ERROR);
            body.lose();
            None
        }
    }
}

impl<F, E> Future for StreamTask<F>
where
    F: Future<Output = Result<Response<GuardedBody>, E>>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                StreamState::Answering(..) => match ready!(this.poll_answer(cx)) {
                    Some(sending) => this.state = StreamState::Sending(sending),
                    None => return Poll::Ready(()),
                },
                StreamState::Sending(sending) => return sending.poll(cx),
            }
        }
    }
}
