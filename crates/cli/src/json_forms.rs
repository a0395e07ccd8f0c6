//! Tests `docs/json.md` against the forms that `--format json` prints: it names every key and every
//! word of them, and its examples have no other keys.

mod values;

use std::collections::BTreeSet;

use serde_json::Value;

const MANUAL: &str = include_str!("../../../docs/json.md");

/// The section that lists the calls of the HTTP API, whose forms are not those of a command.
const OVER_HTTP: &str = "Over HTTP";

const IMAGE_PRUNE: &str = "`reclaim image prune --format json`, `reclaim image rm --format json`";

const AUDIT: &str = "`reclaim history --all --format json`";

const POLICY_RUNS: &str = "`reclaim maintain --once`, `policy explain`, `policy history`";

const INHIBIT: &str = "`reclaim inhibit --list --format json`";

/// Keys whose objects have names that users chose.
const CHOSEN_KEYS: &[&str] = &["labels", "service_images", "unpacked"];

/// Keys whose values are words that scripts compare.
const WORDS: &[&str] = &[
    "action",
    "by",
    "change",
    "entry_point",
    "fate",
    "guard",
    "kind",
    "of",
    "outcome",
    "pinned",
    "problem",
    "reason",
    "role",
    "trend",
    "trigger",
    "verdict",
    "what",
];

/// A section of the manual.
#[derive(Debug, Default)]
struct Section {
    title: &'static str,
    /// The keys of its examples.
    examples: BTreeSet<String>,
    /// The keys of its examples, and every word in its code spans.
    named: BTreeSet<String>,
}

impl Section {
    fn parse(text: &'static str) -> Self {
        let (title, body) = text.split_once('\n').unwrap_or((text, ""));
        let mut section = Self {
            title,
            ..Self::default()
        };
        for (index, part) in body.split("```").enumerate() {
            if index % 2 == 1 {
                if let Some(example) = part.strip_prefix("json\n") {
                    let example = serde_json::from_str(example)
                        .unwrap_or_else(|error| panic!("example of {title}: {error}"));
                    keys(&example, &mut section.examples);
                }
                continue;
            }
            let spans = part.split('`').skip(1).step_by(2);
            let is_separator = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
            let words = spans.flat_map(|span| span.split(is_separator));
            section.named.extend(words.map(str::to_owned));
        }
        section.named.extend(section.examples.iter().cloned());
        section
    }
}

fn sections() -> Vec<Section> {
    MANUAL.split("\n## ").skip(1).map(Section::parse).collect()
}

/// Adds the keys of a value, at any depth.
fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                found.insert(key.clone());
                if !CHOSEN_KEYS.contains(&key.as_str()) {
                    keys(value, found);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Adds the values of [`WORDS`]. A reason that is a sentence is for people.
fn words(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if let Some(text) = value.as_str() {
                    if WORDS.contains(&key.as_str()) && !text.contains(' ') {
                        found.insert(text.to_owned());
                    }
                } else {
                    words(value, found);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| words(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The forms of each section, and the other sections to which it refers for parts of them.
fn forms() -> Vec<(&'static str, Vec<Value>, &'static [&'static str])> {
    vec![
        (
            IMAGE_PRUNE,
            vec![values::report(), values::by_namespace()],
            &[],
        ),
        (
            "`reclaim history --format json`",
            vec![values::held_runs()],
            &[],
        ),
        (
            AUDIT,
            vec![values::audit_records()],
            &[IMAGE_PRUNE, OVER_HTTP],
        ),
        (
            "`reclaim project prune --format json`",
            vec![values::project_prune()],
            &[IMAGE_PRUNE],
        ),
        (
            "`reclaim project ls --format json`",
            vec![values::project_list()],
            &[IMAGE_PRUNE],
        ),
        (
            "`reclaim image ls --format json`",
            vec![values::image_list(), values::by_namespace()],
            &[IMAGE_PRUNE],
        ),
        (
            "`reclaim pin --format json`, `reclaim unpin --format json`",
            vec![values::pins()],
            &[IMAGE_PRUNE],
        ),
        (
            "`reclaim image restore --format json`",
            vec![values::restores()],
            &[IMAGE_PRUNE],
        ),
        (
            "`reclaim df --format json`",
            vec![values::disk_usage()],
            &[IMAGE_PRUNE],
        ),
        (
            "`reclaim why --format json`",
            vec![values::answers()],
            &[IMAGE_PRUNE],
        ),
        (
            POLICY_RUNS,
            vec![
                values::policy_runs(),
                values::policy_forecasts(),
                values::policy_history(),
            ],
            &[IMAGE_PRUNE, "`reclaim df --format json`", INHIBIT, AUDIT],
        ),
        (INHIBIT, vec![values::inhibitors()], &[]),
        (
            "`reclaim policy try --format json`",
            vec![values::policy_trial()],
            &[POLICY_RUNS],
        ),
        (
            OVER_HTTP,
            vec![values::fill_forecast(), values::timeline()],
            &[POLICY_RUNS],
        ),
    ]
}

#[track_caller]
fn section<'s>(sections: &'s [Section], title: &str) -> &'s Section {
    let found = sections.iter().find(|section| section.title == title);
    found.unwrap_or_else(|| panic!("docs/json.md has no section {title}"))
}

#[test]
fn the_manual_names_every_key_and_word() {
    let sections = sections();
    let mut missing = Vec::new();
    for (title, forms, others) in forms() {
        let mut found = BTreeSet::new();
        for form in &forms {
            keys(form, &mut found);
            words(form, &mut found);
        }
        let titles = others.iter().chain([&title]);
        let named: BTreeSet<&String> = titles
            .flat_map(|title| &section(&sections, title).named)
            .collect();
        let unnamed: Vec<&String> = found.iter().filter(|key| !named.contains(key)).collect();
        if !unnamed.is_empty() {
            missing.push(format!("{title}: {unnamed:?}"));
        }
    }
    assert!(missing.is_empty(), "not in docs/json.md: {missing:#?}");
}

#[test]
fn the_examples_have_only_keys_of_the_forms() {
    let forms = forms();
    for section in sections() {
        if section.title == OVER_HTTP {
            continue;
        }
        let found = forms.iter().find(|(title, ..)| *title == section.title);
        let (_, forms, _) =
            found.unwrap_or_else(|| panic!("no form is tested for {}", section.title));
        let mut known = BTreeSet::new();
        for form in forms {
            keys(form, &mut known);
        }
        let unknown: Vec<&String> = section.examples.difference(&known).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", section.title);
    }
}
