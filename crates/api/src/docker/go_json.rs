//! Error texts of Go's JSON decoder, which Docker's errors quote.
//!
//! Source: Go, `encoding/json/scanner.go`.

/// What the scanner expected, by the text of our decoder.
const EXPECTED: [(&str, &str); 9] = [
    ("expected value", "looking for beginning of value"),
    (
        "key must be a string",
        "looking for beginning of object key string",
    ),
    (
        "trailing comma",
        "looking for beginning of object key string",
    ),
    ("expected `:`", "after object key"),
    ("expected `,` or `}`", "after object key:value pair"),
    ("expected `,` or `]`", "after array element"),
    ("trailing characters", "after top-level value"),
    ("invalid number", "in numeric literal"),
    ("control character", "in string literal"),
];

/// Returns the text of Go for a syntax error in `text`.
pub(super) fn syntax_error(text: &str, error: &serde_json::Error) -> String {
    let ours = error.to_string();
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let line = text.split('\n').nth(error.line().saturating_sub(1));
    let byte = line
        .unwrap_or_default()
        .as_bytes()
        .get(error.column().saturating_sub(1));
    let expected = EXPECTED.iter().find(|(begin, _)| ours.starts_with(begin));
    match (byte, expected) {
        (Some(byte), Some((_, expected))) => {
            format!("invalid character {} {expected}", quoted(char::from(*byte)))
        }
        // Go names the letter of `true` and the like, or the escape, that it expected.
        (Some(byte), None) => format!("invalid character {}", quoted(char::from(*byte))),
        (None, _) => ours,
    }
}

/// Quotes a character as Go does.
fn quoted(character: char) -> String {
    match character {
        '\'' => r"'\''".to_owned(),
        '"' => "'\"'".to_owned(),
        other => format!("'{}'", other.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The texts are those of a Docker Engine 28.5.2.
    #[test]
    fn syntax_errors_have_the_texts_of_go() {
        for (text, expected) in [
            (
                "linux/arm64",
                "invalid character 'l' looking for beginning of value",
            ),
            ("{", "unexpected end of JSON input"),
            ("tru", "unexpected end of JSON input"),
            (r#"{"os":"li"#, "unexpected end of JSON input"),
            (r#"{"os" 1}"#, "invalid character '1' after object key"),
            (
                r#"{"os":"linux","architecture":"amd64"}x"#,
                "invalid character 'x' after top-level value",
            ),
            (
                "{1}",
                "invalid character '1' looking for beginning of object key string",
            ),
            (
                r#"{"a":1,}"#,
                "invalid character '}' looking for beginning of object key string",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            (
                r#"{"a":1 "b":2}"#,
                "invalid character '\"' after object key:value pair",
            ),
            ("-", "unexpected end of JSON input"),
            (
                "'",
                r"invalid character '\'' looking for beginning of value",
            ),
        ] {
            let error = serde_json::from_str::<Value>(text).unwrap_err();
            assert_eq!(syntax_error(text, &error), expected, "{text}: {error}");
        }
    }
}
