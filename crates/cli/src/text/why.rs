//! What a person reads of `reclaim why`: each holder, and below it, indented, the way to the
//! thing.

use reclaim_model::Holder;
use reclaim_plan::{Answer, Fate, Held, ImageVerdict, Thing, ThingKind};

use super::{SHORT_DIGEST, add_line, count, on_one_line};

/// How many holders are shown. A base layer may have thousands.
const MAX_SHOWN: usize = 20;

/// Renders answers one after the other.
pub(crate) fn answers(answers: &[Answer]) -> String {
    let texts: Vec<String> = answers.iter().map(answer).collect();
    texts.join("\n")
}

fn answer(answer: &Answer) -> String {
    let mut text = format!(
        "{} in namespace {}\n",
        thing(&answer.thing),
        answer.namespace
    );
    let what = match (answer.thing.kind, answer.held.len()) {
        (ThingKind::Image, 0) => "used by nobody".to_owned(),
        (ThingKind::Image, holders) => format!("used by {}:", count(holders, "holder")),
        (_, 0) => "held by nobody".to_owned(),
        (_, holders) => format!("held by {}:", count(holders, "holder")),
    };
    add_line(&mut text, format_args!("{what}"));
    for held in answer.held.iter().take(MAX_SHOWN) {
        add_held(&mut text, held, answer);
    }
    if let Some(more) = answer
        .held
        .len()
        .checked_sub(MAX_SHOWN)
        .filter(|it| *it > 0)
    {
        add_line(
            &mut text,
            format_args!("  and {more} more; --format json has all"),
        );
    }
    let fate = match &answer.fate {
        Fate::Held => None,
        Fate::Unused => Some("it stays until it is removed".to_owned()),
        Fate::Expires(at, holder) => Some(format!(
            "it goes with the first collection after {at:.0}, when {} expires",
            shown_holder(holder)
        )),
        Fate::NextCollection => Some("it goes with the next collection".to_owned()),
    };
    if let Some(fate) = fate {
        add_line(&mut text, format_args!("{fate}"));
    }
    if let Some([plain, all]) = &answer.verdicts {
        add_line(&mut text, format_args!("prune: {}", verdict(plain)));
        add_line(&mut text, format_args!("prune -a: {}", verdict(all)));
    }
    text
}

fn add_held(text: &mut String, held: &Held, answer: &Answer) {
    let holder = shown_holder(&held.holder);
    let elsewhere = (held.namespace != answer.namespace).then_some(&held.namespace);
    let elsewhere = elsewhere.map(|it| format!(" in namespace {it}"));
    let until = held.until.map(|until| format!(", until {until:.0}"));
    let of_image = held.verdict.as_ref();
    let of_image = of_image.map(|it| format!(" (prune -a: {})", verdict(it)));
    let parts = [Some(holder), elsewhere, until, of_image];
    let line: String = parts.into_iter().flatten().collect();
    add_line(text, format_args!("  {line}"));
    for (depth, link) in held.chain.iter().enumerate() {
        let indent = "  ".repeat(depth + 2);
        add_line(text, format_args!("{indent}{}", thing(link)));
    }
}

fn verdict(verdict: &ImageVerdict) -> String {
    match verdict {
        Ok(reason) => format!("removes it: {}", reason.words()),
        Err((reason, holders)) => {
            let holders: Vec<String> = holders.iter().map(shown_holder).collect();
            let before = if holders.is_empty() { "" } else { ": " };
            format!("keeps it: {}{before}{}", reason.words(), holders.join(", "))
        }
    }
}

fn shown_holder(holder: &Holder) -> String {
    shortened(&on_one_line(&holder.to_string()))
}

fn thing(thing: &Thing) -> String {
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
    shortened(&on_one_line(&format!("{kind} {}", thing.id)))
}

/// Shortens every SHA-256 digest to as much as people compare.
fn shortened(text: &str) -> String {
    const ALGORITHM: &str = "sha256:";
    let mut parts = text.split(ALGORITHM);
    let mut shortened = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        let kept = if digits == 64 { SHORT_DIGEST } else { digits };
        shortened.push_str(ALGORITHM);
        shortened.push_str(&part[..kept]);
        shortened.push_str(&part[digits..]);
    }
    shortened
}
