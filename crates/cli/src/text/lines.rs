//! Lines and tables for people, which cannot contain control characters.

use std::fmt::{Display, Write};
use std::ops::Deref;

use comfy_table::{CellAlignment, presets};
use reclaim_model::Printable;

/// Lines for people.
///
/// Names, labels and errors of others are in them, so each line and each cell of a table replaces what
/// [`Printable`] replaces: no image can control the terminal or add a line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text(String);

impl Text {
    /// Returns the text of a table.
    pub(super) fn of(table: &Table) -> Self {
        let mut text = Self::default();
        text.table(table);
        text
    }

    /// Adds a line.
    pub(super) fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{}", Printable(line)).expect("writing to a string does not fail");
    }

    /// Adds an empty line.
    pub(super) fn blank(&mut self) {
        self.0.push('\n');
    }

    /// Adds the lines of another text.
    pub(super) fn append(&mut self, other: &Self) {
        self.0.push_str(other);
    }

    /// Adds a table.
    pub(super) fn table(&mut self, table: &Table) {
        self.0.push_str(&table.0.trim_fmt());
        self.0.push('\n');
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A table without borders.
#[derive(Debug)]
pub(super) struct Table(comfy_table::Table);

impl Table {
    /// Returns a table without rows.
    pub(super) fn new<'h>(heads: impl IntoIterator<Item = &'h str>) -> Self {
        let mut table = comfy_table::Table::new();
        let heads: Vec<&str> = heads.into_iter().collect();
        table.load_style(presets::NOTHING).set_header(heads);
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
        }
        Self(table)
    }

    /// Adds a row.
    pub(super) fn add_row(&mut self, cells: impl IntoIterator<Item = impl Display>) {
        let cells = cells.into_iter().map(|cell| Printable(cell).to_string());
        self.0.add_row(cells.collect::<Vec<_>>());
    }

    /// Aligns columns of numbers.
    pub(super) fn align_right(&mut self, columns: impl IntoIterator<Item = usize>) {
        for column in columns {
            if let Some(column) = self.0.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_add_no_line() {
        let name = "a\u{1b}]52;c;eA==\u{7}\r\nforged: \u{202e}b";
        let shown = "a\u{fffd}]52;c;eA==\u{fffd}\u{fffd}\u{fffd}forged: \u{fffd}b";
        let mut table = Table::new(["NAME", "N"]);
        table.add_row([name, "1"]);
        let mut text = Text::default();
        text.table(&table);
        text.blank();
        text.line(format_args!("not removed: {name}"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(lines[1].starts_with(shown), "{lines:?}");
        assert_eq!(lines[3], format!("not removed: {shown}"));
    }
}
