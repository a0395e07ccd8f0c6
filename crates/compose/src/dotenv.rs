//! Env files: `NAME=value` lines, with quotes, comments and variables.
//!
//! Source: compose-go, `dotenv/parser.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::{ComposeError, Location};
use crate::interpolate::{Variables, interpolate};
use crate::source;

/// Reads env files, of which a later one overrides the earlier ones. Values may use variables of the
/// environment and variables that are set earlier in the files.
pub(crate) fn read(
    paths: &[impl AsRef<Path>],
    environment: &Variables,
) -> Result<BTreeMap<String, String>, ComposeError> {
    let mut values = BTreeMap::new();
    for path in paths {
        let path = path.as_ref();
        let text = source::read(path)?;
        parse(&text, &mut values, environment)
            .map_err(|(line, what)| Location::file(path).at(line).invalid(what))?;
    }
    Ok(values)
}

/// The number of a line, and what is wrong with it.
type Problem = (usize, String);

fn parse(
    text: &str,
    values: &mut BTreeMap<String, String>,
    environment: &Variables,
) -> Result<(), Problem> {
    let text = text.replace("\r\n", "\n");
    let mut rest = text.as_str();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(());
        }
        if rest.starts_with('#') {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
            continue;
        }
        let line = 1 + text[..text.len() - rest.len()].matches('\n').count();
        let problem = |what: String| (line, what);
        let (name, after) = name(rest).map_err(problem)?;
        let Some(after) = after else {
            // A name alone takes its value from the environment.
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
            if let Some(value) = environment.get(name) {
                values.insert(name.to_owned(), value.to_owned());
            }
            continue;
        };
        let after = after.trim_start_matches([' ', '\t']);
        let value;
        (value, rest) = if let Some(quoted) = after.strip_prefix('\'') {
            quoted_value(quoted, '\'').map_err(problem)?
        } else if let Some(quoted) = after.strip_prefix('"') {
            let (raw, rest) = quoted_value(quoted, '"').map_err(problem)?;
            let value = expand(&unescaped(&raw), values, environment);
            (value.map_err(problem)?, rest)
        } else {
            let (line, rest) = after.split_once('\n').unwrap_or((after, ""));
            let raw = line.split(" #").next().unwrap_or_default().trim_end();
            let value = expand(raw, values, environment);
            (value.map_err(problem)?, rest)
        };
        values.insert(name.to_owned(), value);
    }
}

/// Splits a line into the name and the text after its `=`; `None` after a name alone.
fn name(rest: &str) -> Result<(&str, Option<&str>), String> {
    let line = rest.split('\n').next().unwrap_or_default();
    let unexported = line
        .strip_prefix("export")
        .filter(|after| after.starts_with([' ', '\t']));
    let begin = unexported.map_or(0, |after| line.len() - after.trim_start().len());
    let end = line[begin..].find(['=', ':']).map(|length| begin + length);
    let name = line[begin..end.unwrap_or(line.len())].trim();
    let is_part = |character: char| {
        character.is_alphanumeric() || matches!(character, '_' | '.' | '-' | '[' | ']')
    };
    if name.is_empty() || !name.chars().all(is_part) {
        // The line is not shown: the file may be one that only the caller can read, and not an env
        // file.
        return Err("no variable name; expected NAME=value".to_owned());
    }
    Ok((name, end.map(|end| &rest[end + 1..])))
}

/// Splits a text after the closing quote of a value, which may have several lines. Resolves only
/// the escapes of the quote.
fn quoted_value(text: &str, quote: char) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut is_escaped = false;
    for (index, character) in text.char_indices() {
        match (is_escaped, character) {
            (false, '\\') => {
                is_escaped = true;
                continue;
            }
            (false, it) if it == quote => return Ok((value, &text[index + 1..])),
            (true, it) if it != quote => value.push('\\'),
            _ => {}
        }
        is_escaped = false;
        value.push(character);
    }
    Err(format!(
        "unterminated quoted value; expected {quote} at its end"
    ))
}

/// Resolves the escapes of a value in double quotes.
fn unescaped(value: &str) -> String {
    let mut result = String::new();
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            result.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => result.push('\n'),
            Some('r') => result.push('\r'),
            Some('t') => result.push('\t'),
            Some('a') => result.push('\u{7}'),
            Some('b') => result.push('\u{8}'),
            Some('f') => result.push('\u{c}'),
            Some('v') => result.push('\u{b}'),
            // Escaped again, so that it does not begin a variable.
            Some('$') => result.push_str("$$"),
            Some('\\') | None => result.push('\\'),
            Some(other) => {
                result.push('\\');
                result.push(other);
            }
        }
    }
    result
}

fn expand(
    value: &str,
    values: &BTreeMap<String, String>,
    environment: &Variables,
) -> Result<String, String> {
    let lookup = |name: &str| {
        let own = || values.get(name).map(String::as_str);
        environment.get(name).or_else(own)
    };
    interpolate(value, &lookup, &mut BTreeSet::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(String, String)>, Problem> {
        let environment = [("HOME", "/root"), ("BOTH", "outer")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut values = BTreeMap::new();
        parse(text, &mut values, &Variables::new(environment.into()))?;
        Ok(values.into_iter().collect())
    }

    #[test]
    fn reads_names_values_quotes_and_comments() {
        for (text, value) in [
            ("A=1", "1"),
            ("  export A = 1  ", "1"),
            ("A: yaml", "yaml"),
            ("A=a b # comment", "a b"),
            ("A=a#b", "a#b"),
            ("A=", ""),
            ("# no\n\nA=x\r\n", "x"),
            ("A='a $HOME # b'", "a $HOME # b"),
            ("A=\"a\\n$HOME\"", "a\n/root"),
            ("A=\"a \\\"b\\\" \\$HOME\"", "a \"b\" $HOME"),
            ("A='it\\'s'", "it's"),
            ("A=\"two\nlines\"", "two\nlines"),
            ("A=$HOME/x", "/root/x"),
            ("A=${NOPE:-d}", "d"),
            ("A=$$x", "$x"),
            ("A=x\nA=$A.y", "x.y"),
            ("BOTH=own\nA=$BOTH", "outer"),
        ] {
            let parsed = parsed(text).unwrap();
            let found = parsed.iter().find(|(name, _)| name == "A");
            assert_eq!(found.unwrap().1, value, "{text}");
        }
        assert_eq!(
            parsed("HOME\nNOPE\n").unwrap(),
            [("HOME".to_owned(), "/root".to_owned())]
        );
    }

    #[test]
    fn an_error_has_the_number_of_its_line() {
        for (text, line) in [
            ("A=1\nwhat is this\n", 2),
            ("A=1\n\nB='x\ny", 3),
            ("=x", 1),
            ("A=${NOPE:?must be}", 1),
        ] {
            assert_eq!(parsed(text).unwrap_err().0, line, "{text}");
        }
    }
}
