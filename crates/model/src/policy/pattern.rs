//! Patterns for image names: globs, and regular expressions after a `~`.

use std::fmt;
use std::str::FromStr;

use regex_lite::Regex;

use crate::familiar_name;

/// A pattern for the names of images: a glob, in which `*` stands for any characters and `?`
/// for one, or after a `~` a regular expression that may match anywhere.
///
/// It is compared with the name as containerd has it and as Docker shows it, so that
/// `alpine:*` means `docker.io/library/alpine:3`.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Option<Regex>,
}

/// Why a text is not a [`Pattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is empty.
    #[error("pattern is empty")]
    Empty,
    /// The text after the `~` is not a regular expression.
    #[error("pattern is not a regular expression: `{text}`: {problem}")]
    Regex {
        /// The text that was given.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Pattern {
    /// Whether an image with this name matches.
    pub fn matches(&self, name: &str) -> bool {
        let is_match = |name: &str| match &self.regex {
            Some(regex) => regex.is_match(name),
            None => glob(self.text.as_bytes(), name.as_bytes()),
        };
        is_match(name) || is_match(&familiar_name(name))
    }

    /// Returns the text from which it was parsed.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let regex = match text.strip_prefix('~') {
            _ if text.is_empty() => return Err(PatternError::Empty),
            None => None,
            Some("") => return Err(PatternError::Empty),
            Some(regex) => Some(Regex::new(regex).map_err(|error| PatternError::Regex {
                text: text.to_owned(),
                problem: error.to_string(),
            })?),
        };
        Ok(Self {
            text: text.to_owned(),
            regex,
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

/// Compares with a glob, in at most the product of the lengths in time.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // The last star, and what it stood for up to: to be tried with one character more.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') => (p, t) = (p + 1, t + 1),
            Some(character) if *character == text[t] => (p, t) = (p + 1, t + 1),
            Some(_) | None => {
                let Some((at, upto)) = star else {
                    return false;
                };
                star = Some((at, upto + 1));
                (p, t) = (at + 1, upto + 1);
            }
        }
    }
    pattern[p..].iter().all(|it| *it == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(name)
    }

    #[test]
    fn globs_match_full_and_familiar_names() {
        for (pattern, name, expected) in [
            ("registry.k8s.io/pause:*", "registry.k8s.io/pause:3.9", true),
            (
                "registry.k8s.io/pause:*",
                "registry.k8s.io/pause2:3.9",
                false,
            ),
            ("alpine:*", "docker.io/library/alpine:3", true),
            ("docker.io/library/*", "docker.io/library/alpine:3", true),
            ("*", "anything", true),
            ("*/app:?", "r.example/app:1", true),
            ("*/app:?", "r.example/app:12", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("app", "docker.io/library/app:1", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn regular_expressions_follow_a_tilde() {
        assert!(matches(
            "~^registry\\.k8s\\.io/",
            "registry.k8s.io/pause:3.9"
        ));
        assert!(matches("~:v[0-9]+$", "docker.io/acme/app:v12"));
        assert!(!matches("~:v[0-9]+$", "docker.io/acme/app:v12-dev"));
        assert!("~(".parse::<Pattern>().is_err());
        assert_eq!("".parse::<Pattern>(), Err(PatternError::Empty));
        assert_eq!("~".parse::<Pattern>(), Err(PatternError::Empty));
    }

    #[test]
    fn a_hostile_glob_ends_soon() {
        let pattern = "*a".repeat(40) + "b";
        assert!(!matches(&pattern, &"a".repeat(4000)));
    }

    #[test]
    fn is_the_text_that_it_was_parsed_from() {
        let parsed = |text: &str| text.parse::<Pattern>().unwrap();
        for text in ["app:*", "~^app"] {
            assert_eq!(parsed(text).as_str(), text);
            assert_eq!(parsed(text).to_string(), text);
            assert_eq!(parsed(text), parsed(text));
        }
        assert_ne!(parsed("app:*"), parsed("app:?"));
    }
}
