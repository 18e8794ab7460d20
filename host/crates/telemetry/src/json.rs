//! Lines of the log as JSON: an object for each event, with its fields beside the time, the level and the message.
//!
//! Own, since that of `tracing-subscriber` makes a string of each value first: with a line for each request it costs
//! five times as much (decision 26).

use std::cell::RefCell;
use std::fmt::{self, Debug, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Gives each event as an object of JSON, on a line of its own, to who wants it.
pub(super) struct JsonLayer<W>(W);

impl<W: Fn(&str, &Metadata<'_>)> JsonLayer<W> {
    pub(super) fn to(wants: W) -> Self {
        Self(wants)
    }
}

impl<S: Subscriber, W: Fn(&str, &Metadata<'_>) + 'static> Layer<S> for JsonLayer<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        thread_local! {
            static LINE: RefCell<String> = const { RefCell::new(String::new()) };
        }
        // A value that logs while it is written finds an empty one.
        let mut line = LINE.take();
        put_event(&mut line, event);
        (self.0)(&line, event.metadata());
        line.clear();
        LINE.set(line);
    }
}

fn put_event(line: &mut String, event: &Event<'_>) {
    line.push_str("{\"timestamp\":\"");
    put_time(line, now());
    line.push_str("\",\"level\":\"");
    line.push_str(event.metadata().level().as_str());
    line.push('"');
    event.record(&mut JsonFields(line));
    line.push_str("}\n");
}

#[expect(clippy::disallowed_methods, reason = "a line of the log says when it was written")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Of a time that is written as RFC 3339 has it, all but the fraction is the same for a second.
fn put_time(line: &mut String, time: SystemTime) {
    thread_local! {
        static LAST: RefCell<(u64, String)> = RefCell::default();
    }
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    LAST.with_borrow_mut(|(second, text)| {
        if text.is_empty() || *second != since.as_secs() {
            *second = since.as_secs();
            *text = humantime::format_rfc3339_seconds(time).to_string();
            // The zone comes last.
            text.pop();
        }
        line.push_str(text);
    });
    // As a number it has seven digits, of which the first gives way to the point.
    let fraction = line.len();
    line.push_str(itoa::Buffer::new().format(1_000_000 + since.subsec_micros()));
    line.replace_range(fraction..=fraction, ".");
    line.push('Z');
}

struct JsonFields<'a>(&'a mut String);

impl JsonFields<'_> {
    fn put_name(&mut self, field: &Field) {
        self.0.push_str(",\"");
        // A word of the code, so nothing of it has to be escaped.
        self.0.push_str(field.name());
        self.0.push_str("\":");
    }

    fn put_number(&mut self, field: &Field, number: impl itoa::Integer) {
        self.put_name(field);
        self.0.push_str(itoa::Buffer::new().format(number));
    }
}

impl Visit for JsonFields<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put_name(field);
        self.0.push_str(if value { "true" } else { "false" });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put_number(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put_number(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_name(field);
        self.0.push('"');
        JsonEscaper(self.0).push(value);
        self.0.push('"');
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put_name(field);
        self.0.push('"');
        // A value that cannot say itself ends here.
        let _ = write!(JsonEscaper(self.0), "{value:?}");
        self.0.push('"');
    }
}

/// What is written becomes a part of a string of JSON (RFC 8259, section 7).
struct JsonEscaper<'a>(&'a mut String);

impl JsonEscaper<'_> {
    fn push(&mut self, text: &str) {
        let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        // Without a way out in the middle the compiler looks at many bytes at a time; nearly no text has any.
        if !text.bytes().fold(false, |any, byte| any | special(byte)) {
            self.0.push_str(text);
            return;
        }
        for char in text.chars() {
            match char {
                '\n' => self.0.push_str("\\n"),
                '"' | '\\' => self.0.extend(['\\', char]),
                '\0'..='\x1f' => {
                    // Into a string, which takes all.
                    let _ = write!(self.0, "\\u{:04x}", u32::from(char));
                }
                other => self.0.push(other),
            }
        }
    }
}

impl fmt::Write for JsonEscaper<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_those_of_rfc_3339() {
        let begin = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for micros in [0, 1, 999_999, 1_000_000, 1_000_001, 86_400_000_000] {
            let (mut line, time) = (String::new(), begin + Duration::from_micros(micros));
            put_time(&mut line, time);
            assert_eq!(line, humantime::format_rfc3339_micros(time).to_string());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_again(text in any::<String>(), more in "[\\x00-\\x7f]*") {
            let text = text + &more;
            let mut line = String::from("\"");
            JsonEscaper(&mut line).push(&text);
            line.push('"');
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }
}
