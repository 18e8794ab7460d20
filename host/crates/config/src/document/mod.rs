//! Documents generated from the types and comments of the configuration's keys: a JSON Schema for editors, a
//! reference for people, and a file with every key.

mod reference;
mod tables;
mod template;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value};

pub use reference::reference;
pub use template::template;

/// The JSON Schema of a `linger.toml`, as JSON.
#[must_use]
pub fn schema() -> String {
    format!("{:#}\n", described().as_value())
}

/// Draft 7, because editors support it for TOML. Without references, so that each key has its own description and
/// default.
fn described() -> Schema {
    let mut settings = SchemaSettings::draft07().with_transform(RecursiveTransform(tidy));
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<super::Config>()
}

/// Removes nulls, which TOML does not have; line breaks of comments; and formats, which are Rust's.
fn tidy(schema: &mut Schema) {
    let Some(schema) = schema.as_object_mut() else { return };
    if let Some(Value::Array(mut any)) = schema.remove("anyOf") {
        any.retain(|one| one.get("type").is_none_or(|kind| kind != "null"));
        match any.pop() {
            Some(Value::Object(only)) if any.is_empty() => add_missing(schema, only),
            last => {
                any.extend(last);
                schema.insert("anyOf".to_owned(), any.into());
            }
        }
    }
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(default) = schema.get_mut("default") {
        remove_nulls(default);
        if default.is_null() {
            schema.remove("default");
        }
    }
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    schema.remove("format");
}

fn add_missing(schema: &mut Map<String, Value>, other: Map<String, Value>) {
    for (key, value) in other {
        schema.entry(key).or_insert(value);
    }
}

fn remove_nulls(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|_, value| !value.is_null());
        map.values_mut().for_each(remove_nulls);
    }
}

#[cfg(test)]
mod tests;
