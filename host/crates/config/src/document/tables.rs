//! The schema as tables with keys.

use serde_json::Value;

/// The placeholder for the name of a table.
const NAME: &str = "NAME";

/// A table of the file.
pub(super) struct ConfigTable {
    /// The heading, such as `[limits]` or `[[routes]]`; empty for the top of the file.
    pub(super) heading: String,
    /// Its description, in one or more sentences.
    pub(super) description: String,
    /// Whether it exists, with its defaults, if the file does not have it.
    pub(super) is_usual: bool,
    /// Its keys, without those that are tables: the required ones first.
    pub(super) keys: Vec<ConfigKey>,
}

/// A key with a value.
pub(super) struct ConfigKey {
    pub(super) name: String,
    /// The type of its value, in words.
    pub(super) kind: String,
    /// As TOML.
    pub(super) default: Option<String>,
    /// As TOML.
    pub(super) example: Option<String>,
    /// Whether the key is required.
    pub(super) is_required: bool,
    pub(super) description: String,
}

/// All tables, each before those in it.
pub(super) fn tables(schema: &Value) -> Vec<ConfigTable> {
    let mut tables = Vec::new();
    let top = TablePath { path: String::new(), is_list: false, is_usual: true };
    add(&mut tables, &top, text(schema, "description").to_owned(), schema);
    tables
}

struct TablePath {
    path: String,
    is_list: bool,
    is_usual: bool,
}

fn add(tables: &mut Vec<ConfigTable>, place: &TablePath, description: String, schema: &Value) {
    let own = tables.len();
    let heading = match place.path.as_str() {
        "" => String::new(),
        path if place.is_list => format!("[[{path}]]"),
        path => format!("[{path}]"),
    };
    tables.push(ConfigTable { heading, description, is_usual: place.is_usual, keys: Vec::new() });
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if place.path.is_empty() { name.clone() } else { format!("{}.{name}", place.path) };
        let is_usual = place.is_usual && property.get("default").is_some();
        let description = text(property, "description");
        let (items, values) = (&property["items"], &property["additionalProperties"]);
        if is_table(property) {
            add(tables, &TablePath { path, is_list: false, is_usual }, description.to_owned(), property);
        } else if is_table(items) {
            add(tables, &TablePath { path, is_list: true, is_usual: false }, description.to_owned(), items);
        } else if is_table(values) {
            let path = format!("{path}.{NAME}");
            add(tables, &TablePath { path, is_list: false, is_usual: false }, description.to_owned(), values);
        } else {
            tables[own].keys.push(key(name, property, schema));
        }
    }
    tables[own].keys.sort_by_key(|key| !key.is_required);
}

fn is_table(schema: &Value) -> bool {
    schema.get("properties").is_some()
}

fn key(name: &str, property: &Value, table: &Value) -> ConfigKey {
    let example = property["examples"].as_array().and_then(|examples| examples.first());
    let example = example.or_else(|| choices(property).next().map(|choice| &choice["const"]));
    let required = table["required"].as_array();
    let choices: Vec<String> = choices(property)
        .map(|choice| format!(" `{}`: {}", choice["const"], text(choice, "description")))
        .collect();
    ConfigKey {
        name: name.to_owned(),
        kind: kind(property),
        default: property.get("default").and_then(to_toml),
        example: example.and_then(to_toml),
        is_required: required.is_some_and(|required| required.iter().any(|key| key == name)),
        description: format!("{}{}", text(property, "description"), choices.concat()),
    }
}

fn choices(property: &Value) -> impl Iterator<Item = &Value> {
    property["oneOf"].as_array().into_iter().flatten()
}

fn kind(property: &Value) -> String {
    let choices: Vec<String> = choices(property).map(|choice| choice["const"].to_string()).collect();
    match text(property, "title") {
        _ if !choices.is_empty() => choices.join(" or "),
        "" => match text(property, "type") {
            "array" => format!("list of {}s", kind(&property["items"])),
            "object" => format!("table of {}s", kind(&property["additionalProperties"])),
            other => other.to_owned(),
        },
        title => title.to_owned(),
    }
}

fn to_toml(value: &Value) -> Option<String> {
    toml::Value::try_from(value).ok().map(|value| value.to_string())
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema[key].as_str().unwrap_or_default()
}
