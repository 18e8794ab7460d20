//! A guest's answer, before any of it leaves: whether it can be sent as it is, and with which length.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;

use linger_telemetry::Failure;
use linger_wasm::{BodyError, BoundaryBody, CallError, empty};

use crate::request::answer::{has_no_body, length};

/// Bytes of a body that are looked at before the head leaves. Those that are longer leave as they come.
const MAX_FIRST: usize = 64 * 1024;

/// Looks at a guest's response and at what there is of its body by now. What is wrong there is an error instead of a half
/// answer; a body that is there to its end has a length.
pub(crate) async fn check(
    response: Response<BoundaryBody>,
    head_only: bool,
) -> Result<Response<BoundaryBody>, CallError> {
    let (mut parts, body) = response.into_parts();
    if !(200..600).contains(&parts.status.as_u16()) {
        return Err(CallError::Invalid(format!("its status is {}", parts.status.as_u16())));
    }
    let length = declared(&mut parts.headers)?;
    if parts.status == StatusCode::NO_CONTENT {
        // It would promise a body that does not come (RFC 9110, section 8.6).
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    let is_whole = length.is_none() && body.size_hint().exact().is_some();
    if is_whole || head_only || has_no_body(parts.status) {
        return Ok(Response::from_parts(parts, body));
    }
    let mut begun = BegunBody { first: VecDeque::new(), rest: Some(body), left: length };
    // What the guest writes when all others had their turn goes out with the head, in one packet.
    for turn in 0..2 {
        tokio::task::yield_now().await;
        if begun.fetch().await? || (turn == 0 && begun.first.is_empty() && length.is_none()) {
            break;
        }
    }
    let body = if begun.is_empty() { empty() } else { begun.boxed_unsync() };
    Ok(Response::from_parts(parts, body))
}

/// What is counted of a guest that gave no response. None: it is not to blame.
pub(crate) fn failure(error: &CallError) -> Option<Failure> {
    Some(match error {
        CallError::Trapped => Failure::Trapped,
        CallError::NotStarted(_) => Failure::NotStarted,
        CallError::Refused(_) | CallError::NoResponse => Failure::NoAnswer,
        CallError::Invalid(_) => Failure::Invalid,
        CallError::GaveUp(_) => Failure::GaveUp,
        CallError::Busy | CallError::OverLimit | CallError::Unread(_) => return None,
    })
}

/// The length that a head names, once.
fn declared(headers: &mut HeaderMap) -> Result<Option<u64>, CallError> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next().cloned() else { return Ok(None) };
    let digits = first.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = digits.and_then(|digits| digits.parse().ok());
    if length.is_none() || lengths.any(|other| *other != first) {
        return Err(CallError::Invalid("its `content-length` is not valid".to_owned()));
    }
    headers.insert(header::CONTENT_LENGTH, first);
    Ok(length)
}

