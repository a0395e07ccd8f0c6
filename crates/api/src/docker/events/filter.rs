//! The filters of events.
//!
//! Source: moby, `daemon/events/filter.go`.

use reclaim_model::{FilterArgs, Reference};

use crate::docker::event_log::Event;

/// The filters of a request. As in Docker, unknown keys are ignored.
#[derive(Debug)]
pub(super) struct Filter {
    args: FilterArgs,
}

/// Filters that match no event here: those on other objects than images, and those on labels, which
/// are unknown once an image is gone.
const MATCHES_NOTHING: [&str; 11] = [
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
        self.has("type", |kind| kind == event.kind)
            && self.has("event", |action| action == event.action)
            && self.has("scope", |scope| scope == event.scope)
            && self.has("image", |image| is_of_image(event, image))
            && !MATCHES_NOTHING
                .iter()
                .any(|key| self.args.contains_key(key))
    }

    /// Whether a value of the filter fits, or the filter has no values.
    fn has(&self, key: &str, fits: impl Fn(&str) -> bool) -> bool {
        let mut values = self.args.values(key).peekable();
        values.peek().is_none() || values.any(fits)
    }
}

/// Whether an event is of an image, named by ID, by name, or by name without its tag.
fn is_of_image(event: &Event, wanted: &str) -> bool {
    let name = event.actor.attributes["name"].as_str().unwrap_or_default();
    let is_repository = || {
        Reference::parse_normalized(name)
            .is_ok_and(|reference| reference.familiar_repository() == wanted)
    };
    event.actor.id == wanted || name == wanted || is_repository()
}
