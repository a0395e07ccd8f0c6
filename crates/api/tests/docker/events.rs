//! `GET /events` of removals.

use serde_json::Value;

use crate::stage::Stage;

/// The event of a deletion has the digest as its name after a removal by name.
#[tokio::test]
async fn a_deleted_image_is_named_by_its_digest() {
    let stage = Stage::set();
    let removed = stage.record("removed:1", &stage.platform("linux/amd64"));
    stage.record("pruned:1", &stage.platform("linux/arm64"));
    stage.ask("DELETE", "/v1.51/images/removed:1").await.done();
    let prune = "/v1.51/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D";
    stage.ask("POST", prune).await.done();
    let events = stage.lines("/v1.51/events?since=0&until=1").await;
    assert!(events.is_empty(), "{events:?}");
    let now = jiff::Timestamp::now().as_second() + 1;
    let events = stage
        .lines(&format!("/v1.51/events?since=0&until={now}"))
        .await;
    let shown = |event: &Value| {
        let name = event["Actor"]["Attributes"]["name"].as_str();
        let action = event["Action"].as_str().unwrap();
        format!("{action} {}", name.unwrap_or_default())
    };
    let shown: Vec<String> = events.iter().map(shown).collect();
    let expected = [
        "untag removed:1",
        &format!("delete {removed}"),
        "untag pruned:1",
        "delete pruned:1",
        "prune ",
    ];
    assert_eq!(shown, expected);
}
