//! Responses of the host to requests without an app: each names its request, is logged, and is counted.

use http::{Method, Request, Response, StatusCode, Uri};

use linger_base::ClientAddress;
use linger_exchange::RequestId;
use linger_wasm::BoundaryBody;

use crate::{ShardContext, error_response};

/// An answer to a request that goes to no app.
#[expect(clippy::unnecessary_box_returns, reason = "it is boxed already, and goes on so")]
pub(crate) fn refuse<B>(
    context: &ShardContext,
    request: &Request<B>,
    client: Option<ClientAddress>,
    mut answer: Box<Response<BoundaryBody>>,
) -> Box<Response<BoundaryBody>> {
    let refusal = Refusal { status: answer.status(), client };
    let id = refusal.tell(context, Some((request.method(), request.uri())));
    answer.headers_mut().insert(error_response::REQUEST_ID, id.to_header());
    answer
}

/// An answer of the host's own.
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) client: Option<ClientAddress>,
}

impl Refusal {
    /// Tells the log and the metrics, and gives the request a name. None is asked for where the head could not be read.
    pub(crate) fn tell(&self, context: &ShardContext, asked: Option<(&Method, &Uri)>) -> RequestId {
        let (id, status) = (RequestId::next(), self.status.as_u16());
        context.metrics.record_refusal(self.status);
        let asked = asked.map_or_else(|| "no request".to_owned(), |(method, uri)| format!("{method} {uri}"));
        tracing::debug!(
            target: "linger::access",
            request = %id,
            client = self.client.map(tracing::field::display),
            "{asked} {status}: refused",
        );
        id
    }
}

/// Hyper's answer to a head that it cannot read, if these bytes are that and no more: its status, and its date. What the host
/// answers has the name of a request.
pub(crate) fn of_hyper(head: &[u8]) -> Option<(StatusCode, Option<&str>)> {
    let head = str::from_utf8(head.strip_suffix(b"\r\n\r\n")?).ok()?;
    let mut lines = head.split("\r\n");
    let line = lines.next()?.strip_prefix("HTTP/1.")?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let (mut date, mut is_empty) = (None, false);
    for line in lines {
        match line.split_once(": ")? {
            ("date", text) => date = Some(text),
            ("content-length", "0") => is_empty = true,
            ("connection", "close") => {}
            _ => return None,
        }
    }
    let automatic = matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
    (automatic && is_empty).then_some((status, date))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_of_hyper_is_told_from_all_others() {
        let hyper =
            b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: today\r\n\r\n";
        assert_eq!(of_hyper(hyper), Some((StatusCode::BAD_REQUEST, Some("today"))));
        for other in [
            &b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nx-request-id: 1\r\n\r\n"[..],
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 1\r\n\r\nx",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01",
            b"",
        ] {
            assert_eq!(of_hyper(other), None, "{}", other.escape_ascii());
        }
    }
}
