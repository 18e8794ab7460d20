//! Patterns for the names of queues and topics.

use schemars::JsonSchema;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};

use linger_base::Name;

/// One name, or all names with one prefix.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", example = "orders.*")]
pub struct NamePattern {
    start: String,
    whole: bool,
}

impl NamePattern {
    pub(super) fn fits(&self, name: &Name) -> bool {
        let name = name.as_str();
        if self.whole { name == self.start } else { name.starts_with(&self.start) }
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let start = text.strip_suffix('*').unwrap_or(&text);
        if !(start.is_empty() && start != text) {
            start.parse::<Name>().map_err(|error| {
                D::Error::custom(format!(
                    "`{text}` matches no name: {error}; a `*` is allowed at the end only"
                ))
            })?;
        }
        Ok(Self { start: start.to_owned(), whole: start == text })
    }
}

impl Serialize for NamePattern {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        let rest = if self.whole { "" } else { "*" };
        output.collect_str(&format_args!("{}{rest}", self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Rule {
        name: NamePattern,
    }

    fn parse(text: &str) -> Result<NamePattern, String> {
        toml::from_str::<Rule>(&format!("name = '{text}'"))
            .map(|rule| rule.name)
            .map_err(|error| error.message().to_owned())
    }

    #[test]
    fn star_stands_for_any_rest() {
        for (pattern, name, fits) in
            [("a", "a", true), ("a", "ab", false), ("a*", "a", true), ("a*", "ab", true), ("*", "x", true)]
        {
            assert_eq!(parse(pattern).unwrap().fits(&name.parse().unwrap()), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn pattern_that_fits_nothing_is_refused() {
        for pattern in ["", "a b", "*a", "a*b", "/"] {
            assert!(parse(pattern).unwrap_err().contains("matches no name"), "{pattern}");
        }
    }
}
