//! Random prune requests, valid and invalid.

use reclaim_testkit::Dice;
use serde_json::{Map, Value, json};

/// Invalid documents of filters.
const JUNK: &[&str] = &[
    "x",
    "[]",
    "1",
    "\"a\"",
    "{",
    "null",
    "{}",
    "",
    " ",
    "{\"dangling\":true}",
    "{\"a\":\"b\"}",
    "{\"dangling\":[1]}",
    "{\"dangling\":null}",
    "{\"label\":{\"x\":1}}",
    "{\"label\":[\"x\"],\"until\":{\"1h\":true}}",
];

/// Values of `dangling`, mostly those that select all images.
const DANGLING: &[&[&str]] = &[
    &["false"],
    &["false"],
    &["false"],
    &["0"],
    &["true"],
    &["1"],
    &["potato"],
    &["True"],
    &[],
    &["false", "x"],
];

const LABELS: &[&str] = &[
    "keep", "keep=1", "keep=2", "x", "x=", "x=a=b", "no", "", "=",
];

/// Without values, because Docker before 29.4.1 reads `label!=k=v` as if it required the label.
const NOT_LABELS: &[&str] = &["keep", "x", "no"];

const UNTIL: &[&str] = &[
    "-1h",
    "-1h",
    "1h",
    "0",
    "2006-01-02",
    "2099-01-02T03:04:05Z",
    "4102444800",
    "4102444800.5",
    "1d",
    "foo",
    "",
    " 1h",
    "-5",
    "1.5h",
];

/// Keys that a prune does not have.
const OTHERS: &[&str] = &["reference", "before", "foo", "LABEL", ""];

/// Returns a path with a query.
pub(crate) fn request(dice: &mut Dice) -> String {
    let version = *dice.pick(&["", "/v1.40", "/v1.47", "/v1.51", "/v1.51", "/v1.99"]);
    let filters = if dice.percent(16) {
        (*dice.pick(JUNK)).to_owned()
    } else {
        document(dice)
    };
    let filters = crate::daemon::form_urlencoded(&filters);
    format!("{version}/images/prune?filters={filters}")
}

fn document(dice: &mut Dice) -> String {
    let is_legacy = dice.percent(50);
    let mut fields = Map::new();
    let mut add = |key: &str, values: Vec<&str>| {
        let values = if is_legacy {
            json!(values)
        } else {
            values
                .into_iter()
                .map(|value| (value.to_owned(), Value::Bool(true)))
                .collect()
        };
        fields.insert(key.to_owned(), values);
    };
    if dice.percent(88) {
        add("dangling", dice.pick(DANGLING).to_vec());
    }
    for (key, labels) in [("label", LABELS), ("label!", NOT_LABELS)] {
        if dice.percent(50) {
            let n_values = if dice.percent(33) { 2 } else { 1 };
            add(key, (0..n_values).map(|_| *dice.pick(labels)).collect());
        }
    }
    if dice.percent(33) {
        add("until", vec![*dice.pick(UNTIL)]);
    }
    if dice.percent(10) {
        let other: &&str = dice.pick(OTHERS);
        add(other, vec!["x"]);
    }
    Value::Object(fields).to_string()
}
