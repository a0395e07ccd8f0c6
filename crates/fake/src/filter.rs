//! Filters of lists and subscriptions that compare fields: `id==web`, `name~="^app"`,
//! `labels."key"==value`.
//!
//! Source: containerd `pkg/filters`.

use regex_lite::Regex;
use tonic::Status;

/// Filters, one of which must match. An empty list matches everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filters(Vec<Vec<Selector>>);

#[derive(Debug, Clone)]
struct Selector {
    field: String,
    condition: Condition,
}

#[derive(Debug, Clone)]
enum Condition {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

impl Filters {
    pub(crate) fn parse(filters: &[String]) -> Result<Self, Status> {
        let parse = |filter: &String| {
            let parts = split(filter).into_iter();
            let selectors: Option<Vec<Selector>> = parts.map(|part| selector(&part)).collect();
            selectors.ok_or_else(|| Status::invalid_argument(format!("invalid filter `{filter}`")))
        };
        let parsed = filters.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self(parsed))
    }

    /// Whether an object matches. `field` returns the value of a field, or `None` if it is missing.
    pub(crate) fn match_all(&self, field: impl Fn(&str) -> Option<String>) -> bool {
        let holds = |selector: &Selector| {
            let value = field(&selector.field);
            match &selector.condition {
                Condition::Present => value.is_some(),
                Condition::Equal(expected) => value.as_ref() == Some(expected),
                Condition::NotEqual(expected) => value.as_ref() != Some(expected),
                Condition::Matches(regex) => value.is_some_and(|value| regex.is_match(&value)),
            }
        };
        self.0.is_empty() || self.0.iter().any(|filter| filter.iter().all(holds))
    }
}

/// Splits a filter at the commas that are not quoted.
fn split(filter: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut is_quoted, mut is_escaped) = (false, false);
    for character in filter.chars() {
        if character == ',' && !is_quoted {
            parts.push(String::new());
            continue;
        }
        if character == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = character == '\\' && !is_escaped;
        if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    parts
}

fn selector(text: &str) -> Option<Selector> {
    let operators = ["==", "!=", "~="];
    let found = operators
        .into_iter()
        .filter_map(|operator| Some((text.find(operator)?, operator)));
    let Some((position, operator)) = found.min() else {
        let field = unquoted(text);
        let condition = Condition::Present;
        return (!field.is_empty()).then_some(Selector { field, condition });
    };
    let value = unquoted(&text[position + operator.len()..]);
    let condition = match operator {
        "==" => Condition::Equal(value),
        "!=" => Condition::NotEqual(value),
        _ => Condition::Matches(Regex::new(&value).ok()?),
    };
    let field = unquoted(&text[..position]);
    Some(Selector { field, condition })
}

/// Returns a field or a value without its quotes and escapes: `labels."a.b"` is `labels.a.b`.
fn unquoted(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {}
            // In a quoted regular expression Go escapes only quotes and backslashes.
            '\\' => plain.extend(characters.next()),
            character => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filters: &[&str], field: &str, value: &str) -> bool {
        let texts: Vec<String> = filters.iter().map(|text| (*text).to_owned()).collect();
        let filters = Filters::parse(&texts).unwrap();
        filters.match_all(|name| (name == field).then(|| value.to_owned()))
    }

    #[test]
    fn selectors_compare_a_field() {
        let cases = [
            (&["id==web"][..], "web", true),
            (&["id==web"], "web2", false),
            (&["id!=web"], "db", true),
            (&[r#"id~="^w.b$""#], "wab", true),
            (&[r#"id~="^w.b$""#], "web2", false),
            (&["id==a,id==b"], "a", false),
            (&["id==a", "id==b"], "b", true),
            (&[r#"id=="a,b""#], "a,b", true),
            (&["id"], "", true),
            (&["name"], "a", false),
            (&[], "a", true),
        ];
        for (filters, value, expected) in cases {
            assert_eq!(matches(filters, "id", value), expected, "{filters:?}");
        }
        assert!(matches(&[r#"labels."a.b"==c"#], "labels.a.b", "c"));
    }
}
