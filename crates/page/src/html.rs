//! Writing HTML: elements and attributes by name, and every text escaped.

use std::fmt::{Display, Write};

use reclaim_model::Printable;

/// A document, or a part of one.
#[derive(Debug, Default)]
pub(crate) struct Html {
    text: String,
}

/// Text in which the characters that mean something in HTML are escaped, and those that are not
/// printable are replaced.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

impl Html {
    /// Writes text.
    pub(crate) fn text(&mut self, text: impl Display) -> &mut Self {
        let written = write!(Escaped(&mut self.text), "{}", Printable(text));
        written.expect("writing to a string does not fail");
        self
    }

    /// Writes an element with what `inner` writes into it.
    pub(crate) fn element(
        &mut self,
        name: &'static str,
        attributes: &[(&'static str, &dyn Display)],
        inner: impl FnOnce(&mut Self),
    ) -> &mut Self {
        self.open(name, attributes);
        inner(self);
        self.raw("</").raw(name).raw(">")
    }

    /// Writes an element that has text only.
    pub(crate) fn leaf(
        &mut self,
        name: &'static str,
        attributes: &[(&'static str, &dyn Display)],
        text: impl Display,
    ) -> &mut Self {
        self.element(name, attributes, |html| {
            html.text(text);
        })
    }

    /// Writes an element without an end, such as `meta`.
    pub(crate) fn open(
        &mut self,
        name: &'static str,
        attributes: &[(&'static str, &dyn Display)],
    ) -> &mut Self {
        self.raw("<").raw(name);
        for (key, value) in attributes {
            self.raw(" ").raw(key).raw("=\"").text(value).raw("\"");
        }
        self.raw(">")
    }

    /// Writes a value as JSON in which nothing ends the script that it is in.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize) -> &mut Self {
        let json = serde_json::to_string(value).expect("plain data is always JSON");
        self.text.push_str(&json.replace('<', "\\u003c"));
        self
    }

    /// Writes text of this crate as it is.
    pub(crate) fn raw(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Returns what was written.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_become_markup() {
        let mut html = Html::default();
        let hostile = "\"><script>alert('1')</script>&amp;\u{202e}\u{1b}[2J\n";
        html.leaf("td", &[("title", &hostile)], hostile);
        let escaped = "&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;amp;\u{fffd}\u{fffd}[2J\u{fffd}";
        let expected = format!("<td title=\"{escaped}\">{escaped}</td>");
        assert_eq!(html.into_text(), expected);
    }
}
