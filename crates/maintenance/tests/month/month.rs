//! One month, from its seed to its end.

use std::io;
use std::time::Duration;

use jiff::SignedDuration;
use reclaim_maintenance::PolicyOutcome;
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::diary::Broken;
use crate::host::Shared;

/// The length of a month.
const LENGTH: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Counts of events. A month without events proves nothing.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) events: usize,
    pub(crate) calls: usize,
    pub(crate) looked_at: usize,
    pub(crate) runs: usize,
    pub(crate) plans: usize,
    pub(crate) removed: usize,
    pub(crate) slimmed: usize,
    pub(crate) pressed: usize,
    capped: usize,
    unmet: usize,
    pub(crate) busy: usize,
    failed: usize,
    pub(crate) held: usize,
    pub(crate) windows: usize,
    pub(crate) released: usize,
    pub(crate) undone: usize,
    pub(crate) repulls: usize,
    pub(crate) faults: usize,
    pub(crate) outages: usize,
    pub(crate) kills: usize,
    pub(crate) starts: usize,
    pub(crate) switched_off: usize,
    pub(crate) jumps: usize,
    pub(crate) years: usize,
}

/// One number of a [`Tally`].
type Count = fn(&Tally) -> usize;

impl Tally {
    pub(crate) const COUNTS: [(&str, Count); 24] = [
        ("events", |it| it.events),
        ("calls", |it| it.calls),
        ("looked at", |it| it.looked_at),
        ("runs", |it| it.runs),
        ("plans", |it| it.plans),
        ("removed", |it| it.removed),
        ("slimmed", |it| it.slimmed),
        ("pressed", |it| it.pressed),
        ("capped", |it| it.capped),
        ("unmet", |it| it.unmet),
        ("busy", |it| it.busy),
        ("failed", |it| it.failed),
        ("held", |it| it.held),
        ("windows", |it| it.windows),
        ("released", |it| it.released),
        ("undone", |it| it.undone),
        ("repulls", |it| it.repulls),
        ("faults", |it| it.faults),
        ("outages", |it| it.outages),
        ("kills", |it| it.kills),
        ("starts", |it| it.starts),
        ("switched off", |it| it.switched_off),
        ("jumps", |it| it.jumps),
        ("years", |it| it.years),
    ];

    pub(crate) fn count(&mut self, outcome: PolicyOutcome) {
        match outcome {
            PolicyOutcome::Capped => self.capped += 1,
            PolicyOutcome::Unmet => self.unmet += 1,
            PolicyOutcome::Busy => self.busy += 1,
            PolicyOutcome::Failed | PolicyOutcome::Partial => self.failed += 1,
            PolicyOutcome::Nothing | PolicyOutcome::Done | PolicyOutcome::Inhibited => {}
        }
    }
}

#[derive(Debug)]
pub(crate) struct Month {
    pub(crate) shared: Shared,
    /// `None` while it does not run.
    pub(crate) daemon: Option<Daemon>,
    /// The daemon's state directory.
    pub(crate) state: TempDir,
}

/// A directory in memory if possible: other tests cover disks.
fn directory() -> io::Result<TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

impl Month {
    /// Simulates a month. Returns the counts, or the broken promise with the events before it.
    pub(crate) fn pass(seed: u64) -> Result<Tally, String> {
        // The scheduler draws jitter from it, on this thread.
        fastrand::seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut month = Self {
                shared: Shared::new(seed),
                daemon: None,
                state: directory().expect("a directory"),
            };
            let passed = month.days().await;
            let mut host = month.shared.host();
            host.note(passed);
            match host.broken.take() {
                Some(Broken(text)) => Err(format!("seed {seed}:\n{}\n{text}", host.diary)),
                None => Ok(host.tally),
            }
        })
    }

    async fn days(&mut self) -> Result<(), Broken> {
        // How busy the host is: from a few events a day to a few an hour.
        let gap = {
            let mut host = self.shared.host();
            *host.dice.pick(&[120, 240, 480])
        };
        loop {
            let minutes = self.shared.host().dice.between(1, gap);
            tokio::time::sleep(Duration::from_secs(60 * minutes as u64)).await;
            self.check()?;
            self.happen().await;
            self.check()?;
            let mut host = self.shared.host();
            host.tally.events += 1;
            if host.clock.passed() >= LENGTH {
                host.tally.calls = usize::try_from(host.fake.calls()).expect("it is small");
                return Ok(());
            }
        }
    }

    fn check(&self) -> Result<(), Broken> {
        let mut host = self.shared.host();
        if let Some(broken) = host.broken.take() {
            return Err(broken);
        }
        host.check_store()?;
        host.check_holds()?;
        if self.daemon.is_some() {
            let faults = host.faults.last;
            host.rhythm.is_kept(&host.policies, &host.clock, faults)?;
        }
        if let Some(index) = &host.index {
            host.tally.repulls = host
                .tally
                .repulls
                .max(usize::try_from(index.repulls()).expect("it is small"));
        }
        Ok(())
    }
}
