//! Random events on a host, by the seed.

use std::time::Duration;

use jiff::SignedDuration;
use reclaim_engine::RunError;
use reclaim_model::{Caller, EntryPoint, Mode, Namespace};

use crate::clock::seconds;
use crate::daemon::{Daemon, engine};
use crate::diary::hold;
use crate::host::{Host, NAMESPACES, Shared};
use crate::month::Month;
use crate::registry::BLOCK;

/// Ten years.
const YEARS: usize = 10 * 365 * 86_400;

impl Month {
    /// Lets a random event happen.
    pub(crate) async fn happen(&mut self) {
        let roll = self.shared.host().dice.below(100);
        match roll {
            0..=75 => self.shared.host().happen_in_store(),
            76..=80 => self.shared.host().other_data(),
            81..=84 => self.shared.host().jump(),
            85 => self.end(true).await,
            86 if self.shared.host().dice.percent(50) => self.end(false).await,
            86 => self.switch_off().await,
            87..=88 => self.shared.host().lose_stream(),
            89 => self.shared.host().go_away(),
            90..=91 => self.reload().await,
            92..=94 => undo(self.shared.clone()).await,
            95..=97 => self.run_on_demand().await,
            _ => self.shared.host().fake.collect(),
        }
        let starts = self.daemon.is_none() && self.shared.host().dice.percent(60);
        if starts {
            self.start();
        }
    }

    fn start(&mut self) {
        {
            let mut host = self.shared.host();
            host.write("the daemon starts");
            host.tally.starts += 1;
            let clock = host.clock.clone();
            host.uses.go_deaf(&clock);
            host.holds.daemon_began(clock.passed(), clock.off());
        }
        self.daemon = Some(Daemon::start(&self.shared, self.state.path()));
    }

    /// Ends the daemon, by SIGKILL or SIGTERM.
    async fn end(&mut self, is_killed: bool) {
        let Some(daemon) = self.daemon.take() else {
            return;
        };
        let signal = if is_killed { "SIGKILL" } else { "SIGTERM" };
        self.shared.host().write(signal);
        if is_killed {
            self.shared.host().tally.kills += 1;
            daemon.kill().await;
        } else {
            daemon.stop().await;
        }
        let mut host = self.shared.host();
        host.index = None;
        host.pictures.clear();
        let clock = host.clock.clone();
        host.holds.daemon_ended(clock.passed());
        host.uses.go_deaf(&clock);
    }

    /// Switches the host off for some hours, as a laptop at night.
    async fn switch_off(&mut self) {
        self.end(true).await;
        let (hours, has_network) = {
            let mut host = self.shared.host();
            let hours = host.dice.between(1, 60);
            let has_network = host.dice.percent(70);
            host.write(&format!(
                "off for {hours} hours, then network: {has_network}"
            ));
            host.tally.switched_off += 1;
            (hours, has_network)
        };
        tokio::time::sleep(Duration::from_secs(3600 * hours as u64)).await;
        let off = seconds(3600 * hours);
        self.shared.host().clock.boot(has_network, off);
    }

    async fn reload(&mut self) {
        let Some(daemon) = &self.daemon else {
            return;
        };
        daemon.reload().await;
        let mut host = self.shared.host();
        host.write("the configuration is reloaded");
        let clock = host.clock.clone();
        host.rhythm.started(&clock);
    }

    /// Requests a run, and may wait for it.
    async fn run_on_demand(&mut self) {
        let Some(daemon) = &self.daemon else {
            return;
        };
        let name = {
            let mut host = self.shared.host();
            let n_policies = host.policies.len();
            let place = host.dice.below(n_policies);
            let name = host.policies[place].name().clone();
            host.write(&format!("a run of {name} is requested"));
            name
        };
        let caller = Caller::new(EntryPoint::Json);
        let mut runs = match daemon.handle.run(vec![name], Mode::Apply, caller).await {
            Ok(runs) => runs,
            Err(error) => {
                self.shared.host().write(&format!("it is refused: {error}"));
                return;
            }
        };
        if self.shared.host().dice.percent(50) {
            while let Ok(Some(_)) = runs.next().await {}
        }
    }
}

/// Restores what a run removed, from another process.
pub(crate) async fn undo(shared: Shared) {
    let (namespace, boot, before) = {
        let mut host = shared.host();
        host.boots += 1;
        let namespace = *host.dice.pick(&NAMESPACES);
        (namespace, host.boots, host.faults.last)
    };
    let place = namespace;
    let namespace: Namespace = place.parse().expect("a name");
    let undone = engine(&shared, boot)
        .undo(&namespace, None, &[], false)
        .await;
    let mut host = shared.host();
    host.holds.ignore(place);
    match undone {
        Ok(undone) => {
            host.write(&format!("undo {namespace}: {:?}", undone.restored));
            host.tally.undone += undone.restored.len();
            let space = host.space(namespace.as_str());
            for name in &undone.restored {
                // During a slow call others may have removed it again.
                let is_excused = host.faults.last > before;
                let kept = hold(is_excused || space.records.contains_key(name), || {
                    format!("`{name}` was restored and is not there")
                });
                host.note(kept);
            }
        }
        Err(RunError::UnknownRun { .. }) => {}
        Err(error) => {
            host.uses.left.insert(place);
            host.tally.busy += usize::from(matches!(error, RunError::Busy(_)));
            host.write(&format!("undo {namespace} fails: {error}"));
        }
    }
}

impl Host {
    fn other_data(&mut self) {
        let total = self.disk.total;
        let wanted = total / 100 * self.dice.below(45) as u64 / BLOCK * BLOCK;
        let occupied = self.fake.look(|state| state.occupied(BLOCK));
        self.disk
            .set_other(wanted.min(total.saturating_sub(occupied)));
        let left = self.disk.left();
        self.write(&format!("other data: {left} of {total} bytes are left"));
    }

    pub(crate) fn jump(&mut self) {
        if self.is_steady {
            return;
        }
        let most = *self
            .dice
            .pick(&[120, 3 * 3600, 40 * 3600, 12 * 86_400, YEARS]);
        let by = seconds(self.dice.between(1, most));
        let ahead = self.clock.ahead();
        let by = match self.dice.below(100) {
            // By a time server.
            0..=39 if !ahead.is_zero() => -ahead,
            0..=69 => by,
            _ => -by,
        };
        // Not before 1990: times of certificates and files begin later.
        let earliest = "1990-01-01T00:00:00Z".parse().expect("a time");
        let by = if self.clock.now() + by < earliest {
            by.abs()
        } else {
            by
        };
        let is_years = by.abs() > SignedDuration::from_hours(24 * 300);
        self.clock.jump(by);
        self.note_jump(by);
        self.write(&format!("the clock is set by {by:#}"));
        self.tally.jumps += 1;
        self.tally.years += usize::from(is_years);
    }

    /// Breaks the event stream alone.
    fn lose_stream(&mut self) {
        self.write("containerd starts again at once");
        self.faults.last = self.clock.passed();
        let clock = self.clock.clone();
        self.uses.go_deaf(&clock);
        self.fake.stop();
        self.fake.start();
    }
}
