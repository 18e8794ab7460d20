//! Event streams, which a browser reads with `EventSource`: the format `text/event-stream` of the HTML standard.

use std::fmt;
use std::time::Duration;

/// A message of an event stream: fields, one a line, and an empty line.
///
/// ```
/// use linger_guest::sse::Message;
///
/// let message = Message::new().id("7").event("weather").data("rain\nand wind");
/// assert_eq!(message.to_string(), "id: 7\nevent: weather\ndata: rain\ndata: and wind\n\n");
/// ```
///
/// The client is told of a message that has [`data`](Self::data). One without still sets the
/// [`id`](Self::id) that the client goes on from, and the time it waits before it does.
///
/// [`BodyWriter::send`](crate::BodyWriter::send) takes messages as they are:
///
/// ```no_run
/// use linger_guest::Response;
/// use linger_guest::sse::Message;
///
/// let response = Response::stream(async |body| {
///     body.send(Message::new().data("hello")).await?;
///     Ok(())
/// })
/// .header("content-type", "text/event-stream");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a message is sent by writing it to a body"]
pub struct Message {
    lines: String,
}

impl Message {
    /// A message without any field.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a comment, which clients ignore: it keeps an idle connection alive.
    ///
    /// ```
    /// # use linger_guest::sse::Message;
    /// assert_eq!(Message::new().comment("keepalive").to_string(), ": keepalive\n\n");
    /// ```
    pub fn comment(self, text: &str) -> Self {
        lines(text).fold(self, |message, line| message.field("", line))
    }

    /// Sets the id, which the client sends as `last-event-id` when it reconnects. Line ends and NUL, which an id
    /// cannot contain, are left out.
    pub fn id(self, id: &str) -> Self {
        self.field("id", &id.replace(['\n', '\r', '\0'], ""))
    }

    /// Sets the event type, by which the client selects listeners; the default is `message`. Line ends in it are left
    /// out.
    pub fn event(self, kind: &str) -> Self {
        self.field("event", &kind.replace(['\n', '\r'], ""))
    }

    /// Sets the data. It may have several lines; the client gets them joined with `\n`, whatever their line ends
    /// were.
    pub fn data(self, text: &str) -> Self {
        lines(text).fold(self, |message, line| message.field("data", line))
    }

    /// Sets the time that the client waits before it reconnects, in milliseconds.
    ///
    /// ```
    /// # use linger_guest::sse::Message;
    /// # use std::time::Duration;
    /// let message = Message::new().retry(Duration::from_secs(1));
    /// assert_eq!(message.to_string(), "retry: 1000\n\n");
    /// ```
    pub fn retry(self, wait: Duration) -> Self {
        self.field("retry", &wait.as_millis().to_string())
    }

    fn field(mut self, name: &str, value: &str) -> Self {
        // The client takes one space after the colon away.
        self.lines.extend([name, ": ", value, "\n"]);
        self
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines)?;
        f.write_str("\n")
    }
}

impl From<Message> for Vec<u8> {
    fn from(message: Message) -> Self {
        let mut text = message.lines;
        text.push('\n');
        text.into_bytes()
    }
}

/// The lines of a text as the client of an event stream tells them apart: a line ends with `\n`, `\r` or both.
/// There is always one.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            return rest.take();
        };
        let (line, after) = text.split_at(end);
        rest = after.strip_prefix("\r\n").or_else(|| after.get(1..));
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &str) -> String {
        Message::new().data(text).to_string()
    }

    #[test]
    fn each_line_end_begins_a_line() {
        assert_eq!(data("a\nb\r\nc\rd"), "data: a\ndata: b\ndata: c\ndata: d\n\n");
        assert_eq!(data("a\n\rb"), "data: a\ndata: \ndata: b\n\n");
    }

    #[test]
    fn line_ends_at_the_ends_are_kept() {
        assert_eq!(data("\na\n"), "data: \ndata: a\ndata: \n\n");
        assert_eq!(data("\r\n"), "data: \ndata: \n\n");
    }

    #[test]
    fn empty_data_is_a_message() {
        assert_eq!(data(""), "data: \n\n");
    }

    #[test]
    fn space_and_colon_are_data() {
        assert_eq!(data(" id: 1"), "data:  id: 1\n\n");
    }

    #[test]
    fn no_field_can_begin_another() {
        let message = Message::new().id("1\ndata: x\0").event("a\r\nb").comment("c\ndata: y");
        assert_eq!(message.to_string(), "id: 1data: x\nevent: ab\n: c\n: data: y\n\n");
    }

    #[test]
    fn bytes_are_those_of_the_text() {
        let message = Message::new().id("1").data("ü");
        assert_eq!(Vec::from(message.clone()), message.to_string().into_bytes());
    }

    #[test]
    fn message_without_fields_is_an_empty_line() {
        assert_eq!(Message::new().to_string(), "\n");
    }
}
