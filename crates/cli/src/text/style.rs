//! How parts of a text are marked for people who see colours. Without them the text says the same.

use std::ops::Range;

use anstyle::{AnsiColor, Color};
use reclaim_model::{KeepReason, ListedImage};

/// What a part of a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// It would go.
    Goes,
    /// It stays, because it is needed.
    Stays,
    /// It stays, because nothing can tell whether it is needed.
    Unsure,
    /// What is to be freed.
    Amount,
}

impl Style {
    /// Returns the style of what a prune would do with an image; `None` for one that a rule keeps.
    pub(super) fn of_verdict(image: &ListedImage) -> Option<Self> {
        match image.verdict {
            Ok(_) => Some(Self::Goes),
            Err(KeepReason::InUse | KeepReason::CriGroup | KeepReason::Pinned) => Some(Self::Stays),
            Err(KeepReason::Unreadable | KeepReason::UsageUnknown) => Some(Self::Unsure),
            Err(_) => None,
        }
    }

    fn ansi(self) -> anstyle::Style {
        let style = anstyle::Style::new();
        let coloured = |colour: AnsiColor| style.fg_color(Some(Color::Ansi(colour)));
        match self {
            Self::Goes => coloured(AnsiColor::Yellow),
            Self::Stays => coloured(AnsiColor::Green),
            Self::Unsure => coloured(AnsiColor::Red),
            Self::Amount => style.bold(),
        }
    }
}

/// The parts of a text that have a style, in order.
pub(super) type Marks = Vec<(Range<usize>, Style)>;

/// Returns a text with the codes of a terminal around its marked parts.
pub(super) fn painted(text: &str, marks: &Marks) -> String {
    let mut painted = String::with_capacity(text.len());
    let mut at = 0;
    for (range, style) in marks {
        let style = style.ansi();
        painted.push_str(&text[at..range.start]);
        painted.push_str(&style.render().to_string());
        painted.push_str(&text[range.clone()]);
        painted.push_str(&style.render_reset().to_string());
        at = range.end;
    }
    painted.push_str(&text[at..]);
    painted
}

/// The words at the beginning of messages, and their styles.
const PREFIXES: [(&str, AnsiColor); 3] = [
    ("error:", AnsiColor::Red),
    ("warning:", AnsiColor::Yellow),
    ("hint:", AnsiColor::Cyan),
];

/// Returns a message with the codes of a terminal around the word that says what it is.
pub(crate) fn painted_message(message: &str) -> String {
    for (prefix, colour) in PREFIXES {
        if let Some(rest) = message.strip_prefix(prefix) {
            let style = anstyle::Style::new()
                .fg_color(Some(Color::Ansi(colour)))
                .bold();
            return format!("{style}{prefix}{style:#}{rest}");
        }
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_parts_are_painted() {
        let marks = vec![(0..3, Style::Goes), (4..5, Style::Amount)];
        let text = painted("abc d e", &marks);
        assert_eq!(text, "\u{1b}[33mabc\u{1b}[0m \u{1b}[1md\u{1b}[0m e");
        assert_eq!(painted("abc", &Vec::new()), "abc");
    }

    #[test]
    fn only_the_first_word_of_a_message_is_painted() {
        let painted = painted_message("warning: no error: x\n");
        assert!(
            painted.ends_with("warning:\u{1b}[0m no error: x\n"),
            "{painted:?}"
        );
        assert_eq!(
            painted_message("held until error: x"),
            "held until error: x"
        );
    }
}
