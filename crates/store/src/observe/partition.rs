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

/// How many characters `:latest` has, with which many names end. What is before it is looked at
/// early.
const LATEST: usize = 7;

/// What a character may be, as regular expressions. Each costs a call for which the server looks at
/// every record, so there are few.
const CLASSES: [&str; 4] = ["[0-4]", "[5-9]", "[a-m]", "[n-z]"];

/// Any other character, or none.
const OTHER: &str = "[^0-9a-z]";

/// What any other character may be.
const OTHER_CLASSES: [&str; 2] = ["[A-M]", "[N-Z]"];

/// Whatever is left, or no character.
const REST: &str = "[^0-9A-Za-z]";

/// Records whose key has these characters.
#[derive(Debug, Clone, Default)]
struct Part {
    conditions: Vec<Condition>,
}

/// What the character at a place is, which is counted from the end of the key, from 0.
#[derive(Debug, Clone, Copy)]
struct Condition {
    class: &'static str,
    place: usize,
}

impl Condition {
    /// The regular expression of the keys for which this holds.
    fn pattern(self) -> String {
        let Self { class, place } = self;
        if class == OTHER || class == REST {
            format!("(?s)^(.{{0,{place}}}|.*{class}.{{{place}}})$")
        } else {
            format!("(?s){class}.{{{place}}}$")
        }
    }
}

impl Part {
    /// Divides a part: by the same character if that was only said not to be an ordinary one, else
    /// by the next. A key that matched it matches exactly one of these.
    fn divided(&self) -> Option<Vec<Self>> {
        let (known, place, classes, rest) = match self.conditions.split_last() {
            Some((Condition { class, place }, known)) if *class == OTHER => {
                (known, *place, &OTHER_CLASSES[..], REST)
            }
            Some(_) | None => {
                let place = place(self.conditions.len())?;
                (&self.conditions[..], place, &CLASSES[..], OTHER)
            }
        };
        let classes = classes.iter().copied().chain([rest]);
        let divided = classes.map(|class| {
            let mut conditions = known.to_vec();
            conditions.push(Condition { class, place });
            Self { conditions }
        });
        Some(divided.collect())
    }

    /// Returns the filters of a request for this part; none for all records.
    fn filters(&self, field: &str) -> Vec<String> {
        let conditions = self.conditions.iter();
        let selectors = conditions.map(|it| format!(r#"{field}~="{}""#, it.pattern()));
        let selectors: Vec<String> = selectors.collect();
        if selectors.is_empty() {
            Vec::new()
        } else {
            // All selectors of one filter must match, and any of several filters.
            vec![selectors.join(",")]
        }
    }
}

/// Which character is looked at after so many others: 0, 1, 7, 2, 8, 3 and so on, each once.
fn place(depth: usize) -> Option<usize> {
    let place = match depth {
        0 | 1 => depth,
        _ if depth < 2 * LATEST - 2 => {
            let later = depth.is_multiple_of(2);
            depth / 2 + if later { LATEST - 1 } else { 1 }
        }
        _ => depth,
    };
    (depth < MAX_DEPTH).then_some(place)
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
    use std::collections::{BTreeMap, BTreeSet};
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
    fn every_character_is_looked_at_once() {
        let places: Vec<usize> = (0..).map_while(place).collect();
        assert_eq!(places[..8], [0, 1, 7, 2, 8, 3, 9, 4]);
        let each: BTreeSet<usize> = places.iter().copied().collect();
        assert_eq!(each, (0..MAX_DEPTH).collect());
        assert_eq!(places.len(), MAX_DEPTH);
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
        let tags = (0..1000).map(|it| format!("docker.io/library/app:build-{it}"));
        assert!(has_each_once(&tags.collect::<Vec<_>>(), 250) < 60);
        let latest = (0..1000).map(|it| format!("registry.example/team/app-{it}:latest"));
        assert!(has_each_once(&latest.collect::<Vec<_>>(), 250) < 60);
        let ids =
            (0..1000_u64).map(|it| format!("{:016x}", it.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        assert!(has_each_once(&ids.collect::<Vec<_>>(), 250) < 60);
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
