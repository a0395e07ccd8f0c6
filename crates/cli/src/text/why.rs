//! What a person reads of `reclaim why`: each holder, and below it, indented, the way to the
//! thing.

use reclaim_model::{Answer, HolderPath, ImageVerdict, Outlook, Thing, ThingKind};

use super::{Ids, add_line, count};

/// How many holders are shown. A base layer may have thousands.
const MAX_SHOWN: usize = 20;

/// Renders answers one after the other.
pub(crate) fn answers(answers: &[Answer], ids: Ids) -> String {
    let texts: Vec<String> = answers.iter().map(|it| answer(it, ids)).collect();
    texts.join("\n")
}

fn answer(answer: &Answer, ids: Ids) -> String {
    let mut text = format!(
        "{} in namespace {}\n",
        thing(&answer.thing, ids),
        answer.namespace
    );
    let what = match (answer.thing.kind, answer.holders.len()) {
        (ThingKind::Image, 0) => "not used".to_owned(),
        (ThingKind::Image, holders) => format!("used by {}:", count(holders, "holder")),
        (_, 0) => "not held".to_owned(),
        (_, holders) => format!("held by {}:", count(holders, "holder")),
    };
    add_line(&mut text, format_args!("{what}"));
    for held in answer.holders.iter().take(ids.shown(MAX_SHOWN)) {
        add_held(&mut text, held, answer, ids);
    }
    let n_shown = answer.holders.len().min(ids.shown(MAX_SHOWN));
    let more = answer.holders.len() - n_shown;
    if more > 0 {
        let line = format_args!("  and {more} more; --no-trunc shows all");
        add_line(&mut text, line);
    }
    let outlook = match &answer.outlook {
        Outlook::Held => None,
        Outlook::Unused => Some("it stays until it is removed".to_owned()),
        Outlook::Expires { at, holder } => Some(format!(
            "it goes with the first collection after {at:.0}, when {} expires",
            ids.holder(holder)
        )),
        Outlook::NextCollection => Some("it goes with the next collection".to_owned()),
    };
    if let Some(outlook) = outlook {
        add_line(&mut text, format_args!("{outlook}"));
    }
    if let Some(verdicts) = &answer.verdicts {
        let (plain, all) = (&verdicts.prune, &verdicts.prune_all);
        add_line(&mut text, format_args!("prune: {}", verdict(plain, ids)));
        add_line(&mut text, format_args!("prune -a: {}", verdict(all, ids)));
    }
    text
}

fn add_held(text: &mut String, held: &HolderPath, answer: &Answer, ids: Ids) {
    let holder = ids.holder(&held.holder);
    let elsewhere = (held.namespace != answer.namespace).then_some(&held.namespace);
    let elsewhere = elsewhere.map(|it| format!(" in namespace {it}"));
    let until = held.until.map(|until| format!(", until {until:.0}"));
    let of_image = held.prune_all.as_ref();
    let of_image = of_image.map(|it| format!(" (prune -a: {})", verdict(it, ids)));
    let parts = [Some(holder), elsewhere, until, of_image];
    let line: String = parts.into_iter().flatten().collect();
    add_line(text, format_args!("  {line}"));
    for (depth, link) in held.chain.iter().enumerate() {
        let indent = "  ".repeat(depth + 2);
        add_line(text, format_args!("{indent}{}", thing(link, ids)));
    }
}

fn verdict(verdict: &ImageVerdict, ids: Ids) -> String {
    match verdict {
        ImageVerdict::Remove { reason } => format!("removes it: {}", reason.text()),
        ImageVerdict::Keep { reason, holders } => {
            let before = if holders.is_empty() { "" } else { ": " };
            let holders = ids.holders(holders);
            format!("keeps it: {}{before}{holders}", reason.text())
        }
    }
}

fn thing(thing: &Thing, ids: Ids) -> String {
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
    ids.show(&format!("{kind} {}", thing.id))
}
