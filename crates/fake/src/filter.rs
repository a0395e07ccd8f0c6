//! Filters of lists and subscriptions, as far as they compare fields: `id==web`,
//! `name~="^app"`, `labels."key"==value`.
//!
//! Source: containerd `pkg/filters`.

use regex_lite::Regex;
use tonic::Status;

/// Filters of which any has to match; none match everything.
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
        let parsed = filters.iter().map(|filter| {
            let selectors = split(filter).into_iter().map(|it| selector(&it));
            let selectors: Option<Vec<Selector>> = selectors.collect();
            selectors.ok_or_else(|| Status::invalid_argument(format!("filter `{filter}`")))
        });
        Ok(Self(parsed.collect::<Result<_, _>>()?))
    }

    /// Whether an object matches. `field` returns a field's value; `None` where there is none.
    pub(crate) fn match_all(&self, field: impl Fn(&str) -> Option<String>) -> bool {
        let holds = |it: &Selector| {
            let value = field(&it.field);
            match &it.condition {
                Condition::Present => value.is_some(),
                Condition::Equal(expected) => value.as_ref() == Some(expected),
                Condition::NotEqual(expected) => value.as_ref() != Some(expected),
                Condition::Matches(regex) => value.is_some_and(|it| regex.is_match(&it)),
            }
        };
        self.0.is_empty() || self.0.iter().any(|filter| filter.iter().all(holds))
    }
}

/// Splits a filter at the commas that are not quoted.
fn split(filter: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut is_quoted, mut is_escaped) = (false, false);
    for letter in filter.chars() {
        if letter == ',' && !is_quoted {
            parts.push(String::new());
            continue;
        }
        if letter == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = letter == '\\' && !is_escaped;
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    parts
}

fn selector(text: &str) -> Option<Selector> {
    let operators = ["==", "!=", "~="];
    let found = operators
        .into_iter()
        .filter_map(|it| Some((text.find(it)?, it)));
    let Some((at, operator)) = found.min() else {
        let field = unquoted(text);
        let condition = Condition::Present;
        return (!field.is_empty()).then_some(Selector { field, condition });
    };
    let value = unquoted(&text[at + operator.len()..]);
    let condition = match operator {
        "==" => Condition::Equal(value),
        "!=" => Condition::NotEqual(value),
        _ => Condition::Matches(Regex::new(&value).ok()?),
    };
    let field = unquoted(&text[..at]);
    Some(Selector { field, condition })
}

/// Returns a field or a value without its quotes and escapes: `labels."a.b"` is `labels.a.b`.
fn unquoted(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {}
            // Of what a quoted regular expression escapes only quotes and backslashes are Go's.
            '\\' => plain.extend(letters.next()),
            letter => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filters: &[&str], field: &str, value: &str) -> bool {
        let filters: Vec<String> = filters.iter().map(|it| (*it).to_owned()).collect();
        let filters = Filters::parse(&filters).unwrap();
        filters.match_all(|it| (it == field).then(|| value.to_owned()))
    }

    #[test]
    fn selectors_compare_one_field() {
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
