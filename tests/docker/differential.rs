//! A few hundred random prune requests, each to a Docker Engine and to Reclaim.
//!
//! Statuses, error texts, rows and the remaining images must be the same. A failure prints the
//! request; `RECLAIM_TEST_REQUESTS` changes the number of requests.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_testkit::{Dice, number_from_env};

use crate::daemon::Answer;
use crate::requests::request;
use crate::side::{Side, rows};

const SEED: u64 = 20_261_125;
const REQUESTS: u64 = 300;

/// Prefix of the name of the image that a container mounts. Docker's prune ignores mounts; Reclaim
/// keeps the image.
const MOUNTED: &str = "docker.io/library/mounted:";

/// Beginning of the error about a bad `until`.
const NO_TIME: &str = "invalid value for 'until' filter: ";

#[tokio::test]
async fn prunes_like_a_docker_engine() {
    let (docker, ours) = tokio::join!(Side::docker(), Side::reclaim());
    let names = ours.names().await;
    assert_eq!(docker.names().await, names);
    let mounted = names[&format!("{MOUNTED}1")].clone();
    let n_requests = number_from_env("RECLAIM_TEST_REQUESTS").unwrap_or(REQUESTS);
    let mut dice = Dice::new(SEED);
    let mut n_pruned = 0_u64;
    let mut n_refused = 0_u64;
    for number in 0..n_requests {
        let path = request(&mut dice);
        let (theirs, mine) = tokio::join!(docker.ask("POST", &path), ours.ask("POST", &path));
        let case = format!("seed {SEED}, request {number}: {path}\n{theirs:#?}\n{mine:#?}");
        if theirs.status != 200 {
            n_refused += 1;
            if message(&mine).starts_with(NO_TIME) {
                // This version of Docker answers 500 with another text; later ones answer 400.
                assert_eq!(mine.status, 400, "{case}");
                continue;
            }
            assert_eq!(mine.status, theirs.status, "{case}");
            assert_eq!(message(&mine), message(&theirs), "{case}");
            assert_eq!(
                mine.headers["content-type"], theirs.headers["content-type"],
                "{case}"
            );
            continue;
        }
        assert_eq!(mine.status, 200, "{case}");
        let (their_rows, my_rows) = (unmounted(rows(&theirs), &mounted), rows(&mine));
        assert_eq!(my_rows, their_rows, "{case}");
        n_pruned += u64::from(!my_rows.is_empty());
        let survivors = tokio::join!(docker.names(), ours.names());
        assert_eq!(
            without_mounted(survivors.1),
            without_mounted(survivors.0),
            "{case}"
        );
        tokio::join!(docker.fill(), ours.fill());
    }
    println!("{n_requests} requests: {n_pruned} removed something, {n_refused} were refused");
    assert!(n_pruned * 10 > n_requests && n_refused * 10 > n_requests);
}

/// Returns the error text without its random parts: Docker lists values in any order.
fn message(answer: &Answer) -> String {
    let message = match answer.json()["message"].as_str() {
        Some(message) => message.to_owned(),
        None => answer.body.trim_end().to_owned(),
    };
    if let Some((begin, _)) = message.split_once("Maximum supported API version is ") {
        // The newest version differs.
        return begin.to_owned();
    }
    match message.strip_prefix("invalid filter 'dangling=[") {
        Some(values) => {
            let mut values: Vec<&str> = values.trim_end_matches("]'").split(' ').collect();
            values.sort_unstable();
            format!("dangling {values:?}")
        }
        None => message,
    }
}

/// Removes the rows of the mounted image, whose target no other image has.
fn unmounted(mut rows: BTreeSet<String>, target: &str) -> BTreeSet<String> {
    if rows.remove(r#"{"Untagged":"mounted:1"}"#) {
        rows.retain(|row| !row.contains(target));
    }
    rows
}

fn without_mounted(mut names: BTreeMap<String, String>) -> BTreeMap<String, String> {
    names.retain(|name, _| !name.starts_with(MOUNTED));
    names
}
