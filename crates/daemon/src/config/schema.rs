//! The configuration file as a JSON Schema, for editors and for machines that write it.

use serde_json::{Map, Value, json};

use super::keys::{KEYS, Key, Kind};

/// Returns the schema, for people too: every key has its meaning.
pub fn schema() -> String {
    let mut sections = Map::new();
    for key in KEYS {
        let section = sections.entry(key.section);
        let section = section.or_insert_with(|| {
            json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {},
            })
        });
        section["properties"][key.name] = property(key);
    }
    if let Some(mut policy) = sections.remove("policy") {
        policy["required"] = json!(["name"]);
        sections.insert(
            "policy".to_owned(),
            json!({ "type": "array", "items": policy }),
        );
    }
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of Reclaim",
        "type": "object",
        "additionalProperties": false,
        "properties": sections,
    });
    format!("{schema:#}\n")
}

fn property(key: &Key) -> Value {
    let mut property = match key.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Integer(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::List => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Choice(pattern) => json!({ "type": "string", "pattern": pattern }),
    };
    property["description"] = json!(format!("{} Accepted: {}.", key.meaning, key.accepts));
    // What stands there is JSON as well as TOML, or words.
    if let Ok(default) = serde_json::from_str::<Value>(key.default) {
        property["default"] = default;
    }
    property
}
