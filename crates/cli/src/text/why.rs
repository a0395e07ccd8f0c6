//! Answers of `reclaim why`: each holder, and below it, indented, the reference path to the
//! subject.

use reclaim_model::{
    Answer, HolderPath, ImageVerdict, Link, Outlook, ReferenceKind, Thing, ThingKind,
};

use super::{Text, Truncation, count};

/// How many holders are shown. A base layer may have thousands.
const MAX_SHOWN: usize = 20;

/// Renders answers one after the other.
pub(crate) fn answers(answers: &[Answer], trunc: Truncation) -> Text {
    let mut text = Text::default();
    for (number, answer) in answers.iter().enumerate() {
        if number > 0 {
            text.blank();
        }
        add_answer(&mut text, answer, trunc);
    }
    text
}

fn add_answer(text: &mut Text, answer: &Answer, trunc: Truncation) {
    let subject = thing(&answer.thing, trunc);
    text.line(format_args!("{subject} in namespace {}", answer.namespace));
    let what = match (answer.thing.kind, answer.holders.len()) {
        (ThingKind::Image, 0) => "not used".to_owned(),
        (ThingKind::Image, holders) => format!("used by {}:", count(holders, "holder")),
        (_, 0) => "not held".to_owned(),
        (_, holders) => format!("held by {}:", count(holders, "holder")),
    };
    text.line(format_args!("{what}"));
    let max_shown = trunc.limit(MAX_SHOWN);
    for holder in answer.holders.iter().take(max_shown) {
        add_holder(text, holder, answer, trunc);
    }
    let more = answer.holders.len().saturating_sub(max_shown);
    if more > 0 {
        let line = format_args!("  and {more} more; --no-trunc shows all");
        text.line(line);
    }
    add_images(text, "depends on", &answer.depends_on, trunc);
    add_images(text, "takes along", &answer.dependents, trunc);
    let outlook = match &answer.outlook {
        Outlook::Depends => Some("it stays as long as what it depends on".to_owned()),
        Outlook::Held => None,
        Outlook::Unused => Some("it stays until it is removed".to_owned()),
        Outlook::Expires { at, holder } => Some(format!(
            "the first collection after {at:.0}, when {} expires, frees it",
            trunc.holder(holder)
        )),
        Outlook::NextCollection => Some("the next collection frees it".to_owned()),
    };
    if let Some(outlook) = outlook {
        text.line(format_args!("{outlook}"));
    }
    if let Some(verdicts) = &answer.verdicts {
        let (plain, all) = (&verdicts.prune, &verdicts.prune_all);
        text.line(format_args!("prune: {}", verdict(plain, trunc)));
        text.line(format_args!("prune -a: {}", verdict(all, trunc)));
    }
}

/// Adds a line with the number of images and a line for each.
fn add_images(text: &mut Text, what: &str, images: &[String], trunc: Truncation) {
    if images.is_empty() {
        return;
    }
    text.line(format_args!("{what} {}:", count(images.len(), "image")));
    let max_shown = trunc.limit(MAX_SHOWN);
    for name in images.iter().take(max_shown) {
        let name = trunc.text(&format!("image {name}"));
        text.line(format_args!("  {name}"));
    }
    let more = images.len().saturating_sub(max_shown);
    if more > 0 {
        text.line(format_args!("  and {more} more; --no-trunc shows all"));
    }
}

fn add_holder(text: &mut Text, path: &HolderPath, answer: &Answer, trunc: Truncation) {
    let holder = trunc.holder(&path.holder);
    let elsewhere =
        (path.namespace != answer.namespace).then(|| format!(" in namespace {}", path.namespace));
    let until = path.until.map(|until| format!(", until {until:.0}"));
    let prune_all = path
        .prune_all
        .as_ref()
        .map(|image| format!(" (prune -a: {})", verdict(image, trunc)));
    let parts = [Some(holder), elsewhere, until, prune_all];
    let line: String = parts.into_iter().flatten().collect();
    text.line(format_args!("  {line}"));
    for (depth, link) in path.chain.iter().enumerate() {
        let indent = "  ".repeat(depth + 2);
        let thing = thing(&link.thing, trunc);
        text.line(format_args!("{indent}{thing}{}", reference(link)));
    }
}

/// Renders how the thing before keeps this one. A part of an image leads up to the image.
fn reference(link: &Link) -> String {
    let labels = || {
        let labels = link.labels.join(", ");
        if labels.is_empty() {
            "label".to_owned()
        } else {
            format!("label {labels}")
        }
    };
    let text = match link.by {
        ReferenceKind::Label => labels(),
        ReferenceKind::BackLabel => format!("its own {}", labels()),
        ReferenceKind::Root => "its own label containerd.io/gc.root".to_owned(),
        ReferenceKind::Lease => "listed by the lease".to_owned(),
        ReferenceKind::Container => "of the container".to_owned(),
        ReferenceKind::Parent => "parent".to_owned(),
        ReferenceKind::Target => "target".to_owned(),
        ReferenceKind::Name => "by name".to_owned(),
        ReferenceKind::PartOf => return String::new(),
    };
    format!(" ({text})")
}

fn verdict(verdict: &ImageVerdict, trunc: Truncation) -> String {
    match verdict {
        ImageVerdict::Remove { reason } => format!("removes it: {}", reason.text()),
        ImageVerdict::Keep { reason, holders } => {
            let before = if holders.is_empty() { "" } else { ": " };
            let holders = trunc.holders(holders);
            format!("keeps it: {}{before}{holders}", reason.text())
        }
    }
}

fn thing(thing: &Thing, trunc: Truncation) -> String {
    let kind = match thing.kind {
        ThingKind::Image => "image",
        ThingKind::Index => "index",
        ThingKind::Manifest => "manifest",
        ThingKind::Config => "config",
        ThingKind::Content => "content",
        ThingKind::Snapshot => "snapshot",
        ThingKind::Container => "container",
        ThingKind::Absent => "something that does not exist",
    };
    trunc.text(&format!("{kind} {}", thing.id))
}
