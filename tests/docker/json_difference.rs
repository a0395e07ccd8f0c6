//! Differences between two JSON documents.

use std::collections::BTreeMap;

use serde_json::Value;

/// A value that is not the same in both documents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Difference {
    /// The keys down to the value, such as `[].Manifests[].Size`.
    pub(crate) path: String,
    /// Docker's value as JSON, or `absent`.
    pub(crate) theirs: String,
    /// Reclaim's value as JSON, or `absent`.
    pub(crate) mine: String,
}

/// Returns the differences. Elements of lists of objects with an ID are compared by ID, and their
/// order is not.
pub(crate) fn differences(theirs: &Value, mine: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(theirs, mine, "", &mut found);
    found
}

fn compare(theirs: &Value, mine: &Value, path: &str, found: &mut Vec<Difference>) {
    match (theirs, mine) {
        (Value::Object(theirs), Value::Object(mine)) => {
            let mut keys: Vec<&String> = theirs.keys().chain(mine.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let path = format!("{path}.{key}");
                compare_optional(theirs.get(key), mine.get(key), &path, found);
            }
        }
        (Value::Array(theirs), Value::Array(mine)) => {
            compare_lists(theirs, mine, &format!("{path}[]"), found);
        }
        _ if theirs != mine => add(Some(theirs), Some(mine), path, found),
        _ => {}
    }
}

fn compare_lists(theirs: &[Value], mine: &[Value], path: &str, found: &mut Vec<Difference>) {
    if let (Some(theirs), Some(mine)) = (by_id(theirs), by_id(mine)) {
        let mut ids: Vec<&str> = theirs.keys().chain(mine.keys()).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            compare_optional(theirs.get(id).copied(), mine.get(id).copied(), path, found);
        }
        return;
    }
    for index in 0..theirs.len().max(mine.len()) {
        compare_optional(theirs.get(index), mine.get(index), path, found);
    }
}

/// Returns the elements by their IDs; `None` if one has no ID or two have the same.
fn by_id(list: &[Value]) -> Option<BTreeMap<&str, &Value>> {
    let ids = list.iter().map(|element| {
        let id = element.get("Id").or_else(|| element.get("ID"))?;
        Some((id.as_str()?, element))
    });
    let by_id: BTreeMap<_, _> = ids.collect::<Option<_>>()?;
    (by_id.len() == list.len()).then_some(by_id)
}

fn compare_optional(
    theirs: Option<&Value>,
    mine: Option<&Value>,
    path: &str,
    found: &mut Vec<Difference>,
) {
    match (theirs, mine) {
        (Some(theirs), Some(mine)) => compare(theirs, mine, path, found),
        _ => add(theirs, mine, path, found),
    }
}

fn add(theirs: Option<&Value>, mine: Option<&Value>, path: &str, found: &mut Vec<Difference>) {
    let text = |value: Option<&Value>| value.map_or_else(|| "absent".to_owned(), Value::to_string);
    found.push(Difference {
        path: path.to_owned(),
        theirs: text(theirs),
        mine: text(mine),
    });
}

#[test]
fn finds_values_that_differ_and_ignores_the_order_of_ids() {
    use serde_json::json;
    let theirs = json!({"A": [{"Id": "x", "n": 1}, {"Id": "y", "n": null}], "B": ["1", "2"]});
    let mine = json!({"A": [{"Id": "y"}, {"Id": "x", "n": 2}], "B": ["2"], "C": true});
    let found: Vec<String> = differences(&theirs, &mine)
        .into_iter()
        .map(|difference| {
            format!(
                "{} {} {}",
                difference.path, difference.theirs, difference.mine
            )
        })
        .collect();
    let expected = [
        ".A[].n 1 2",
        ".A[].n null absent",
        ".B[] \"1\" \"2\"",
        ".B[] \"2\" absent",
        ".C absent true",
    ];
    assert_eq!(found, expected);
    assert_eq!(differences(&theirs, &theirs), []);
}
