//! Reads a list in parts if one message cannot carry it.
//!
//! Images, leases and sandboxes are listed without a stream, and containerd sends at most 16 MiB
//! in one message: some 40,000 images. If it refuses, the list is read in parts, each by a filter,
//! and a part that is still too long in smaller ones.
//!
//! The key of a record, a name or an ID, determines its part. A key never changes, so each record
//! is in exactly one part, whatever changes while the parts are read; parts by target could miss a
//! tag that moves. Parts differ in single characters, counted from the end of the key, where names
//! differ most.

use tonic::Code;

use crate::error::StoreError;

/// How many calls a list may take. That is enough for some millions of records.
const MAX_CALLS: usize = 1000;

/// How many characters of a key divide parts. A part that is too long after that is an error.
const MAX_DEPTH: usize = 64;

/// The length of `:latest`, with which many names end. The characters before it are used early.
const LATEST: usize = 7;

/// Classes of characters, as regular expressions. Each costs a call for which the server reads
/// every record, so there are few.
const CLASSES: [&str; 4] = ["[0-4]", "[5-9]", "[a-m]", "[n-z]"];

/// Any other character, or none.
const OTHER: &str = "[^0-9a-z]";

/// The classes that divide [`OTHER`].
const OTHER_CLASSES: [&str; 2] = ["[A-M]", "[N-Z]"];

/// The characters of [`OTHER`] in none of its classes, or no character.
const REST: &str = "[^0-9A-Za-z]";

/// The records whose keys fulfil all conditions.
#[derive(Debug, Clone, Default)]
struct Part {
    conditions: Vec<Condition>,
}

/// The class of one character of the key, whose position counts from the end, starting with 0.
#[derive(Debug, Clone, Copy)]
struct Condition {
    class: &'static str,
    position: usize,
}

impl Condition {
    /// Returns the regular expression of the keys that fulfil the condition.
    fn pattern(self) -> String {
        let Self { class, position } = self;
        if class == OTHER || class == REST {
            format!("(?s)^(.{{0,{position}}}|.*{class}.{{{position}}})$")
        } else {
            format!("(?s){class}.{{{position}}}$")
        }
    }
}

impl Part {
    /// Divides a part: by the same character if its class is only [`OTHER`], else by the next one.
    /// A key in the part is in exactly one of the new parts.
    fn divided(&self) -> Option<Vec<Self>> {
        let (known, position, classes, rest) = match self.conditions.split_last() {
            Some((Condition { class, position }, known)) if *class == OTHER => {
                (known, *position, &OTHER_CLASSES[..], REST)
            }
            Some(_) | None => {
                let position = position(self.conditions.len())?;
                (&self.conditions[..], position, &CLASSES[..], OTHER)
            }
        };
        let divided = classes.iter().copied().chain([rest]).map(|class| {
            let mut conditions = known.to_vec();
            conditions.push(Condition { class, position });
            Self { conditions }
        });
        Some(divided.collect())
    }

