//! Text of others on a terminal or in a log.

use std::fmt::{self, Display, Formatter, Write};

/// Displays a value on one line, with U+FFFD in place of each character that is not printable.
///
/// Names, labels, annotations and errors come from images and from other programs. Raw, they could
/// control the terminal, or add a line to a log.
#[derive(Debug, Clone, Copy)]
pub struct Printable<T>(pub T);

impl<T: Display> Display for Printable<T> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(Replacing(formatter), "{}", self.0)
    }
}

/// Whether a character is safe within a line: it is not a control character (C0, DEL, C1), which can
/// control a terminal, and does not change the direction of the text or separate lines.
///
/// Source: Unicode Standard Annex #9, "Explicit Directional Marks" and the sections before it.
pub fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// A writer that replaces characters that are not printable.
struct Replacing<'f, 'b>(&'f mut Formatter<'b>);

impl Write for Replacing<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(position) = rest.find(|character| !is_printable(character)) {
            self.0.write_str(&rest[..position])?;
            self.0.write_char(char::REPLACEMENT_CHARACTER)?;
            let mut characters = rest[position..].chars();
            characters.next();
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_characters_that_control_a_terminal_or_reorder_a_line() {
        let hostile = "a\u{1b}]0;title\u{7}b\r\nc\u{7f}\u{9b}1m\u{202e}d\u{2066}e\u{61c}\u{2028}ü";
        let shown = Printable(hostile).to_string();
        assert_eq!(
            shown,
            "a\u{fffd}]0;title\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}\u{fffd}1m\u{fffd}d\u{fffd}e\u{fffd}\u{fffd}ü"
        );
        assert!(shown.chars().all(is_printable));
        assert_eq!(Printable("").to_string(), "");
        assert_eq!(Printable(12).to_string(), "12");
    }
}
