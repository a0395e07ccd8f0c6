//! A table of requests that change nothing, in each version of the API: each to a Docker Engine and to
//! Reclaim, on the images and containers of that engine.
//!
//! Statuses and bodies are the same, except for the differences of [`KNOWN`], each of which must
//! occur. `docs/docker-api.md` describes these differences.

mod known;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures::stream::{self, StreamExt};
use serde_json::{Value, json};

use crate::built;
use crate::daemon::Answer;
use crate::json_difference::{Difference, differences};
use crate::side::{Side, ask, socket_of};
use known::KNOWN;
use rows::{Images, Row, rows};

/// The minor versions that both sides have.
pub(crate) const VERSIONS: std::ops::RangeInclusive<u32> = 40..=51;

/// How many rows are asked at the same time.
const CONCURRENT: usize = 4;

#[tokio::test]
async fn reads_are_answered_like_a_docker_engine() {
    let ours = Side::reclaim().await;
    let dockerd = ours.dockerd();
    built::build(dockerd).await;
    built::record_odd(&dockerd.namespace()).await;
    built::create_containers(dockerd).await;
    let (their_socket, our_socket) = (socket_of(dockerd), ours.socket());
    let list = ask(&their_socket, "GET", "/images/json?manifests=1").await;
    let containers = ask(&their_socket, "GET", "/containers/json?all=1").await;
    let rows = rows(&Images::of(&list.done(), &containers.done()));
    // Docker answers concurrent requests for the usage from one list, in the form of any of their versions.
    let (usage, others): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.is_usage());
    let compare_all = async |rows: Vec<&Row>, n_concurrent: usize| {
        let requests = rows
            .into_iter()
            .flat_map(|row| row.versions().map(move |minor| (row, minor)));
        let comparing =
            requests.map(|(row, minor)| compare_row(&their_socket, &our_socket, row, minor));
        let compared = stream::iter(comparing).buffered(n_concurrent);
        compared.collect::<Vec<_>>().await
    };
    let compared = [
        compare_all(usage, 1).await,
        compare_all(others, CONCURRENT).await,
    ]
    .concat();
    let n_compared = compared.len();
    let mut seen = BTreeSet::new();
    let mut unexpected: BTreeMap<Difference, Vec<String>> = BTreeMap::new();
    for (request, difference) in compared.into_iter().flatten() {
        match KNOWN
            .iter()
            .position(|known| known.covers(&request, &difference))
        {
            Some(at) => drop(seen.insert(at)),
            None => unexpected.entry(difference).or_default().push(request),
        }
    }
    assert!(unexpected.is_empty(), "{}", describe(&unexpected));
    for (at, known) in KNOWN.iter().enumerate() {
        let occurs = seen.contains(&at);
        assert!(occurs, "no such difference: {known:?}");
        assert!(known.is_described(), "not in docs/docker-api.md: {known:?}");
    }
    println!("{n_compared} requests, {} known differences", KNOWN.len());
    assert!(n_compared > 700);
}

/// Asks both sides, and returns the request with each difference.
async fn compare_row(
    theirs: &Path,
    ours: &Path,
    row: &Row,
    minor: u32,
) -> Vec<(String, Difference)> {
    let path = format!("/v1.{minor}{}", row.path);
    let (theirs, mine) = tokio::join!(ask(theirs, row.method, &path), ask(ours, row.method, &path));
    let request = format!("{} {path}", row.method);
    let found = compare(&theirs, &mine);
    found
        .into_iter()
        .map(|difference| (request.clone(), difference))
        .collect()
}

fn compare(theirs: &Answer, mine: &Answer) -> Vec<Difference> {
    let difference = |path: &str, theirs: String, mine: String| Difference {
        path: path.to_owned(),
        theirs,
        mine,
    };
    if theirs.status != mine.status {
        let describe = |answer: &Answer| format!("{} {:.200}", answer.status.as_u16(), answer.body);
        return vec![difference("status", describe(theirs), describe(mine))];
    }
    let content_type = |answer: &Answer| format!("{:?}", answer.headers.get("content-type"));
    let mut found = Vec::new();
    if content_type(theirs) != content_type(mine) {
        found.push(difference(
            "content-type",
            content_type(theirs),
            content_type(mine),
        ));
    }
    let parse =
        |answer: &Answer| serde_json::from_str(&answer.body).unwrap_or_else(|_| json!(answer.body));
    let (theirs, mine): (Value, Value) = (parse(theirs), parse(mine));
    let (their_order, my_order) = (times(&theirs), times(&mine));
    if their_order.len() == my_order.len() && their_order != my_order {
        found.push(difference(
            "order",
            their_order.join(" "),
            my_order.join(" "),
        ));
    }
    found.extend(differences(&theirs, &mine));
    found
}

/// Returns the creation times of the elements of a list, in its order.
fn times(body: &Value) -> Vec<String> {
    let elements = body.as_array().into_iter().flatten();
    elements
        .map(|element| element["Created"].to_string())
        .collect()
}

/// Returns the differences, each with its number of requests and the first of them.
fn describe(unexpected: &BTreeMap<Difference, Vec<String>>) -> String {
    let each = unexpected
        .iter()
        .map(|(Difference { path, theirs, mine }, requests)| {
            let (n, first) = (requests.len(), &requests[0]);
            format!("{path}\n  docker  {theirs:.300}\n  reclaim {mine:.300}\n  {n}: {first}\n")
        });
    format!(
        "{} differences:\n{}",
        unexpected.len(),
        each.collect::<String>()
    )
}
