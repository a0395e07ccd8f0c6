//! Draws the screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};
use reclaim_model::{HumanSize, Part, Printable, shortened};

use super::rows::{self, Row};
use super::state::{State, View};

/// The widths of the columns after the name.
const SIZE: usize = 10;

const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// Returns how many rows or lines fit.
pub(super) fn body_height(screen: Rect) -> usize {
    usize::from(screen.height.saturating_sub(4))
}

/// Draws the state. Nothing is shown by colour alone, and the terminal's own colours are used.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State) {
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ]);
    let [title, head, body, status, keys] = areas.areas(frame.area());
    frame.render_widget(Line::styled(title_text(state), REVERSED), title);
    match &state.view {
        View::Text { title, lines, top } => {
            frame.render_widget(Line::styled(title.clone(), BOLD), head);
            text(frame, lines, *top, body);
        }
        View::Plan { lines, top } => {
            frame.render_widget(Line::styled("The plan", BOLD), head);
            text(frame, lines, *top, body);
        }
        View::List | View::Filter | View::Busy(_) => {
            let width = usize::from(body.width);
            frame.render_widget(Line::styled(heads(width), BOLD), head);
            list(frame, state, body);
        }
    }
    frame.render_widget(Line::raw(status_text(state)), status);
    frame.render_widget(Line::raw(key_text(&state.view)), keys);
}

fn text(frame: &mut Frame<'_>, lines: &[String], top: usize, area: Rect) {
    let visible = lines.iter().skip(top);
    let visible: Vec<Line<'_>> = visible.map(|line| Line::raw(&**line)).collect();
    frame.render_widget(Paragraph::new(visible).wrap(Wrap { trim: false }), area);
}

fn title_text(state: &State) -> String {
    let Some(usage) = state.usage() else {
        return " reclaim: no namespace".to_owned();
    };
    let all = HumanSize(usage.usage.total().total_bytes());
    let free = HumanSize(usage.usage.reclaimable().total_bytes());
    let images = state.images().len();
    let namespace = &usage.namespace;
    let position = match state.map().usage.namespaces.len() {
        1 => String::new(),
        count => format!(" ({} of {count})", state.position()),
    };
    format!(" reclaim  {namespace}{position}  {images} images, {all}, prune -a frees {free}")
}

fn heads(width: usize) -> String {
    columns("  NAME", "SIZE", "ALONE", "VERDICT", width)
}

/// Returns one line: the name, two sizes, and the verdict as far as there is room.
fn columns(name: &str, size: &str, alone: &str, verdict: &str, width: usize) -> String {
    let verdict_width = (width.saturating_sub(2 * SIZE + 2) / 2).max(10);
    let name_width = width.saturating_sub(2 * SIZE + 2 + verdict_width);
    let name = fitted(name, name_width);
    let verdict = fitted(verdict, verdict_width);
    format!("{name}{size:>SIZE$}{alone:>SIZE$}  {verdict}")
}

/// Returns a text of exactly this width; a long one ends with an ellipsis.
fn fitted(text: &str, width: usize) -> String {
    let printable = Printable(text).to_string();
    if printable.chars().count() <= width {
        return format!("{printable:<width$}");
    }
    let cut: String = printable.chars().take(width.saturating_sub(1)).collect();
    format!("{cut}…")
}

