//! Variables in values: `$NAME`, `${NAME}`, and the forms with a default, an alternative or an
//! error message.
//!
//! Source: compose-go, `template/template.go`.

use std::collections::{BTreeMap, BTreeSet};

/// How deep defaults may nest.
const MAX_DEPTH: usize = 50;

/// The variables of the process, with those that env files add.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables {
    values: BTreeMap<String, String>,
}

impl Variables {
    pub(crate) fn new(values: BTreeMap<String, String>) -> Self {
        Self { values }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Sets a variable, or replaces its value.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_owned(), value.to_owned());
    }

    /// Adds the variables that are not set.
    pub(crate) fn add(&mut self, others: BTreeMap<String, String>) {
        for (name, value) in others {
            self.values.entry(name).or_insert(value);
        }
    }
}

/// Replaces the variables in a text by their values. Adds the names of variables that are not set
/// to `unset`.
///
/// # Errors
///
/// What is wrong with the text, or which variable is missing, with the text of Compose.
pub(crate) fn interpolate<'v>(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<&'v str>,
    unset: &mut BTreeSet<String>,
) -> Result<String, String> {
    Interpolation { lookup, unset }.text(text, 0)
}

struct Interpolation<'l, 'v, 'u> {
    lookup: &'l dyn Fn(&str) -> Option<&'v str>,
    unset: &'u mut BTreeSet<String>,
}

/// What replaces a variable.
#[derive(Clone, Copy)]
enum Operator {
    /// Its value, or else the text.
    Default,
    /// The text, if it has a value.
    Alternative,
    /// Its value, or else an error with the text.
    Required,
}

/// The error does not show the text: the file may be one that only the caller can read, and not a
/// project's.
const INVALID: &str = "invalid interpolation format; write $$ for a single $";

/// The operators, and whether an empty value counts as not set.
const OPERATORS: [(&str, Operator, bool); 6] = [
    (":-", Operator::Default, true),
    ("-", Operator::Default, false),
    (":+", Operator::Alternative, true),
    ("+", Operator::Alternative, false),
    (":?", Operator::Required, true),
    ("?", Operator::Required, false),
];

impl Interpolation<'_, '_, '_> {
    fn text(&mut self, text: &str, depth: usize) -> Result<String, String> {
        if depth > MAX_DEPTH {
            return Err(format!("defaults nest deeper than {MAX_DEPTH} levels"));
        }
        let mut result = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            result.push_str(&rest[..dollar]);
            let after = &rest[dollar + 1..];
            if let Some(after) = after.strip_prefix('$') {
                result.push('$');
                rest = after;
            } else if let Some(inner) = after.strip_prefix('{') {
                let end = closing_brace(inner).ok_or(INVALID)?;
                result.push_str(&self.braced(&inner[..end], depth)?);
                rest = &inner[end + 1..];
            } else {
                let name = name_at_start(after);
                if name.is_empty() {
                    result.push('$');
                } else {
                    result.push_str(&self.value(name));
                }
                rest = &after[name.len()..];
            }
        }
        result.push_str(rest);
        Ok(result)
    }

    fn value(&mut self, name: &str) -> String {
        let value = (self.lookup)(name);
        if value.is_none() {
            self.unset.insert(name.to_owned());
        }
        value.unwrap_or_default().to_owned()
    }

    /// Returns the replacement of `${inner}`.
    fn braced(&mut self, inner: &str, depth: usize) -> Result<String, String> {
        let name = name_at_start(inner);
        let rest = &inner[name.len()..];
        if name.is_empty() {
            return Err(INVALID.to_owned());
        }
        if rest.is_empty() {
            return Ok(self.value(name));
        }
        let found = OPERATORS
            .iter()
            .find_map(|(sign, operator, is_empty_unset)| {
                let argument = rest.strip_prefix(sign)?;
                Some((argument, *operator, *is_empty_unset))
            });
        let Some((argument, operator, is_empty_unset)) = found else {
            return Err(INVALID.to_owned());
        };
        let value = (self.lookup)(name);
        let set_value = value.filter(|value| !is_empty_unset || !value.is_empty());
        match (operator, set_value) {
            (Operator::Default, None) | (Operator::Alternative, Some(_)) => {
                self.text(argument, depth + 1)
            }
            (Operator::Alternative, None) => Ok(value.unwrap_or_default().to_owned()),
            (Operator::Default | Operator::Required, Some(value)) => Ok(value.to_owned()),
            (Operator::Required, None) => {
                let reason = self.text(argument, depth + 1)?;
                let colon = if reason.is_empty() { "" } else { ": " };
                Err(format!(
                    "required variable {name} is missing a value{colon}{reason}"
                ))
            }
        }
    }
}

