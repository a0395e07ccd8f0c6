//! `docker run`, throughout, while the parts of its image are freed.

use std::cell::Cell;
use std::time::Duration;

use serde_json::Value;
use tokio::task::spawn_blocking;

use super::Host;
use crate::rig::call;

/// How many containers must have started without snapshots, and how many without layers.
const MIN_STARTS: usize = 4;

/// How many slims may take place before the test gives up.
const MAX_SLIMS: usize = 1000;

/// What Docker answers if it finds the image unpacked and prepares the container's snapshot only after
/// the collection. `docs/slim.md` says to start the container again.
const TOO_LATE: &str = "parent snapshot";

#[derive(Default)]
struct Counts {
    started: Cell<usize>,
    without_snapshots: Cell<usize>,
    without_layers: Cell<usize>,
    too_late: Cell<usize>,
    slims: Cell<usize>,
    is_over: Cell<bool>,
}

impl Counts {
    fn is_enough(&self) -> bool {
        self.without_snapshots.get().min(self.without_layers.get()) >= MIN_STARTS
    }
}

fn count(cell: &Cell<usize>, more: bool) {
    cell.set(cell.get() + usize::from(more));
}

/// Runs containers until enough started of each kind. Pulls the image again before each, because one that
/// lost its layers keeps its snapshots.
async fn run_containers(host: &Host, counts: &Counts) {
    while !counts.is_enough() && counts.slims.get() < MAX_SLIMS {
        host.done(&["rmi", host.name()]).await;
        host.done(&["pull", "--quiet", host.name()]).await;
        // Until a slim has found it unused.
        let before = counts.slims.get();
        while counts.slims.get() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (is_unpacked, is_packed) = host.has().await;
        let run = ["run", "--rm", "--pull=never", "--network=none", host.name()];
        let mut output = host.docker(&run).await;
        if output.code != 0 {
            assert!(output.stderr.contains(TOO_LATE), "{output:#?}");
            count(&counts.too_late, true);
            output = host.docker(&run).await;
        }
        assert_eq!(
            (output.code, &*output.stdout),
            (0, "it runs\n"),
            "{output:#?}"
        );
        count(&counts.started, true);
        count(&counts.without_snapshots, !is_unpacked);
        count(&counts.without_layers, !is_packed);
    }
    counts.is_over.set(true);
}

/// Frees snapshots and layers in turn.
async fn slim(host: &Host, counts: &Counts) {
    for round in 0_usize.. {
        if counts.is_over.get() {
            return;
        }
        let parts: [&[&str]; 2] = [&["--snapshots"], &["--layers", "--docker-layers"]];
        let args = [
            "-n",
            "moby",
            "image",
            "slim",
            "-a",
            "-f",
            "--wait",
            "--grace=300ms",
        ];
        let args = [&args[..], &["--format=json"], parts[round % 2]].concat();
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        let address = host.dockerd.containerd().address().to_owned();
        let calling = spawn_blocking(move || {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            call(&address, "", &args)
        });
        let report: Value = calling.await.unwrap().exits(0).json();
        assert_eq!(report["failed"], serde_json::json!([]), "{report:#}");
        count(&counts.slims, true);
    }
}

#[tokio::test]
async fn containers_run_while_their_image_is_slimmed() {
    let host = Host::start().await;
    let counts = Counts::default();
    // Both end, because a slim that is cut off waits minutes for its containerd.
    tokio::join!(run_containers(&host, &counts), slim(&host, &counts));
    let Counts {
        started,
        without_snapshots,
        without_layers,
        too_late,
        slims,
        is_over: _,
    } = &counts;
    println!(
        "{} containers, {} without snapshots, {} without layers, {} too late; {} slims",
        started.get(),
        without_snapshots.get(),
        without_layers.get(),
        too_late.get(),
        slims.get(),
    );
    assert!(counts.is_enough());
}
