//! Takeover of the guards of other runs.

use jiff::{SignedDuration, Timestamp};
use reclaim_engine::RunError;
use reclaim_model::FilterArgs;
use reclaim_testkit::{Deletion, NewLease};

use crate::stage::{GUARD, Maker, Stage, lease_of, request};

fn takeover(run: &str) -> String {
    format!("reclaim.takeover.{run}")
}

/// containerd deletes an expired lease only in a collection, so the next run requests one.
#[tokio::test]
async fn an_expired_guard_is_taken() {
    let stage = Stage::set().await;
    let past = Timestamp::now() - SignedDuration::from_hours(1);
    let expired = NewLease::new(GUARD).expires(past);
    stage.namespace.create_lease(expired).await.unwrap();
    let embedded = stage.engine([]).await;
    embedded.collect().await.unwrap();
    assert!(stage.leases().await.is_empty());
}

/// A run takes over the guard of a dead run, unless a live process is taking it over.
#[tokio::test]
async fn the_guard_of_a_dead_run_is_taken_over_once() {
    let takers: [(&[Maker], bool); 6] = [
        (&[], true),
        (&[Maker::Over], true),
        (&[Maker::Dead], true),
        (&[Maker::Dead, Maker::Dead], true),
        (&[Maker::Alive], false),
        (&[Maker::Dead, Maker::Alive], false),
    ];
    let stage = Stage::set().await;
    for (takers, is_ours) in takers {
        let guard = lease_of(Maker::Dead, "run", GUARD);
        stage.namespace.create_lease(guard).await.unwrap();
        let mut predecessor = "run".to_owned();
        for (number, maker) in takers.iter().enumerate() {
            let run = format!("taker{number}");
            let lease = lease_of(*maker, &run, &takeover(&predecessor));
            stage.namespace.create_lease(lease).await.unwrap();
            predecessor = run;
        }
        let before = stage.leases().await;
        let embedded = stage.engine([]).await;
        let taken = embedded.collect().await;
        if is_ours {
            taken.unwrap();
            assert!(stage.leases().await.is_empty(), "{takers:?}");
        } else {
            let Err(RunError::Busy(busy)) = taken else {
                panic!("{takers:?}: {taken:?}");
            };
            assert_eq!(busy.run.unwrap().0, "run", "{takers:?}");
            assert_eq!(stage.leases().await, before, "{takers:?}");
            for lease in before {
                let deleted = stage.namespace.delete_lease(&lease, Deletion::Async);
                deleted.await.unwrap();
            }
        }
    }
}

/// A run of this process that is over does not block others while the process lives.
#[tokio::test]
async fn the_guard_of_an_ended_run_of_this_process_is_taken_over() {
    let stage = Stage::set().await;
    let guard = lease_of(Maker::Over, "run", GUARD);
    stage.namespace.create_lease(guard).await.unwrap();
    let embedded = stage.engine([]).await;
    embedded.collect().await.unwrap();
    assert!(stage.leases().await.is_empty());
}

/// The first run has an expired takeover lease collected, and the next one takes the guard.
#[tokio::test]
async fn an_expired_takeover_is_collected() {
    let stage = Stage::set().await;
    let guard = lease_of(Maker::Dead, "run", GUARD);
    stage.namespace.create_lease(guard).await.unwrap();
    let past = Timestamp::now() - SignedDuration::from_hours(1);
    let taker = lease_of(Maker::Alive, "taker", &takeover("run")).expires(past);
    stage.namespace.create_lease(taker).await.unwrap();
    let embedded = stage.engine([]).await;
    let first = embedded.collect().await;
    assert!(matches!(first, Err(RunError::Busy(_))), "{first:?}");
    assert_eq!(
        stage.leases().await.into_iter().collect::<Vec<_>>(),
        [GUARD]
    );
    embedded.collect().await.unwrap();
    assert!(stage.leases().await.is_empty());
}

/// Takeover and collection leases of dead processes are deleted; holds and leases of others stay.
#[tokio::test]
async fn leftovers_of_dead_processes_are_deleted() {
    let stage = Stage::set().await;
    stage.build("docker.io/library/app:1").await;
    let swept = ["reclaim.takeover.a", "reclaim.collect"];
    let held = ["reclaim.hold.b", "pulling"];
    for id in swept.iter().chain(&held) {
        let lease = lease_of(Maker::Dead, "run", id);
        stage.namespace.create_lease(lease).await.unwrap();
    }
    let alive = lease_of(Maker::Alive, "run", "reclaim.takeover.c");
    stage.namespace.create_lease(alive).await.unwrap();
    let embedded = stage.engine([]).await;
    let dangling = request(FilterArgs::default());
    let report = embedded.prune(&dangling).await.unwrap();
    assert!(report.removed.is_empty(), "{report:?}");
    let left: Vec<String> = stage.leases().await.into_iter().collect();
    assert_eq!(left, ["pulling", "reclaim.hold.b", "reclaim.takeover.c"]);
}
