//! One stream: a request, and the response to it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use h2::Reason;
use h2::server::SendResponse;
use http::{Response, StatusCode};
use http_body::Body as _;

use linger_base::pace::MinRate;

use super::body::Leave;
use super::head;
use super::sending::Sending;
use crate::connection::Connection;
use crate::request::body::GuardedBody;
use crate::request::progress::Chunk;

/// The task of one stream. Dropped, it has ended, and so has its request.
pub(super) struct Stream<F> {
    state: State<F>,
    connection: Arc<Connection>,
    pace: Option<MinRate>,
}

#[expect(clippy::large_enum_variant, reason = "most of the time it is the larger one, in a task of its own")]
enum State<F> {
    /// In a box that is free as soon as there is a head: what handles requests is large.
    Answering(Pin<Box<F>>, SendResponse<Chunk>, Option<Arc<Leave>>),
    Sending(Sending),
}

impl<F, E> Stream<F>
where
    F: Future<Output = Result<Response<GuardedBody>, E>>,
{
    /// `pace`: how slow the client may read.
    pub(super) fn new(
        handling: F,
        respond: SendResponse<Chunk>,
        leave: Option<Arc<Leave>>,
        (connection, pace): (Arc<Connection>, Option<MinRate>),
    ) -> Self {
        Self { state: State::Answering(Box::pin(handling), respond, leave), connection, pace }
    }

    /// Ready with what follows the head; without one there is nobody to answer.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Sending>> {
        let State::Answering(handling, respond, leave) = &mut self.state else { return Poll::Ready(None) };
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
    respond: &mut SendResponse<Chunk>,
    terms: (Arc<Connection>, Option<MinRate>),
) -> Option<Sending> {
    let (mut head, mut body) = response.into_parts();
    let ended = body.is_end_stream();
    let length = body.size_hint().exact().filter(|_| !ended);
    head::complete(&mut head.headers, length);
    match respond.send_response(Response::from_parts(head, ()), ended) {
        Ok(stream) => Some(Sending::new(stream, body, ended, terms)),
        Err(error) => {
            tracing::debug!("cannot send a response on a stream: {error}");
            respond.send_reset(Reason::INTERNAL_ERROR);
            body.lose();
            None
        }
    }
}

impl<F, E> Future for Stream<F>
where
    F: Future<Output = Result<Response<GuardedBody>, E>>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Answering(..) => match ready!(this.poll_answer(cx)) {
                    Some(sending) => this.state = State::Sending(sending),
                    None => return Poll::Ready(()),
                },
                State::Sending(sending) => return sending.poll(cx),
            }
        }
    }
}
