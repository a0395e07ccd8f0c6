//! Lines and tables for people, which cannot contain control characters.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::ops::{Deref, Range};

use comfy_table::{CellAlignment, presets};
use reclaim_model::Printable;

use super::style::{Marks, Style, painted};
use crate::args::format::{Fields, Template};

/// Lines for people.
///
/// Names, labels and errors of others are in them, so each line and each cell of a table replaces what
/// [`Printable`] replaces: no image can control the terminal or add a line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text {
    plain: String,
    marks: Marks,
}

impl Text {
    /// Returns the text of a table.
    pub(super) fn of(table: &Table) -> Self {
        let mut text = Self::default();
        text.table(table);
        text
    }

    /// Adds a line.
    pub(super) fn line(&mut self, line: impl Display) {
        writeln!(self.plain, "{}", Printable(line)).expect("writing to a string does not fail");
    }

    /// Adds a line in a style.
    pub(super) fn styled_line(&mut self, style: Style, line: impl Display) {
        let start = self.plain.len();
        self.line(line);
        self.marks.push((start..self.plain.len() - 1, style));
    }

    /// Returns it with the codes of a terminal.
    pub(crate) fn painted(&self) -> String {
        painted(&self.plain, &self.marks)
    }

    /// Returns a line for each row as a template says, with headings if it is a table.
    pub(super) fn templated<F: Fields, const N: usize>(
        template: &Template<F>,
        rows: impl Iterator<Item = [String; N]>,
    ) -> Self {
        let mut text = Self::default();
        if template.is_table {
            let headings = template.headings();
            let mut table = Table::new(headings.iter().map(String::as_str));
            for row in rows {
                table.add_row(template.cells(&row));
            }
            text.table(&table);
        } else {
            for row in rows {
                // A value cannot have a tab or an end of line; the template can.
                let row = row.map(|value| Printable(value).to_string());
                text.plain.push_str(&template.cells(&row).join("\t"));
                text.plain.push('\n');
            }
        }
        text
    }

    /// Adds an empty line.
    pub(super) fn blank(&mut self) {
        self.plain.push('\n');
    }

    /// Adds the lines of another text.
    pub(super) fn append(&mut self, other: &Self) {
        let start = self.plain.len();
        self.plain.push_str(other);
        let marks = other.marks.iter();
        let moved = marks.map(|(range, style)| (start + range.start..start + range.end, *style));
        self.marks.extend(moved);
    }

    /// Adds a table.
    pub(super) fn table(&mut self, table: &Table) {
        for (number, line) in table.table.trim_fmt().lines().enumerate() {
            let start = self.plain.len();
            // The first line has the headings.
            let row = number.checked_sub(1).and_then(|row| table.styled.get(&row));
            let marks = row.and_then(|row| row.marks(line)).into_iter();
            let moved = marks.map(|(range, style)| (start + range.start..start + range.end, style));
            self.marks.extend(moved);
            self.plain.push_str(line);
            self.plain.push('\n');
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.plain
    }
}

/// A table without borders.
#[derive(Debug)]
pub(super) struct Table {
    table: comfy_table::Table,
    /// The rows with cells in a style, by number.
    styled: BTreeMap<usize, StyledRow>,
}

#[derive(Debug)]
struct StyledRow {
    cells: Vec<String>,
    column: usize,
    style: Style,
}

impl StyledRow {
    /// Returns where the styled cell is in the line of the row; nothing if the cells are not in the line as
    /// they should be.
    fn marks(&self, line: &str) -> Option<(Range<usize>, Style)> {
        let mut at = 0;
        for (column, cell) in self.cells.iter().enumerate() {
            let cell = cell.trim();
            if cell.is_empty() {
                continue;
            }
            at += line[at..].len() - line[at..].trim_start().len();
            if !line[at..].starts_with(cell) {
                return None;
            }
            if column == self.column {
                return Some((at..at + cell.len(), self.style));
            }
            at += cell.len();
        }
        None
    }
}

impl Table {
    /// Returns a table without rows.
    pub(super) fn new<'h>(heads: impl IntoIterator<Item = &'h str>) -> Self {
        let mut table = comfy_table::Table::new();
        let heads: Vec<&str> = heads.into_iter().collect();
        table.load_style(presets::NOTHING).set_header(heads);
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
        }
        Self {
            table,
            styled: BTreeMap::new(),
        }
    }

    /// Adds a row.
    pub(super) fn add_row(&mut self, cells: impl IntoIterator<Item = impl Display>) {
        let cells = cells.into_iter().map(|cell| Printable(cell).to_string());
        self.table.add_row(cells.collect::<Vec<_>>());
    }

    /// Adds a row of which one cell has a style.
    pub(super) fn add_styled_row(
        &mut self,
        cells: impl IntoIterator<Item = impl Display>,
        (column, style): (usize, Style),
    ) {
        let cells = cells.into_iter().map(|cell| Printable(cell).to_string());
        let cells: Vec<String> = cells.collect();
        let row = StyledRow {
            cells: cells.clone(),
            column,
            style,
        };
        self.styled.insert(self.table.row_count(), row);
        self.table.add_row(cells);
    }

    /// Aligns columns of numbers.
    pub(super) fn align_right(&mut self, columns: impl IntoIterator<Item = usize>) {
        for column in columns {
            if let Some(column) = self.table.column_mut(column) {
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

    #[test]
    fn a_styled_cell_is_painted_where_it_is() {
        let mut table = Table::new(["NAME", "EMPTY", "N", "WORD"]);
        table.align_right([2]);
        table.add_styled_row(["  used", "", "12", "used"], (3, Style::Goes));
        table.add_row(["a longer name", "", "1", "used"]);
        let mut text = Text::default();
        text.line("used");
        let mut inner = Text::of(&table);
        inner.styled_line(Style::Amount, "sum");
        text.append(&inner);
        let painted = text.painted();
        let lines: Vec<&str> = painted.lines().collect();
        assert!(lines[2].starts_with("  used "), "{lines:?}");
        assert!(
            lines[2].ends_with("12   \u{1b}[33mused\u{1b}[0m"),
            "{lines:?}"
        );
        assert!(lines[3].ends_with(" 1   used"), "{lines:?}");
        assert_eq!(lines[4], "\u{1b}[1msum\u{1b}[0m");
        assert!(!text.contains('\u{1b}'));
    }
}