fn name_at_start(text: &str) -> &str {
    let is_part = |index: usize, character: char| {
        character == '_'
            || character.is_ascii_alphabetic()
            || index > 0 && character.is_ascii_digit()
    };
    let end = text
        .char_indices()
        .find(|(index, character)| !is_part(*index, *character))
        .map_or(text.len(), |(index, _)| index);
    &text[..end]
}

/// Finds the closing brace for one before the text.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 1_usize;
    for (index, character) in text.char_indices() {
        match character {
            '{' => open += 1,
            '}' => {
                open -= 1;
                if open == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpolated(text: &str) -> String {
        let lookup = |name: &str| match name {
            "SET" => Some("value"),
            "EMPTY" => Some(""),
            "DOLLAR" => Some("$SET"),
            _ => None,
        };
        let mut unset = BTreeSet::new();
        interpolate(text, &lookup, &mut unset).unwrap_or_else(|error| format!("error: {error}"))
    }

    #[test]
    fn follows_the_specification() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$SET/$SET", "value/value"),
            ("${SET}x", "valuex"),
            ("$NOPE.", "."),
            ("$$SET $$$SET", "$SET $value"),
            ("${NOPE:-x} ${EMPTY:-x} ${SET:-x}", "x x value"),
            ("${NOPE-x} ${EMPTY-x} ${SET-x}", "x  value"),
            ("${NOPE:+x} ${EMPTY:+x} ${SET:+x}", "  x"),
            ("${NOPE+x} ${EMPTY+x} ${SET+x}", " x x"),
            ("${SET:?no} ${EMPTY?no}", "value "),
            ("${NOPE:-${OTHER:-${SET}}}/x", "value/x"),
            ("${NOPE:-a${SET}b}${NOPE-}", "avalueb"),
            ("${NOPE:-a:b-c?d+e}", "a:b-c?d+e"),
            ("${NOPE:-{\"a\": 1}}", "{\"a\": 1}"),
            ("$DOLLAR", "$SET"),
            ("cost: 5$", "cost: 5$"),
            ("$ 5 $1", "$ 5 $1"),
            ("${set}", ""),
            ("ü$SETü", "üvalueü"),
            (
                "${NOPE:?need it}",
                "error: required variable NOPE is missing a value: need it",
            ),
            (
                "${EMPTY:?}",
                "error: required variable EMPTY is missing a value",
            ),
            (
                "${NOPE?say ${SET}}",
                "error: required variable NOPE is missing a value: say value",
            ),
        ] {
            assert_eq!(interpolated(text), expected, "{text}");
        }
        for text in [
            "${",
            "${}",
            "${SET",
            "${1}",
            "${SET!x}",
            "${ SET}",
            "${SET :-x}",
        ] {
            assert!(
                interpolated(text).starts_with("error: invalid interpolation"),
                "{text}"
            );
        }
    }

    #[test]
    fn collects_variables_that_are_not_set() {
        let mut unset = BTreeSet::new();
        interpolate("$A ${B} ${C:-x} ${D:-$E}", &|_| None, &mut unset).unwrap();
        assert_eq!(unset, ["A", "B", "E"].map(str::to_owned).into());
    }

    #[test]
    fn limits_the_nesting_of_defaults() {
        let deep = format!("{}x{}", "${A:-".repeat(10_000), "}".repeat(10_000));
        assert!(interpolated(&deep).starts_with("error: defaults nest deeper"));
    }
}