/// HTTP/1.0 knows no chunks: where the length is not known, the end of the connection is that of the body. Whether it is.
pub(crate) fn fit<B: http_body::Body>(response: &mut Response<B>, asked: Version) -> bool {
    let until_close = asked == Version::HTTP_10 && length(response).is_none();
    if until_close {
        // Hyper keeps a connection of HTTP/1.0 for what it takes for a response of HTTP/1.1.
        *response.version_mut() = Version::HTTP_10;
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    until_close
}

/// A body of which some has come.
struct BegunBody {
    first: VecDeque<Frame<Bytes>>,
    /// None once it has ended.
    rest: Option<BoundaryBody>,
    /// What is still to come of the length that the head names.
    left: Option<u64>,
}

impl BegunBody {
    /// Takes what there is now. Returns whether it is to be left at that.
    async fn fetch(&mut self) -> Result<bool, CallError> {
        let left = self.left;
        std::future::poll_fn(|cx| {
            loop {
                let had: usize = self.first.iter().filter_map(Frame::data_ref).map(Bytes::len).sum();
                if let Some(length) = left
                    && had as u64 > length
                {
                    return Poll::Ready(Err(wrong_length(length, "but its body is longer")));
                }
                let Some(rest) = &mut self.rest else { return Poll::Ready(Ok(true)) };
                if had > MAX_FIRST {
                    return Poll::Ready(Ok(true));
                }
                match Pin::new(rest).poll_frame(cx) {
                    Poll::Pending => return Poll::Ready(Ok(false)),
                    Poll::Ready(Some(Ok(frame))) => self.first.push_back(frame),
                    Poll::Ready(None) => self.rest = None,
                    Poll::Ready(Some(Err(error))) => {
                        return Poll::Ready(Err(match left {
                            Some(length) if matches!(error, BodyError::HttpResponseBodySize(_)) => {
                                wrong_length(length, "but its body has another length")
                            }
                            Some(length) if had as u64 == length => {
                                wrong_length(length, "but its body is longer, or is cut off")
                            }
                            Some(length) => {
                                wrong_length(length, &format!("but its body is cut off after {had} bytes"))
                            }
                            None => CallError::Invalid("its body is cut off".to_owned()),
                        }));
                    }
                }
                if let (None, Some(length)) = (&self.rest, left) {
                    let had: usize = self.first.iter().filter_map(Frame::data_ref).map(Bytes::len).sum();
                    if (had as u64) < length {
                        return Poll::Ready(Err(wrong_length(
                            length,
                            &format!("but its body has {had} bytes"),
                        )));
                    }
                }
            }
        })
        .await
    }

    fn is_empty(&self) -> bool {
        self.first.is_empty() && self.rest.is_none()
    }

    /// The next frame, as it came.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(frame) = self.first.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(rest).poll_frame(cx));
        if frame.is_none() {
            self.rest = None;
        }
        Poll::Ready(frame)
    }

    /// Whether there is data by now that the head does not promise.
    fn has_more(&mut self, cx: &mut Context<'_>) -> bool {
        while let Poll::Ready(Some(next)) = self.poll_next(cx) {
            match next {
                Ok(frame) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Ok(frame) if frame.is_data() => return true,
                // Trailers, or another one that stands for itself.
                Ok(frame) => {
                    self.first.push_back(frame);
                    return false;
                }
                Err(_) => return true,
            }
        }
        false
    }
}

fn wrong_length(length: u64, what: &str) -> CallError {
    CallError::Invalid(format!("its head has `content-length: {length}`, {what}"))
}

/// A frame, or that the body breaks off because it does not have the length that its head names.
impl http_body::Body for BegunBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let wrong = || Poll::Ready(Some(Err(BodyError::HttpResponseBodySize(None))));
        let next = ready!(self.poll_next(cx));
        let Some(left) = self.left else { return Poll::Ready(next) };
        match next {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                let Some(left) = left.checked_sub(length) else { return wrong() };
                self.left = Some(left);
                // Who has all of the length asks for no more.
                if left == 0 && frame.is_data() && self.has_more(cx) {
                    return wrong();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            None if left > 0 => {
                self.left = Some(0);
                wrong()
            }
            next => Poll::Ready(next),
        }
    }

    fn is_end_stream(&self) -> bool {
        let rest_ended = self.rest.as_ref().is_none_or(BoundaryBody::is_end_stream);
        self.first.is_empty() && rest_ended && self.left.is_none_or(|left| left == 0)
    }

    fn size_hint(&self) -> SizeHint {
        if let Some(left) = self.left {
            return SizeHint::with_exact(left);
        }
        let first = self.first.iter().filter_map(Frame::data_ref).map(Bytes::len).sum::<usize>() as u64;
        let all_data = self.first.iter().all(Frame::is_data);
        match &self.rest {
            None if all_data => SizeHint::with_exact(first),
            _ => {
                let mut hint = SizeHint::new();
                hint.set_lower(first);
                hint
            }
        }
    }
}
