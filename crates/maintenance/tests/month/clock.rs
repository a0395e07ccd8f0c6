//! The time that really passes, and the wall clock.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use reclaim_maintenance::{ClockReading, HostClock};
use tokio::time::Instant;

/// Seconds as a duration.
pub(crate) fn seconds(n: usize) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(n).expect("a month is short"))
}

/// A wall clock that is set now and then. All clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    began: Timestamp,
    start: Instant,
    jumps: Arc<Mutex<Vec<Jump>>>,
    boot: Arc<Mutex<Boot>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Boot {
    number: usize,
    /// When it began, in time that passed.
    at: SignedDuration,
    has_network: bool,
    /// How long the host was off before, in all.
    off: SignedDuration,
}

#[derive(Debug, Clone, Copy)]
struct Jump {
    /// When it was set, in time that passed.
    at: SignedDuration,
    by: SignedDuration,
}

impl Clock {
    /// Makes a clock. The runtime's time has to be paused.
    pub(crate) fn new(began: Timestamp) -> Self {
        Self {
            began,
            start: Instant::now(),
            jumps: Arc::default(),
            boot: Arc::new(Mutex::new(Boot {
                has_network: true,
                ..Boot::default()
            })),
        }
    }

    /// Begins another boot of the host, which was off for this long.
    pub(crate) fn boot(&self, has_network: bool, off: SignedDuration) {
        let at = self.passed();
        let mut boot = self.boot.lock().unwrap_or_else(PoisonError::into_inner);
        *boot = Boot {
            number: boot.number + 1,
            at,
            has_network,
            off: boot.off + off,
        };
    }

    /// Returns how long the host was off, in all.
    pub(crate) fn off(&self) -> SignedDuration {
        let boot = self.boot.lock().unwrap_or_else(PoisonError::into_inner);
        boot.off
    }

    /// Returns the clocks that the daemon reads.
    pub(crate) fn host_clock(&self) -> HostClock {
        let clock = self.clone();
        HostClock::new(move || {
            let boot = *clock.boot.lock().unwrap_or_else(PoisonError::into_inner);
            ClockReading {
                wall: clock.now(),
                is_synchronized: boot.has_network && clock.ahead().is_zero(),
                boot: boot.number.to_string(),
                since_boot: clock.passed() - boot.at,
            }
        })
    }

    fn jumps(&self) -> Vec<Jump> {
        let jumps = self.jumps.lock().unwrap_or_else(PoisonError::into_inner);
        jumps.clone()
    }

    /// Returns the time that really passed.
    pub(crate) fn passed(&self) -> SignedDuration {
        SignedDuration::try_from(self.start.elapsed()).expect("a month is short")
    }

    /// Returns the wall time.
    pub(crate) fn now(&self) -> Timestamp {
        self.began + self.passed() + self.ahead()
    }

    /// Returns by how much the wall clock is ahead.
    pub(crate) fn ahead(&self) -> SignedDuration {
        self.jumps().iter().map(|jump| jump.by).sum()
    }

    /// Sets it.
    pub(crate) fn jump(&self, by: SignedDuration) {
        let at = self.passed();
        let mut jumps = self.jumps.lock().unwrap_or_else(PoisonError::into_inner);
        jumps.push(Jump { at, by });
    }

    /// Returns when it was set last, in time that passed.
    pub(crate) fn set(&self) -> SignedDuration {
        let last = self.jumps().last().map(|jump| jump.at);
        last.unwrap_or(SignedDuration::MIN)
    }

    /// Returns when it was set back last, in time that passed.
    pub(crate) fn set_back(&self) -> SignedDuration {
        let mut back = self
            .jumps()
            .into_iter()
            .filter(|jump| jump.by.is_negative());
        let last = back.next_back().map(|jump| jump.at);
        last.unwrap_or(SignedDuration::MIN)
    }
}
