//! What each key does.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "terminals have more keys than the screen uses"
)]

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::state::{State, View};

/// What a key requests beyond the state of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Show why the thing at the cursor is kept.
    Why,
    /// Plan what is marked.
    Plan,
    /// Carry out the plan that is shown.
    Apply,
    /// Read the store again.
    Reload,
    /// End, or stop what is under way.
    Quit,
}

/// The keys, for the help.
pub(super) const HELP: [(&str, &str); 14] = [
    ("up down, j k", "move; also PgUp, PgDn, Home, End"),
    ("right left, l h", "open and close a row"),
    (
        "space",
        "mark an image, a repository, or a part of an image",
    ),
    ("a", "plan what is marked, show the plan, and ask"),
    ("enter", "why the image is kept, or what keeps the object"),
    ("t", "table of images, or tree of repositories"),
    ("s", "sort: freed alone, size, age, name"),
    ("/", "filter by name or reason; Esc clears it"),
    ("n", "next namespace"),
    ("c", "clear the marks"),
    ("r", "read the store again"),
    ("?", "this help"),
    ("esc", "back to the list"),
    ("q, Ctrl-C", "end; while a run is under way, stop it"),
];

/// Changes the state as a key says, and returns what else it requests. `height` is the number of rows
/// on the screen.
pub(super) fn press(state: &mut State, key: KeyEvent, height: usize) -> Option<Action> {
    state.message = None;
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return (key.code == KeyCode::Char('c')).then_some(Action::Quit);
    }
    match state.view {
        View::List => press_in_list(state, key.code, height),
        View::Filter => {
            press_in_filter(state, key.code);
            None
        }
        View::Text { .. } | View::Plan { .. } => press_in_text(state, key.code, height),
        View::Busy(_) => (key.code == KeyCode::Char('q')).then_some(Action::Quit),
    }
}

fn press_in_list(state: &mut State, key: KeyCode, height: usize) -> Option<Action> {
    match key {
        KeyCode::Char('q') => return Some(Action::Quit),
        KeyCode::Char('r') => return Some(Action::Reload),
        KeyCode::Enter => return state.row().map(|_| Action::Why),
        KeyCode::Char('a') => {
            if state.marked_images().0 + state.marked_parts() > 0 {
                return Some(Action::Plan);
            }
            state.message = Some("nothing is marked: space marks the row".to_owned());
        }
        KeyCode::Char('?') => {
            let lines = HELP
                .iter()
                .map(|(keys, what)| format!("{keys:<16}  {what}"));
            state.view = View::Text {
                title: "Keys".to_owned(),
                lines: lines.collect(),
                top: 0,
            };
        }
        KeyCode::Char(' ') => state.mark(),
        KeyCode::Char('c') => state.clear_marks(),
        KeyCode::Char('n') => state.next_namespace(),
        KeyCode::Char('t') => {
            state.is_tree = !state.is_tree;
            state.cursor = 0;
            state.list();
        }
        KeyCode::Char('s') => {
            state.sort = state.sort.next();
            state.list();
        }
        KeyCode::Char('/') => state.view = View::Filter,
        KeyCode::Esc => {
            state.filter.clear();
            state.list();
        }
        KeyCode::Right | KeyCode::Char('l') => state.open(true),
        KeyCode::Left | KeyCode::Char('h') => state.open(false),
        other => state.go(movement(other, height)),
    }
    None
}

fn press_in_filter(state: &mut State, key: KeyCode) {
    match key {
        KeyCode::Enter => state.view = View::List,
        KeyCode::Esc => {
            state.filter.clear();
            state.view = View::List;
        }
        KeyCode::Backspace => {
            state.filter.pop();
        }
        KeyCode::Char(character) => state.filter.push(character),
        other => state.go(movement(other, 1)),
    }
    state.list();
}

fn press_in_text(state: &mut State, key: KeyCode, height: usize) -> Option<Action> {
    let is_plan = matches!(state.view, View::Plan { .. });
    match key {
        KeyCode::Char('y') if is_plan => return Some(Action::Apply),
        KeyCode::Char('q' | 'n') | KeyCode::Esc | KeyCode::Enter => state.view = View::List,
        other => state.scroll(movement(other, height)),
    }
    None
}

/// Returns by how many rows a key moves.
fn movement(key: KeyCode, height: usize) -> isize {
    let page = isize::try_from(height.saturating_sub(1).max(1)).unwrap_or(isize::MAX);
    match key {
        KeyCode::Up | KeyCode::Char('k') => -1,
        KeyCode::Down | KeyCode::Char('j') => 1,
        KeyCode::PageUp => -page,
        KeyCode::PageDown => page,
        KeyCode::Home => isize::MIN,
        KeyCode::End => isize::MAX,
        _ => 0,
    }
}
