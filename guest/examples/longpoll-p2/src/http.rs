//! The few things of HTTP that this example needs, over the resources of `wasi:http@0.2`.

use wasi::http::types::{Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasi::io::streams::StreamError;

/// How much one read asks for, in bytes.
const CHUNK: u64 = 64 * 1024;

/// An answer with its whole body.
pub struct Answer {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::new(status, text.into()).header("content-type", "text/plain; charset=utf-8")
    }

    /// An event, whose bytes are copied.
    pub fn event(data: Vec<u8>, content_type: Option<String>) -> Self {
        let kind = content_type.unwrap_or_else(|| "application/octet-stream".into());
        Self::new(200, data).header("content-type", kind).header("cache-control", "no-store")
    }

    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends it, and blocks until the host has all of it or nobody wants it any more.
    pub fn send(mut self, out: ResponseOutparam) {
        if self.status != 204 {
            let length = self.body.len().to_string();
            self = self.header("content-length", length);
        }
        let response = match Fields::from_list(&self.headers) {
            Ok(headers) => OutgoingResponse::new(headers),
            Err(error) => {
                eprintln!("the response's headers were refused: {error}");
                (self.status, self.body) = (500, Vec::new());
                OutgoingResponse::new(Fields::new())
            }
        };
        response.set_status_code(self.status).expect("a status that exists");
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(out, Ok(response));
        // An error here is a client that has left: the host knows.
        if write(&body, &self.body).is_ok() {
            let _ = OutgoingBody::finish(body, None);
        }
    }
}

/// Writes all of the data. The stream, a child of the body, is dropped on return.
fn write(body: &OutgoingBody, mut data: &[u8]) -> Result<(), StreamError> {
    let stream = body.write().expect("the stream is taken once");
    let writable = stream.subscribe();
    while !data.is_empty() {
        match usize::try_from(stream.check_write()?).unwrap_or(usize::MAX) {
            0 => writable.block(),
            room => {
                let (now, later) = data.split_at(room.min(data.len()));
                stream.write(now)?;
                data = later;
            }
        }
    }
    stream.flush()
}

/// The method, if it is one of those that matter here.
pub fn method(request: &IncomingRequest) -> &'static str {
    match request.method() {
        Method::Get => "GET",
        Method::Post => "POST",
        _ => "another",
    }
}

/// The first header of this name.
pub fn header(request: &IncomingRequest, name: &str) -> Option<String> {
    let values = request.headers().get(name);
    String::from_utf8(values.into_iter().next()?).ok()
}

/// The first query parameter of this name, decoded.
pub fn query(target: &str, name: &str) -> Option<String> {
    let (_, query) = target.split_once('?')?;
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The whole body. Blocks until it has arrived. The error is the answer.
pub fn body(request: &IncomingRequest, limit: usize) -> Result<Vec<u8>, Answer> {
    let body = request.consume().expect("the body is taken once");
    let stream = body.stream().expect("the stream is taken once");
    let mut data = Vec::new();
    loop {
        match stream.blocking_read(CHUNK) {
            Ok(chunk) if data.len() + chunk.len() > limit => {
                let sentence = format!("the body is larger than {limit} bytes\n");
                return Err(Answer::text(413, sentence));
            }
            Ok(chunk) => data.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(data),
            Err(StreamError::LastOperationFailed(error)) => {
                eprintln!("the request body broke off: {}", error.to_debug_string());
                return Err(Answer::text(400, "the request body broke off\n"));
            }
        }
    }
}
