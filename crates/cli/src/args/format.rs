//! `--format` of lists: a table, JSON, or a template of fields as docker's.

use std::fmt::Write as _;
use std::marker::PhantomData;

/// The fields of the rows of a list.
pub(crate) trait Fields {
    /// Their names and the headings of their columns.
    const FIELDS: &'static [(&'static str, &'static str)];
    /// Words that are accepted in addition to `table` and `json`.
    const OTHER_FORMATS: &'static [&'static str];
}

/// The fields of `image ls`.
#[derive(Debug, Clone)]
pub(crate) struct ImageFields;

impl Fields for ImageFields {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("Namespace", "NAMESPACE"),
        ("Name", "NAME"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("Digest", "DIGEST"),
        ("Size", "SIZE"),
        ("Content", "CONTENT"),
        ("Unpacked", "UNPACKED"),
        ("Shared", "SHARED"),
        ("Unique", "UNIQUE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("UsedSince", "USED"),
        ("UsedAt", "USED AT"),
        ("Verdict", "VERDICT"),
        ("Layers", "LAYERS"),
    ];
    const OTHER_FORMATS: &'static [&'static str] = &[];
}

/// The fields of `df`, one row for each namespace.
#[derive(Debug, Clone)]
pub(crate) struct UsageFields;

impl Fields for UsageFields {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("Namespace", "NAMESPACE"),
        ("Images", "IMAGES"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Shared", "SHARED"),
        ("Dangling", "PRUNE"),
        ("Reclaimable", "PRUNE --ALL"),
    ];
    const OTHER_FORMATS: &'static [&'static str] = &["ncdu"];
}

/// How a list is printed.
#[derive(Debug, Clone)]
pub(crate) enum ListFormat<F> {
    /// Text for people; it may change.
    Table,
    /// One JSON object; its form is stable.
    Json,
    /// One of [`Fields::OTHER_FORMATS`].
    Other,
    /// The fields that the user wants.
    Template(Template<F>),
}

/// A template: text and fields of each row.
#[derive(Debug, Clone)]
pub(crate) struct Template<F> {
    parts: Vec<Part>,
    /// Whether it has a line with the headings.
    pub(crate) is_table: bool,
    fields: PhantomData<F>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A field, by its position.
    Field(usize),
    /// All fields, as a JSON object.
    Json,
}

impl<F: Fields> ListFormat<F> {
    /// Parses an option, for clap.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if F::OTHER_FORMATS.contains(&text) {
            return Ok(Self::Other);
        }
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            _ if text.contains("{{") => Template::parse(text).map(Self::Template),
            _ => {
                let words = [&["table", "json"], F::OTHER_FORMATS].concat().join(", ");
                Err(format!(
                    "accepted are {words}, and templates such as '{{{{.{}}}}}'",
                    F::FIELDS[0].0
                ))
            }
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        matches!(self, Self::Json)
    }

    pub(crate) fn is_table(&self) -> bool {
        matches!(self, Self::Table)
    }
}

impl<F: Fields> Template<F> {
    fn parse(text: &str) -> Result<Self, String> {
        let (text, is_table) = match text.strip_prefix("table") {
            Some(rest) if rest.starts_with([' ', '\t']) => (rest.trim_start(), true),
            Some(_) | None => (text, false),
        };
        // As docker does: shells have no short way to write these.
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let mut parts = Vec::new();
        let mut rest = &*text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, after) = after
                .split_once("}}")
                .ok_or_else(|| "a `{{` has no `}}`".to_owned())?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Self::action(action.trim())?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self {
            parts,
            is_table,
            fields: PhantomData,
        })
    }

    fn action(action: &str) -> Result<Part, String> {
        if action == "json ." {
            return Ok(Part::Json);
        }
        let name = action.strip_prefix('.');
        let found = |name| F::FIELDS.iter().position(|(field, _)| *field == name);
        name.and_then(found).map(Part::Field).ok_or_else(|| {
            let names: Vec<String> = F::FIELDS.iter().map(|(it, _)| format!(".{it}")).collect();
            let names = names.join(", ");
            format!("`{{{{{action}}}}}` is not a field; accepted are {names}, and `json .`")
        })
    }

    /// Returns the cells of the line of headings.
    pub(crate) fn headings(&self) -> Vec<String> {
        let headings: Vec<&str> = F::FIELDS.iter().map(|(_, heading)| *heading).collect();
        self.cells(&headings)
    }

    /// Returns a line: cells that were separated by tabs.
    pub(crate) fn cells(&self, values: &[impl AsRef<str>]) -> Vec<String> {
        let mut cells = vec![String::new()];
        for part in &self.parts {
            match part {
                Part::Text(text) => {
                    let mut pieces = text.split('\t');
                    cells.extend_last(pieces.next().unwrap_or_default());
                    cells.extend(pieces.map(str::to_owned));
                }
                Part::Field(field) => cells.extend_last(values[*field].as_ref()),
                Part::Json => cells.extend_last(&object::<F>(values)),
            }
        }
        cells
    }
}

