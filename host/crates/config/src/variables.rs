//! `${NAME}` in a string stands for an environment variable. Strings are replaced after the TOML is parsed, so a
//! value never becomes TOML.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A string with an unusable variable.
#[derive(Debug)]
pub(super) struct UnusableVariable {
    /// Where it starts in the text, in bytes.
    pub(super) offset: usize,
    /// The error.
    pub(super) message: String,
}

/// Replaces the variables in all strings that are values.
pub(super) fn replace(
    table: &mut DeTable<'_>,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<(), UnusableVariable> {
    table.iter_mut().try_for_each(|(_, value)| replace_in(value, variable))
}

fn replace_in(
    value: &mut Spanned<DeValue<'_>>,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<(), UnusableVariable> {
    let offset = value.span().start;
    match value.get_mut() {
        DeValue::String(text) if text.contains(START) => {
            *text = expand(text, variable).map_err(|message| UnusableVariable { offset, message })?.into();
            Ok(())
        }
        DeValue::Array(values) => values.iter_mut().try_for_each(|value| replace_in(value, variable)),
        DeValue::Table(table) => replace(table, variable),
        _ => Ok(()),
    }
}

const START: &str = "${";

fn expand(text: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(START) {
        if let Some(before) = before.strip_suffix('$') {
            expanded.extend([before, START]);
            rest = after;
            continue;
        }
        let (name, after) = after.split_once('}').ok_or_else(|| {
            format!("`${{` has no `}}` after it; write `${{NAME}}` for an environment variable, {LITERAL}")
        })?;
        if !is_name(name) {
            return Err(format!("`${{{name}}}` is not the name of an environment variable; {LITERAL}"));
        }
        let value = variable(name).ok_or_else(|| {
            format!("the environment variable `{name}` is not set; set it for Linger, {LITERAL}")
        })?;
        expanded.extend([before, &value]);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

const LITERAL: &str = "or write `$${` for a literal `${`";

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        expand(text, &|name| (name != "NONE").then(|| format!("<{name}>")))
    }

    #[test]
    fn variables_are_replaced_once() {
        for (text, expected) in [
            ("${A}", "<A>"),
            ("a${A}b${B_2}c", "a<A>b<B_2>c"),
            ("$A $ {A} $$ }", "$A $ {A} $$ }"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("${A}$${A}${A}", "<A>${A}<A>"),
        ] {
            assert_eq!(expanded(text).unwrap(), expected, "{text}");
        }
        // What a variable holds is not looked at again.
        assert_eq!(expand("${A}", &|_| Some("${B}".to_owned())).unwrap(), "${B}");
    }

    #[test]
    fn variable_that_is_not_there_is_named() {
        for (text, expected) in [
            ("${NONE}", "`NONE` is not set; set it for Linger, or write `$${`"),
            ("${A", "has no `}` after it"),
            ("${}", "`${}` is not the name"),
            ("${2A}", "`${2A}` is not the name"),
            ("${A-b}", "`${A-b}` is not the name"),
        ] {
            let error = expanded(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
