//! The configuration file as a JSON Schema, for editors and for machines that write it.

use reclaim_maintenance::settings::{Key, Kind};
use serde_json::{Map, Value, json};

use super::file::ConfigFile;

/// Returns the schema. The description of a key is its meaning and what it accepts.
pub fn schema() -> String {
    let mut sections = Map::new();
    for key in ConfigFile::keys() {
        let section = sections.entry(key.section).or_insert_with(|| {
            json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {},
            })
        });
        section["properties"][key.name] = property(&key);
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
        Kind::Pattern(pattern) => json!({ "type": "string", "pattern": pattern }),
    };
    property["description"] = json!(format!("{} Accepted: {}.", key.meaning, key.accepts));
    // A default is JSON as well as TOML; what an unset key means is text.
    if let Ok(default) = serde_json::from_str::<Value>(&key.default) {
        property["default"] = default;
    }
    property
}
