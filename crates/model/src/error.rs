//! One way to print an error with its causes.

use std::error::Error;

/// Joins an error and its causes as `outer: middle: root`.
///
/// A cause is left out if the text before it already ends with it, because errors of other
/// libraries often repeat their source.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    fn link(text: &'static str, source: Option<Link>) -> Link {
        let source = source.map(Box::new);
        Link { text, source }
    }

    #[test]
    fn tells_every_cause_once() {
        let root = || link("no such file", None);
        assert_eq!(chain(&root()), "no such file");
        let outer = link("read `x`", Some(link("open it", Some(root()))));
        assert_eq!(chain(&outer), "read `x`: open it: no such file");
        let repeats = link("read `x`: no such file", Some(root()));
        assert_eq!(chain(&repeats), "read `x`: no such file");
        let between = link(
            "read `x`: no such file",
            Some(link("open it", Some(root()))),
        );
        assert_eq!(
            chain(&between),
            "read `x`: no such file: open it: no such file"
        );
    }
}
