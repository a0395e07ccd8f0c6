//! Faults of calls, and events between two calls.

use std::time::Duration;

use jiff::SignedDuration;
use reclaim_fake::{Call, Fault};
use reclaim_testkit::Dice;
use tonic::Code;

use crate::host::Host;

/// How long containerd may be away, in seconds.
const OUTAGES: [u64; 4] = [1, 5, 30, 300];

#[derive(Debug)]
pub(crate) struct Faults {
    /// During a run, one in this many calls fails; `None` in a calm month.
    one_in: Option<usize>,
    /// When a call last failed, in time that passed.
    pub(crate) last: SignedDuration,
}

impl Faults {
    pub(crate) fn new(dice: &mut Dice) -> Self {
        Self {
            one_in: dice.percent(60).then(|| *dice.pick(&[40, 150, 600])),
            last: SignedDuration::MIN,
        }
    }
}

impl Host {
    /// Handles a call.
    pub(crate) fn called(&mut self, call: &Call) -> Fault {
        let is_under_way = self.fake.look(is_run_under_way);
        self.picture(call);
        let is_freeing = is_under_way && call.method == "Leases/Delete";
        self.disk.called(is_freeing);
        if self.broken.is_some() || !is_under_way {
            return self.fault(call, 50);
        }
        let is_change = matches!(
            call.method.as_str(),
            "Images/Delete" | "Leases/Delete" | "Images/Create"
        );
        if is_change && self.dice.percent(12) {
            self.write(&format!("meanwhile, at {} {}:", call.method, call.number));
            self.disk.called(false);
            self.happen_in_store();
            self.disk.called(is_freeing);
        }
        // For example a laptop that sleeps during a run.
        if is_change && self.dice.percent(2) {
            self.jump();
        }
        self.is_rival_due = is_change && self.dice.percent(2);
        self.fault(call, 1)
    }

    /// Decides whether a call fails, `rarer` times less often than in a run.
    fn fault(&mut self, call: &Call, rarer: usize) -> Fault {
        let Some(one_in) = self.faults.one_in else {
            return Fault::None;
        };
        if self.dice.below(one_in * rarer) > 0 {
            return Fault::None;
        }
        self.tally.faults += 1;
        self.faults.last = self.clock.passed();
        self.uses.go_deaf(&self.clock);
        let seconds = |n: usize| Duration::from_secs(n as u64);
        let fault = match self.dice.below(8) {
            0 | 1 => Fault::Fail(Code::Unavailable),
            2 => Fault::FailAfter(Code::Unavailable),
            3 => Fault::Silence,
            4 => Fault::SilenceAfter,
            5 => Fault::Delay(seconds(self.dice.between(1, 90))),
            _ => {
                self.go_away();
                Fault::Silence
            }
        };
        self.write(&format!("{} {}: {fault:?}", call.method, call.number));
        fault
    }

    /// Stops containerd, and starts it some time later.
    pub(crate) fn go_away(&mut self) {
        let time = Duration::from_secs(*self.dice.pick(&OUTAGES));
        self.write(&format!("containerd is away for {time:?}"));
        self.tally.outages += 1;
        self.faults.last = self.clock.passed() + SignedDuration::try_from(time).expect("short");
        self.uses.go_deaf(&self.clock);
        let fake = self.fake.clone();
        tokio::spawn(async move {
            fake.stop();
            tokio::time::sleep(time).await;
            fake.start();
        });
    }
}

/// Whether any run holds a guard.
fn is_run_under_way(state: &reclaim_fake::State) -> bool {
    let mut namespaces = state.namespaces.values();
    namespaces.any(|it| it.leases.contains_key(crate::picture::GUARD))
}
