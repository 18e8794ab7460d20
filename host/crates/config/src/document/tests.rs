use std::path::Path;

use super::*;
use crate::Config;

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("linger.toml"), |name| Some(format!("value-of-{name}"))).unwrap()
}

/// With what is after a `#` without a space.
fn whole_template() -> String {
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    template().lines().map(uncommented).collect::<Vec<_>>().join("\n")
}

#[test]
fn reference_is_that_of_the_code() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/configuration.md");
    let committed = std::fs::read_to_string(file).unwrap();
    assert!(
        committed == reference(),
        "docs/configuration.md is old: run `linger config docs > docs/configuration.md`"
    );
}

#[test]
fn example_of_the_introduction_is_right() {
    let text = reference();
    let (_, example) = text.split_once("```toml\n").unwrap();
    let config = parse(example.split_once("```").unwrap().0);
    assert_eq!(config.apps["poll"].env["API_KEY"], "value-of-POLL_API_KEY");
}

#[test]
fn template_says_the_defaults() {
    let app = "\n[apps.a]\ncomponent = 'a.wasm'\n";
    let said = parse(&format!("{}{app}", template()));
    let meant = parse(app);
    // `listen` is said, and becomes the listener that there is anyway.
    assert_eq!(said.listen.map(|address| address.to_string()).as_deref(), Some(crate::DEFAULT_LISTEN));
    assert_eq!(format!("{:?}", Config { listen: None, ..said }), format!("{meant:?}"));
}

#[test]
fn template_has_every_key_with_a_value_that_is_one() {
    let text = whole_template();
    toml::from_str::<Config>(&text).unwrap();
    let tables = tables::tables(described().as_value());
    for table in &tables {
        assert!(text.contains(&table.heading), "{}", table.heading);
        for key in &table.keys {
            let name = format!("{} {}", table.heading, key.name);
            assert!(text.contains(&format!("\n{} = ", key.name)), "{name}");
            assert!(
                key.default.is_some() || key.example.is_some(),
                "{name} has no `#[schemars(example = …)]`"
            );
            assert!(!key.description.is_empty(), "{name} has no comment");
            assert!(!key.kind.is_empty(), "{name} has no type");
        }
    }
    for heading in
        ["", "[limits]", "[apps.NAME.instances]", "[apps.NAME.probe]", "[[queues.rules]]", "[[routes]]"]
    {
        assert!(tables.iter().any(|table| table.heading == heading), "{heading}");
    }
}

#[test]
fn schema_has_defaults_units_and_no_null() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let limits = &schema["properties"]["limits"];
    assert_eq!(limits["additionalProperties"], false);
    assert_eq!(limits["properties"]["max_head_size"]["default"], "64KiB");
    assert_eq!(limits["properties"]["head_timeout"]["default"], "30s");
    assert_eq!(schema["properties"]["detection"]["properties"]["confirm_window"]["default"], "1s");
    let probe = &schema["properties"]["apps"]["additionalProperties"]["properties"]["probe"];
    assert_eq!((&probe["type"], &probe["required"][0]), (&"object".into(), &"path".into()));
    assert!(!schema.to_string().contains("null"), "{schema:#}");
}
