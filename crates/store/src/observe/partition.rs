//! Reading a list in parts where one message cannot carry it.
//!
//! Images, leases and sandboxes are listed without a stream, and containerd sends at most 16 MiB
//! in one message: some 40,000 images. When it refuses, the list is read in parts, each by a
//! filter, and a part that is still too long in smaller ones.
//!
//! Parts are made by the key of the records: a name or an ID, which never changes. So a record is
//! in exactly one part, whatever happens to it while the parts are read; by its target, a tag that
//! moves could be missed. Which part that is depends on single characters, counted from the end,
//! where names differ most.

use tonic::Code;

use crate::error::StoreError;

/// How many calls a list may take. That is enough for some millions of records.
const MAX_CALLS: usize = 1000;

/// How many characters of a key are looked at before a part counts as one that cannot be divided.
const MAX_DEPTH: usize = 64;

/// How many characters `:latest` has, with which many names end. The characters before it come
/// early in the order in which they are looked at.
const LATEST: usize = 7;

/// What a character may be, as regular expressions of which each character matches exactly one.
/// Each costs a call, so there are few.
const CLASSES: [&str; 9] = [
    "[0-4]",
    "[5-9]",
    "[a-f]",
    "[g-m]",
    "[n-s]",
    "[t-z]",
    "[A-M]",
    "[N-Z]",
    "[^0-9A-Za-z]",
];

/// Records whose key has these characters.
#[derive(Debug, Clone, Default)]
struct Part {
    conditions: Vec<Condition>,
}

/// What the character at a place must be; places are counted from the end of the key, from 0.
#[derive(Debug, Clone, Copy)]
enum Condition {
    /// One of a class.
    Is(&'static str, usize),
    /// The key is too short to have one.
    Absent(usize),
}

impl Part {
    /// Divides a part by the next character. A key that matched it matches exactly one of these.
    fn divided(&self) -> Option<impl Iterator<Item = Self>> {
        let depth = self.conditions.len();
        if depth == MAX_DEPTH {
            return None;
        }
        let place = place(depth);
        let classes = CLASSES.map(|class| Condition::Is(class, place));
        let all = classes.into_iter().chain([Condition::Absent(place)]);
        Some(all.map(|condition| {
            let mut conditions = self.conditions.clone();
            conditions.push(condition);
            Self { conditions }
        }))
    }

    /// Returns the filters of a request for this part; none for all records.
    fn filters(&self, field: &str) -> Vec<String> {
        let conditions = self.conditions.iter();
        let selectors: Vec<String> = conditions
            .map(|condition| match condition {
                Condition::Is(class, place) => format!(r#"{field}~="(?s){class}.{{{place}}}$""#),
                Condition::Absent(place) => format!(r#"{field}~="(?s)^.{{0,{place}}}$""#),
            })
            .collect();
        if selectors.is_empty() {
            Vec::new()
        } else {
            // All selectors of one filter must match, and any of several filters.
            vec![selectors.join(",")]
        }
    }
}

/// Which character is looked at after so many others.
fn place(depth: usize) -> usize {
    if depth < 2 * LATEST {
        depth / 2 + (depth % 2) * LATEST
    } else {
        depth
    }
}

/// Lists everything by `list`, which takes filters; in parts, by `field`, if it is too long.
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
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use regex_lite::Regex;
    use tonic::Status;

    use super::*;

    /// The patterns of filters of one field, all of which a key must match.
    fn patterns(filters: &[String]) -> Vec<Regex> {
        let selectors = filters.iter().flat_map(|it| it.split(r#"name~=""#).skip(1));
        let patterns = selectors.map(|it| it.trim_end_matches(',').strip_suffix('"').unwrap());
        patterns.map(|it| Regex::new(it).unwrap()).collect()
    }

    /// Lists `keys` by a server that sends at most so many at once. Returns what was found, and
    /// how many calls it took.
    fn list(keys: &[String], at_most: usize) -> (Result<Vec<String>, StoreError>, usize) {
        let n_calls = Mutex::new(0);
        let answer = |filters: Vec<String>| {
            *n_calls.lock().unwrap() += 1;
            let patterns = patterns(&filters);
            let is_meant = |key: &&String| patterns.iter().all(|it| it.is_match(key));
            let keys = keys.iter().filter(is_meant);
            let keys: Vec<String> = keys.cloned().collect();
            std::future::ready(if keys.len() > at_most {
                let status = Status::resource_exhausted("message larger than max");
                Err(StoreError::new("list", status))
            } else {
                Ok(keys)
            })
        };
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        let found = runtime.block_on(in_parts("name", answer));
        (found, n_calls.into_inner().unwrap())
    }

    #[track_caller]
    fn has_each_once(keys: &[String], at_most: usize) -> usize {
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
    fn a_list_that_fits_is_one_call() {
        let keys = ["a".to_owned(), String::new()];
        assert_eq!(has_each_once(&keys, 2), 1);
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
        has_each_once(&keys, 8);
    }

    #[test]
    fn names_as_engines_write_them_take_few_calls() {
        let tags = (0..4000).map(|it| format!("docker.io/library/app:build-{it}"));
        assert!(has_each_once(&tags.collect::<Vec<_>>(), 1000) < 100);
        let latest = (0..4000).map(|it| format!("registry.example/team/app-{it}:latest"));
        assert!(has_each_once(&latest.collect::<Vec<_>>(), 1000) < 100);
        let ids =
            (0..4000_u64).map(|it| format!("{:016x}", it.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        assert!(has_each_once(&ids.collect::<Vec<_>>(), 1000) < 100);
    }

    #[test]
    fn what_cannot_be_divided_is_an_error_after_a_bounded_number_of_calls() {
        // Not even one record fits.
        let (found, n_calls) = list(&["a".repeat(100)], 0);
        assert_eq!(found.unwrap_err().code(), Some(Code::ResourceExhausted));
        assert!(n_calls <= MAX_CALLS, "{n_calls}");
    }

    #[test]
    fn another_error_is_not_taken_for_a_list_that_is_too_long() {
        let answer = |_| {
            let status = Status::unavailable("gone");
            std::future::ready(Err::<Vec<()>, _>(StoreError::new("list", status)))
        };
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        let error = runtime.block_on(in_parts("name", answer)).unwrap_err();
        assert_eq!(error.code(), Some(Code::Unavailable));
    }
}