    /// Returns the filters of a request for this part; none for all records.
    fn filters(&self, field: &str) -> Vec<String> {
        if self.conditions.is_empty() {
            return Vec::new();
        }
        let selectors: Vec<String> = self
            .conditions
            .iter()
            .map(|condition| format!(r#"{field}~="{}""#, condition.pattern()))
            .collect();
        // A record must match all selectors of one filter, or any one of several filters.
        vec![selectors.join(",")]
    }
}

/// Returns the position of the character that divides a part with `depth` conditions: 0, 1, 7, 2,
/// 8, 3 and so on, each once.
fn position(depth: usize) -> Option<usize> {
    let position = match depth {
        0 | 1 => depth,
        _ if depth < 2 * LATEST - 2 => {
            let later = depth.is_multiple_of(2);
            depth / 2 + if later { LATEST - 1 } else { 1 }
        }
        _ => depth,
    };
    (depth < MAX_DEPTH).then_some(position)
}

/// Lists all records by calls of `list`, which takes filters of `field`; in parts if needed.
///
/// # Errors
///
/// If any part cannot be read, or is too long and cannot be divided.
pub(super) async fn in_parts<T, F>(
    field: &str,
    list: impl Fn(Vec<String>) -> F,
) -> Result<Vec<T>, StoreError>
where
    F: Future<Output = Result<Vec<T>, StoreError>>,
{
    let mut found = Vec::new();
    let mut pending = vec![Part::default()];
    let mut n_calls = 0;
    while let Some(part) = pending.pop() {
        n_calls += 1;
        match list(part.filters(field)).await {
            Ok(mut records) => found.append(&mut records),
            Err(error) if is_too_long(&error) && n_calls < MAX_CALLS => match part.divided() {
                Some(parts) => pending.extend(parts),
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn is_too_long(error: &StoreError) -> bool {
    matches!(
        error.code(),
        Some(Code::ResourceExhausted | Code::OutOfRange)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Mutex;

    use regex_lite::Regex;
    use tonic::Status;

    use super::*;

    /// Returns the patterns of filters of one field, all of which a key must match.
    fn patterns(filters: &[String]) -> Vec<Regex> {
        filters
            .iter()
            .flat_map(|filter| filter.split(r#"name~=""#).skip(1))
            .map(|selector| selector.trim_end_matches(',').strip_suffix('"').unwrap())
            .map(|pattern| Regex::new(pattern).unwrap())
            .collect()
    }

    /// Lists `keys` on a server that sends at most `at_most` at once. Returns the keys found and
    /// the number of calls.
    fn list(keys: &[String], at_most: usize) -> (Result<Vec<String>, StoreError>, usize) {
        let n_calls = Mutex::new(0);
        let answer = |filters: Vec<String>| {
            *n_calls.lock().unwrap() += 1;
            let patterns = patterns(&filters);
            let keys: Vec<String> = keys
                .iter()
                .filter(|key| patterns.iter().all(|pattern| pattern.is_match(key)))
                .cloned()
                .collect();
            std::future::ready(if keys.len() > at_most {
                let status = Status::resource_exhausted("message larger than max");
                Err(StoreError::new("list", status))
            } else {
                Ok(keys)
            })
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let found = runtime.block_on(in_parts("name", answer));
        (found, n_calls.into_inner().unwrap())
    }

    /// Lists `keys`, checks that each is found once, and returns the number of calls.
    #[track_caller]
    fn list_each_once(keys: &[String], at_most: usize) -> usize {
        let (found, n_calls) = list(keys, at_most);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for key in found.unwrap() {
            *counts.entry(key).or_default() += 1;
        }
        let wanted = keys.iter().map(|key| (key.clone(), 1));
        assert_eq!(counts, wanted.collect());
        n_calls
    }

    #[test]
    fn uses_each_position_once() {
        let positions: Vec<usize> = (0..).map_while(position).collect();
        assert_eq!(positions[..8], [0, 1, 7, 2, 8, 3, 9, 4]);
        let distinct: BTreeSet<usize> = positions.iter().copied().collect();
        assert_eq!(distinct, (0..MAX_DEPTH).collect());
        assert_eq!(positions.len(), MAX_DEPTH);
    }

    #[test]
    fn a_list_that_fits_is_one_call() {
        let keys = ["a".to_owned(), String::new()];
        assert_eq!(list_each_once(&keys, 2), 1);
    }

    #[test]
    fn any_text_is_in_exactly_one_part() {
        let odd = [
            "", "a", "A", "\n", "a\n", "\0", "é", "日本:1", "🦀", "\"", "a\"b", "a,b", "\\",
        ];
        let mut keys: Vec<String> = odd.into_iter().map(str::to_owned).collect();
        for first in ["0", "5", "c", "k", "p", "x", "Z", "-"] {
            for second in ["", "9", "f", "m", "s", "z", "_", "\u{10ffff}"] {
                keys.push(format!("{second}{first}:latest"));
            }
        }
        list_each_once(&keys, 8);
    }

    #[test]
    fn ordinary_names_take_few_calls() {
        let tags = (0..1000).map(|it| format!("docker.io/library/app:build-{it}"));
        assert!(list_each_once(&tags.collect::<Vec<_>>(), 250) < 60);
        let latest = (0..1000).map(|it| format!("registry.example/team/app-{it}:latest"));
        assert!(list_each_once(&latest.collect::<Vec<_>>(), 250) < 60);
        let ids =
            (0..1000_u64).map(|it| format!("{:016x}", it.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        assert!(list_each_once(&ids.collect::<Vec<_>>(), 250) < 60);
    }

    #[test]
    fn fails_after_a_bounded_number_of_calls() {
        // Not even one record fits.
        let (found, n_calls) = list(&["a".repeat(100)], 0);
        assert_eq!(found.unwrap_err().code(), Some(Code::ResourceExhausted));
        assert!(n_calls <= MAX_CALLS, "{n_calls}");
    }

    #[test]
    fn does_not_divide_after_another_error() {
        let answer = |_| {
            let status = Status::unavailable("gone");
            std::future::ready(Err::<Vec<()>, _>(StoreError::new("list", status)))
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let error = runtime.block_on(in_parts("name", answer)).unwrap_err();
        assert_eq!(error.code(), Some(Code::Unavailable));
    }
}