fn list(frame: &mut Frame<'_>, state: &mut State, area: Rect) {
    let height = usize::from(area.height);
    if state.cursor < state.top {
        state.top = state.cursor;
    } else if state.cursor >= state.top + height {
        state.top = state.cursor + 1 - height;
    }
    let rows = state.rows.iter().enumerate().skip(state.top).take(height);
    let lines: Vec<Line<'_>> = rows
        .map(|(at, row)| {
            let text = row_text(state, row, usize::from(area.width));
            if at == state.cursor {
                Line::styled(text, REVERSED)
            } else {
                Line::raw(text)
            }
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn row_text(state: &State, row: &Row, width: usize) -> String {
    let mark = if state.is_marked(row) { "*" } else { " " };
    let open = match row {
        Row::Part(..) | Row::Object(..) => " ",
        Row::Repository(..) | Row::Image(_) | Row::Manifest(..) if state.is_open(row) => "-",
        Row::Repository(..) | Row::Image(_) | Row::Manifest(..) => "+",
    };
    let outer = usize::from(state.is_tree);
    let depth = match row {
        Row::Repository(..) => 0,
        Row::Image(_) => outer,
        Row::Part(..) | Row::Manifest(..) => outer + 1,
        Row::Object(..) => outer + 2,
    };
    let [name, size, alone, verdict] = cells(state, row);
    let name = format!("{mark}{:indent$}{open} {name}", "", indent = 2 * depth);
    columns(&name, &size, &alone, &verdict, width)
}

/// Returns the name, the size, what removing it alone frees, and the verdict.
fn cells(state: &State, row: &Row) -> [String; 4] {
    let size = |bytes: u64| HumanSize(bytes).to_string();
    let Some(map) = state.objects() else {
        return Default::default();
    };
    match row {
        Row::Repository(name, images) => {
            let removable = images
                .iter()
                .filter(|at| state.images()[**at].verdict.is_ok());
            let going: Vec<u32> = removable.filter_map(|at| u32::try_from(*at).ok()).collect();
            let freed = map.freed_by(|image| going.binary_search(&image).is_ok());
            let of = format!("{} of {} go", going.len(), images.len());
            [name.clone(), String::new(), size(freed), of]
        }
        Row::Image(image) => {
            let image = &state.images()[*image];
            [
                rows::name(image),
                size(image.size.total_bytes()),
                size(image.reclaimable_alone_bytes),
                rows::verdict(image),
            ]
        }
        Row::Part(image, part) => {
            let what = match part {
                Part::Snapshots => "unpacked layers",
                Part::Layers | Part::Platforms | Part::BuildHistory => "compressed layers",
            };
            let bytes = rows::part_bytes(map, *image, *part);
            [
                what.to_owned(),
                size(bytes),
                String::new(),
                "the plan says what can go".to_owned(),
            ]
        }
        Row::Manifest(image, position) => {
            let manifest = &map.images[*image][*position];
            let objects = manifest.objects.iter().map(|at| &map.objects[*at as usize]);
            let bytes = objects.filter_map(|object| object.bytes).sum();
            let name = match &manifest.platform {
                Some(platform) => platform.to_string(),
                None => shortened(&manifest.digest.to_string()),
            };
            [name, size(bytes), String::new(), String::new()]
        }
        Row::Object(_, _, at) => {
            let object = &map.objects[*at as usize];
            let bytes = object.bytes.map_or("unknown".to_owned(), size);
            let sharing = match (object.images.len(), object.held) {
                (0 | 1, false) => String::new(),
                (0 | 1, true) => "held".to_owned(),
                (count, false) => format!("shared by {count}"),
                (count, true) => format!("shared by {count}, held"),
            };
            let name = format!("{} {}", object.kind.text(), shortened(&object.id));
            [name, bytes, String::new(), sharing]
        }
    }
}

fn status_text(state: &State) -> String {
    if let Some(message) = &state.message {
        return Printable(message).to_string();
    }
    if let View::Busy(what) = &state.view {
        return format!("{what} …");
    }
    if state.view == View::Filter || !state.filter.is_empty() {
        let count = state.rows.len();
        return Printable(format!("filter: {}  ({count} rows)", state.filter)).to_string();
    }
    let (images, freed) = state.marked_images();
    let parts = state.marked_parts();
    let marked = match images {
        0 => format!("sorted by {}; nothing marked", state.sort.text()),
        _ => format!("marked: {images} images, {} together", HumanSize(freed)),
    };
    match parts {
        0 => marked,
        _ => format!("{marked}; {parts} parts of images"),
    }
}

fn key_text(view: &View) -> &'static str {
    match view {
        View::List => {
            "space mark  a apply  enter why  t tree  s sort  / find  n next  ? help  q end"
        }
        View::Filter => "type to filter by name or reason  enter keep  esc clear",
        View::Text { .. } => "up down scroll  esc back",
        View::Plan { .. } => "y carry it out  n back  up down scroll",
        View::Busy(_) => "q stop",
    }
}
