//! Lines of the log as JSON: an object for each event, with its fields beside the time, the level and the message.
//!
//! Own, since that of `tracing-subscriber` makes a string of each value first: with a line for each request it costs
//! three times as much (decision 26).

use std::cell::RefCell;
use std::fmt::{self, Debug, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes an event as an object of JSON, on a line of its own.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str("{\"timestamp\":\"")?;
        put_time(&mut writer, now())?;
        write!(writer, "\",\"level\":\"{}\"", event.metadata().level())?;
        let mut fields = Fields { writer: &mut writer, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        writer.write_str("}\n")
    }
}

#[expect(clippy::disallowed_methods, reason = "a line of the log says when it was written")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Of a time that is written as RFC 3339 has it, all but the fraction is the same for a second.
fn put_time(writer: &mut Writer<'_>, time: SystemTime) -> fmt::Result {
    thread_local! {
        static LAST: RefCell<(u64, String)> = RefCell::default();
    }
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    LAST.with_borrow_mut(|(second, text)| {
        if text.is_empty() || *second != since.as_secs() {
            *second = since.as_secs();
            text.clear();
            write!(text, "{}", humantime::format_rfc3339_seconds(time))?;
            // The zone comes last.
            text.pop();
        }
        write!(writer, "{text}.{:06}Z", since.subsec_micros())
    })
}

struct Fields<'a, 'w> {
    writer: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    fn put(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.try_put(field.name(), value);
        }
    }

    fn try_put(&mut self, name: &str, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) -> fmt::Result {
        self.writer.write_str(",\"")?;
        Escaped(self.writer).write_str(name)?;
        self.writer.write_str("\":")?;
        value(self.writer)
    }

    fn put_text(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        self.put(field, |writer| {
            writer.write_char('"')?;
            Escaped(writer).write_fmt(text)?;
            writer.write_char('"')
        });
    }
}

impl Visit for Fields<'_, '_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, |writer| write!(writer, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, |writer| write!(writer, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, |writer| write!(writer, "{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put_text(field, format_args!("{value:?}"));
    }
}

/// What is written becomes a part of a string of JSON (RFC 8259, section 7).
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\')) {
            self.0.write_str(&rest[..at])?;
            match rest.as_bytes()[at] {
                b'\n' => self.0.write_str("\\n")?,
                special @ (b'"' | b'\\') => write!(self.0, "\\{}", char::from(special))?,
                control => write!(self.0, "\\u{control:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        self.0.write_str(rest)
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
            put_time(&mut Writer::new(&mut line), time).unwrap();
            assert_eq!(line, humantime::format_rfc3339_micros(time).to_string());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_again(text in any::<String>(), more in "[\\x00-\\x7f]*") {
            let text = text + &more;
            let mut line = String::from("\"");
            Escaped(&mut Writer::new(&mut line)).write_str(&text).unwrap();
            line.push('"');
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }
}
