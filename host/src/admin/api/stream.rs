//! The log as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream::unfold;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;

use linger_telemetry::{FollowStep, LogFollower};

use super::answer::error;
use super::events::parameter;
use super::{AdminApi, ApiResponse};

/// What is told where nothing is said: all that matters, and each request that has ended.
const WANTED: &str = "info,linger::access=debug";

/// After so long without a word comes one that means nothing, so that one who has left is noticed.
const KEEPALIVE: Duration = Duration::from_secs(15);

impl AdminApi {
    /// Follows what happens. `?log=LEVEL` says what of it, as for the log.
    pub(super) fn stream(&self, query: &str) -> ApiResponse {
        let Some(share) = self.followers.try_take() else {
            return error(StatusCode::SERVICE_UNAVAILABLE, "too many clients follow the stream; try again");
        };
        let wanted = parameter(query, "log").unwrap_or_else(|| WANTED.to_owned());
        let follower = match self.operated.log.follow(&wanted) {
            Ok(follower) => follower,
            Err(message) => return error(StatusCode::BAD_REQUEST, &format!("`log`: {message}")),
        };
        let words = unfold((follower, share), async |(mut follower, share)| {
            let word = next(&mut follower).await?;
            Some((Ok::<_, Infallible>(Frame::data(word)), (follower, share)))
        });
        let mut answer = Response::new(StreamBody::new(words).boxed_unsync());
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }
}

async fn next(follower: &mut LogFollower) -> Option<Bytes> {
    let Ok(next) = tokio::time::timeout(KEEPALIVE, follower.next()).await else {
        return Some(Bytes::from_static(b": nothing\n\n"));
    };
    Some(match next? {
        FollowStep::Line(line) => event(if line.is_access() { "request" } else { "log" }, &line.json),
        FollowStep::Missed(count) => event("missed", format!("{{\"missed\":{count}}}\n").as_bytes()),
    })
}

/// An event of one line, which has its end.
fn event(name: &str, line: &[u8]) -> Bytes {
    let mut event = BytesMut::with_capacity(line.len() + 32);
    for part in [b"event: ", name.as_bytes(), b"\ndata: ", line, b"\n"] {
        event.put_slice(part);
    }
    event.freeze()
}
