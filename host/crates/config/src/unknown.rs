//! Errors about unknown keys and values: "did you mean", and the expected type.

/// The least similarity for a suggestion: half of the letters are right.
const ALIKE: f64 = 0.5;

/// A better message for serde's error about an unknown name, if it is one.
pub(super) fn explain(message: &str) -> Option<String> {
    let (what, rest) = if let Some(rest) = message.strip_prefix("unknown field `") {
        ("key", rest)
    } else {
        ("value", message.strip_prefix("unknown variant `")?)
    };
    let (name, known) = rest.rsplit_once("`, expected ")?;
    // `a`, `b`: every second piece is a name.
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    let likeness = |other: &str| strsim::normalized_damerau_levenshtein(name, other);
    let nearest = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    Some(if likeness(nearest) >= ALIKE {
        format!("unknown {what} `{name}`; did you mean `{nearest}`?")
    } else {
        format!("unknown {what} `{name}`; expected `{}`", known.join("`, `"))
    })
}

/// A better message for a value of the wrong type, without the value: it may be a secret.
pub(super) fn without_value(message: &str) -> Option<String> {
    let (found, expected) = message.strip_prefix("invalid type: ")?.rsplit_once(", expected ")?;
    let found = found.split(['`', '"']).next()?.trim_end();
    Some(format!("invalid type: {found}, expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_key_is_named() {
        let known = "expected one of `max_connections`, `head_timeout`, `max`";
        for (name, expected) in [
            ("max_conections", "unknown key `max_conections`; did you mean `max_connections`?"),
            ("mx", "unknown key `mx`; did you mean `max`?"),
            ("timeout", "unknown key `timeout`; did you mean `head_timeout`?"),
            ("zzz", "unknown key `zzz`; expected `max_connections`, `head_timeout`, `max`"),
            (
                "max`, expected",
                "unknown key `max`, expected`; expected `max_connections`, `head_timeout`, `max`",
            ),
        ] {
            assert_eq!(explain(&format!("unknown field `{name}`, {known}")).unwrap(), expected);
        }
        let message = "unknown variant `disc`, expected `memory` or `disk`";
        assert_eq!(explain(message).unwrap(), "unknown value `disc`; did you mean `disk`?");
    }

    #[test]
    fn other_messages_stay() {
        assert_eq!(explain("invalid type: integer `10`, expected a string"), None);
    }

    #[test]
    fn value_is_not_shown() {
        for (message, expected) in [
            ("invalid type: integer `10`, expected a string", "invalid type: integer, expected a string"),
            (
                "invalid type: string \"nats://a:b`c, expected d@e\", expected a sequence",
                "invalid type: string, expected a sequence",
            ),
            ("invalid type: map, expected u64", "invalid type: map, expected u64"),
        ] {
            assert_eq!(without_value(message).unwrap(), expected);
        }
        assert_eq!(without_value("invalid value: integer `0`, expected a nonzero u32"), None);
    }
}
