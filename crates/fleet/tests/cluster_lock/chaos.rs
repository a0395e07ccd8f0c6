//! Random clusters: cables are cut, the server fails in every way, and nodes work for random times.
//! There are never more holders than the lock allows.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Census, LEASE, Node};
use reclaim_testkit::{ApiServer, ServerMode};

/// A small random number generator, so that a seed reproduces a failure.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn seconds(&mut self, limit: u64) -> Duration {
        Duration::from_millis(self.below(limit * 1000))
    }
}

/// The simulated time of one run.
const DAY: Duration = Duration::from_secs(60 * 60);

#[tokio::test(start_paused = true)]
async fn never_has_more_holders_than_allowed() {
    for seed in 0..3_u64 {
        let max_holders = 1 + u32::try_from(seed % 3).unwrap();
        let (census, server) = day(seed, max_holders).await;
        assert!(
            census.most() <= max_holders as usize,
            "seed {seed}: {census:?}"
        );
        // Nodes did hold the lock during the run.
        assert!(census.total() > 20, "seed {seed}: {census:?}");
        // Once the server works again, every lease is released or expires.
        let after = Node::new(&server, "afterwards", max_holders);
        let acquired = tokio::time::timeout(LEASE * 3, after.acquire()).await;
        acquired.expect("the lock").unwrap().release().await;
    }
}

async fn day(seed: u64, max_holders: u32) -> (Arc<Census>, ApiServer) {
    let server = ApiServer::default();
    let census = Arc::new(Census::default());
    let evening = CancellationToken::new();
    let mut nodes = JoinSet::new();
    for number in 0..8 {
        let node = Node::new(&server, &format!("node-{number}"), max_holders);
        let dice = Dice(seed * 1000 + number);
        nodes.spawn(live(node, dice, Arc::clone(&census), evening.clone()));
    }
    let mut dice = Dice(seed * 1000 + 999);
    let end = tokio::time::Instant::now() + DAY;
    while tokio::time::Instant::now() < end {
        tokio::time::sleep(dice.seconds(600)).await;
        server.set_mode(match dice.below(4) {
            0 => ServerMode::Unavailable,
            1 => ServerMode::Silent,
            2 => ServerMode::SilentAfterEffect,
            _ => ServerMode::Healthy,
        });
        tokio::time::sleep(dice.seconds(100)).await;
        server.set_mode(ServerMode::Healthy);
    }
    evening.cancel();
    nodes.join_all().await;
    (census, server)
}

async fn live(node: Node, mut dice: Dice, census: Arc<Census>, evening: CancellationToken) {
    while !evening.is_cancelled() {
        // Without the lock the node skips its run, and tries again later.
        if let Ok(guard) = node.lock.acquire(&evening).await {
            let is_cut = dice.below(5) == 0;
            if is_cut {
                node.cut();
            }
            census.work(&guard, dice.seconds(120)).await;
            match dice.below(3) {
                0 => drop(guard),
                _ => guard.release().await,
            }
            if is_cut {
                tokio::time::sleep(dice.seconds(90)).await;
                node.mend();
            }
        }
        tokio::time::sleep(dice.seconds(120)).await;
    }
}
