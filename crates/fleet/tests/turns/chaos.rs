//! Random clusters on random days: cables are cut, the server is ill in every way, and whoever
//! works does so for random times. Never do more nodes work than may.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Census, LEASE, Node};
use reclaim_testkit::{ApiServer, ServerMode};

/// A small generator, so that a failure comes again with its seed.
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

/// How long a day is.
const DAY: Duration = Duration::from_secs(60 * 60);

#[tokio::test(start_paused = true)]
async fn never_do_more_nodes_work_than_may() {
    for seed in 0..3_u64 {
        let at_once = 1 + u32::try_from(seed % 3).unwrap();
        let (census, server) = day(seed, at_once).await;
        assert!(census.most() <= at_once as usize, "seed {seed}: {census:?}");
        // It was a day on which something was done.
        assert!(census.turns() > 20, "seed {seed}: {census:?}");
        // And once the server is well, all is given back or expires.
        let after = Node::new(&server, "afterwards", at_once);
        let turn = tokio::time::timeout(LEASE * 3, after.take()).await;
        turn.expect("a turn").unwrap().give_back().await;
    }
}

async fn day(seed: u64, at_once: u32) -> (Arc<Census>, ApiServer) {
    let server = ApiServer::default();
    let census = Arc::new(Census::default());
    let evening = CancellationToken::new();
    let mut nodes = JoinSet::new();
    for number in 0..8 {
        let node = Node::new(&server, &format!("node-{number}"), at_once);
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
        // Without a turn the run is left out, and due again later.
        if let Ok(turn) = node.turns.take(&evening).await {
            let is_cut = dice.below(5) == 0;
            if is_cut {
                node.cut();
            }
            census.work(&turn, dice.seconds(120)).await;
            match dice.below(3) {
                0 => drop(turn),
                _ => turn.give_back().await,
            }
            if is_cut {
                tokio::time::sleep(dice.seconds(90)).await;
                node.mend();
            }
        }
        tokio::time::sleep(dice.seconds(120)).await;
    }
}
