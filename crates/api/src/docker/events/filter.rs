//! Which events a client wants.
//!
//! Source: moby, `daemon/events/filter.go`.

use reclaim_model::{FilterArgs, Reference};

use super::Event;

/// The filters of a request. Keys that are unknown to an engine are not looked at.
#[derive(Debug)]
pub(super) struct Filter {
    args: FilterArgs,
}

/// Filters that are about other things than images: no event here is of them. Labels belong to
/// images that are gone by then.
const OF_OTHERS: [&str; 11] = [
    "config",
    "container",
    "daemon",
    "label",
    "network",
    "node",
    "plugin",
    "secret",
    "service",
    "volume",
    "label!",
];

impl Filter {
    pub(super) fn new(args: FilterArgs) -> Self {
        Self { args }
    }

    pub(super) fn lets_through(&self, event: &Event) -> bool {
        self.has("type", |it| it == event.kind)
            && self.has("event", |it| it == event.action)
            && self.has("scope", |it| it == event.scope)
            && self.has("image", |it| is_of_image(event, it))
            && !OF_OTHERS.iter().any(|key| self.args.contains_key(key))
    }

    /// Whether one of the values fits, or there are none.
    fn has(&self, key: &str, fits: impl Fn(&str) -> bool) -> bool {
        let mut values = self.args.values(key).peekable();
        values.peek().is_none() || values.any(fits)
    }
}

/// By ID, by name, or by name without its tag.
fn is_of_image(event: &Event, wanted: &str) -> bool {
    let name = event.actor.attributes["name"].as_str().unwrap_or_default();
    let without_tag = Reference::parse_normalized(name);
    let without_tag = without_tag.map(|it| it.familiar_repository());
    event.actor.id == wanted || name == wanted || without_tag.as_deref() == Ok(wanted)
}
