//! The names of queues and topics in NATS.

use linger_base::Name;

/// Names of streams and subjects that begin with one prefix.
///
/// A name is one token: NATS splits subjects at `.`, and has no stream with one in its name. `=` stands for it, which no
/// name of ours has, so that different names stay different.
pub(crate) struct NatsNames {
    prefix: String,
}

/// Whether a stream is of a queue or of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StreamKind {
    Queue,
    Topic,
}

impl StreamKind {
    const ALL: [Self; 2] = [Self::Queue, Self::Topic];

    fn letter(self) -> char {
        match self {
            Self::Queue => 'q',
            Self::Topic => 't',
        }
    }
}

impl NatsNames {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The stream of a queue or a topic.
    pub(crate) fn stream(&self, kind: StreamKind, name: &Name) -> String {
        format!("{}-{}-{}", self.prefix, kind.letter(), token(name))
    }

    /// Where its events are sent.
    pub(crate) fn subject(&self, kind: StreamKind, name: &Name) -> String {
        format!("{}.{}.{}", self.prefix, kind.letter(), token(name))
    }

    /// Where hosts tell each other what became of events that returned.
    pub(crate) fn notes(&self) -> String {
        format!("{}.notes", self.prefix)
    }

    /// What a stream is of, if it is one of ours.
    pub(crate) fn parse(&self, stream: &str) -> Option<(StreamKind, Name)> {
        let rest = stream.strip_prefix(&self.prefix)?;
        StreamKind::ALL.into_iter().find_map(|kind| {
            let token = rest.strip_prefix('-')?.strip_prefix(kind.letter())?.strip_prefix('-')?;
            Some((kind, token.replace('=', ".").parse().ok()?))
        })
    }
}

fn token(name: &Name) -> String {
    name.as_str().replace('.', "=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        let names = NatsNames::new("linger");
        for text in ["a", "orders.eu", "a..b", "x-y_z.", "0"] {
            let name: Name = text.parse().unwrap();
            for kind in StreamKind::ALL {
                let stream = names.stream(kind, &name);
                assert!(!stream.contains(['.', '*', '>', ' ']), "{stream}");
                assert_eq!(names.parse(&stream), Some((kind, name.clone())));
                assert_eq!(names.subject(kind, &name).split('.').count(), 3);
            }
        }
        for stream in ["other-q-a", "linger-x-a", "linger-q-", "lingerq-a", "linger"] {
            assert_eq!(names.parse(stream), None, "{stream}");
        }
    }
}