trait ExtendLast {
    fn extend_last(&mut self, text: &str);
}

impl ExtendLast for Vec<String> {
    fn extend_last(&mut self, text: &str) {
        if let Some(last) = self.last_mut() {
            last.push_str(text);
        }
    }
}

fn object<F: Fields>(values: &[impl AsRef<str>]) -> String {
    let mut object = String::from("{");
    for (at, ((name, _), value)) in F::FIELDS.iter().zip(values).enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let value = serde_json::Value::from(value.as_ref());
        write!(object, "{comma}\"{name}\":{value}").expect("writing to a string does not fail");
    }
    object.push('}');
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template<UsageFields> {
        match ListFormat::parse(text) {
            Ok(ListFormat::Template(template)) => template,
            other => panic!("{text}: {other:?}"),
        }
    }

    const ROW: [&str; 7] = ["default", "3", "1", "5MB", "0B", "1MB", "2MB (40%)"];

    #[test]
    fn fields_are_replaced_and_the_rest_stays() {
        for (text, is_table, cells) in [
            ("{{.Namespace}}", false, &["default"][..]),
            ("{{ .Images }} of {{.Size}}!", false, &["3 of 5MB!"]),
            (r"{{.Images}}\t{{.Size}}", false, &["3", "5MB"]),
            ("{{.Images}}\t\t{{.Size}}", false, &["3", "", "5MB"]),
            (
                r"table {{.Namespace}}\t{{.Size}}",
                true,
                &["default", "5MB"],
            ),
            ("}}{{.Size}}", false, &["}}5MB"]),
        ] {
            let template = template(text);
            assert_eq!(template.is_table, is_table, "{text}");
            assert_eq!(template.cells(&ROW), cells, "{text}");
        }
        let headings = template(r"table {{.Namespace}}\t{{.Reclaimable}}").headings();
        assert_eq!(headings, ["NAMESPACE", "PRUNE --ALL"]);
        let json = template("{{json .}}").cells(&ROW).join("");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["Reclaimable"], "2MB (40%)");
        assert_eq!(json.as_object().unwrap().len(), ROW.len());
    }

    #[test]
    fn says_what_is_accepted() {
        for (text, expected) in [
            (
                "",
                "accepted are table, json, ncdu, and templates such as '{{.Namespace}}'",
            ),
            ("yaml", "accepted are table, json, ncdu, and templates"),
            ("{{.Size", "a `{{` has no `}}`"),
            (
                "{{.Colour}}",
                "`{{.Colour}}` is not a field; accepted are .Namespace, .Images,",
            ),
            ("{{Size}}", "`{{Size}}` is not a field"),
            ("{{.Size | upper}}", "`{{.Size | upper}}` is not a field"),
            ("{{}}", "`{{}}` is not a field"),
        ] {
            let error = ListFormat::<UsageFields>::parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        assert!(ListFormat::<ImageFields>::parse("ncdu").is_err());
        assert!(ListFormat::<UsageFields>::parse("json").unwrap().is_json());
    }
}
