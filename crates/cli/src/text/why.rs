//! Answers of `reclaim why`: each holder, and below it, indented, the reference path to the
//! subject.

use reclaim_model::{Answer, HolderPath, ImageVerdict, Outlook, Thing, ThingKind};

use super::{Truncation, add_line, count};

/// How many holders are shown. A base layer may have thousands.
const MAX_SHOWN: usize = 20;

/// Renders answers one after the other.
pub(crate) fn answers(answers: &[Answer], trunc: Truncation) -> String {
    let texts: Vec<String> = answers.iter().map(|it| answer(it, trunc)).collect();
    texts.join("\n")
}

fn answer(answer: &Answer, trunc: Truncation) -> String {
    let mut text = format!(
        "{} in namespace {}\n",
        thing(&answer.thing, trunc),
        answer.namespace
    );
    let what = match (answer.thing.kind, answer.holders.len()) {
        (ThingKind::Image, 0) => "not used".to_owned(),
        (ThingKind::Image, holders) => format!("used by {}:", count(holders, "holder")),
        (_, 0) => "not held".to_owned(),
        (_, holders) => format!("held by {}:", count(holders, "holder")),
    };
    add_line(&mut text, format_args!("{what}"));
    let max_shown = trunc.limit(MAX_SHOWN);
    for holder in answer.holders.iter().take(max_shown) {
        add_holder(&mut text, holder, answer, trunc);
    }
    let more = answer.holders.len().saturating_sub(max_shown);
    if more > 0 {
        let line = format_args!("  and {more} more; --no-trunc shows all");
        add_line(&mut text, line);
    }
    let outlook = match &answer.outlook {
        Outlook::Held => None,
        Outlook::Unused => Some("it stays until it is removed".to_owned()),
        Outlook::Expires { at, holder } => Some(format!(
            "the first collection after {at:.0}, when {} expires, frees it",
            trunc.holder(holder)
        )),
        Outlook::NextCollection => Some("the next collection frees it".to_owned()),
    };
    if let Some(outlook) = outlook {
        add_line(&mut text, format_args!("{outlook}"));
    }
    if let Some(verdicts) = &answer.verdicts {
        let (plain, all) = (&verdicts.prune, &verdicts.prune_all);
        add_line(&mut text, format_args!("prune: {}", verdict(plain, trunc)));
        add_line(&mut text, format_args!("prune -a: {}", verdict(all, trunc)));
    }
    text
}

fn add_holder(text: &mut String, path: &HolderPath, answer: &Answer, trunc: Truncation) {
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
    add_line(text, format_args!("  {line}"));
    for (depth, link) in path.chain.iter().enumerate() {
        let indent = "  ".repeat(depth + 2);
        add_line(text, format_args!("{indent}{}", thing(link, trunc)));
    }
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
