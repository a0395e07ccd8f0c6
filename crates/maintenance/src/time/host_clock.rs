//! The clocks of the host.

use std::fmt;
use std::fs;
use std::sync::Arc;

use jiff::SignedDuration;
use rtime_clock::adjtime::{Timex, adjtimex};
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

use super::ClockReading;

/// The flag of the kernel for a clock that nothing synchronizes.
///
/// Source: Linux `include/uapi/linux/timex.h`.
const STA_UNSYNC: i32 = 0x40;

/// The clocks of a host: the wall clock, and the time since boot.
#[derive(Clone)]
pub struct HostClock(Arc<dyn Fn() -> ClockReading + Send + Sync>);

impl HostClock {
    /// Returns the clocks that `read` reads, for tests.
    pub fn new(read: impl Fn() -> ClockReading + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Returns the clocks of this host.
    pub fn system() -> Self {
        if let Ok(boot) = fs::read_to_string("/proc/sys/kernel/random/boot_id") {
            let boot = boot.trim().to_owned();
            return Self::new(move || reading(&boot, since_boot()));
        }
        // This process then counts as a boot of its own.
        let (boot, began) = (Uuid::now_v7().to_string(), since_boot());
        Self::new(move || reading(&boot, since_boot() - began))
    }

    /// Reads the clocks.
    pub fn read(&self) -> ClockReading {
        (self.0)()
    }
}

impl fmt::Debug for HostClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("HostClock")
            .field(&self.read())
            .finish()
    }
}

fn reading(boot: &str, since_boot: SignedDuration) -> ClockReading {
    ClockReading {
        wall: reclaim_store::now(),
        is_synchronized: is_synchronized(),
        boot: boot.to_owned(),
        since_boot,
    }
}

fn since_boot() -> SignedDuration {
    let time = clock_gettime(ClockId::Boottime);
    let nanoseconds = i32::try_from(time.tv_nsec).unwrap_or(0);
    SignedDuration::new(time.tv_sec, nanoseconds)
}

/// Whether the kernel takes the wall clock for synchronized. A kernel that does not say, because a
/// sandbox forbids the question, counts as one that is not.
fn is_synchronized() -> bool {
    let mut state = Timex::new();
    // Changes nothing: no mode is set.
    adjtimex(&mut state).is_ok() && state.0.status & STA_UNSYNC == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_host() {
        let clock = HostClock::system();
        let first = clock.read();
        let second = clock.read();
        assert_eq!(first.boot, second.boot);
        assert!(first.since_boot <= second.since_boot);
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let seconds = uptime.split('.').next().unwrap().parse().unwrap();
        let uptime = SignedDuration::from_secs(seconds);
        assert!(second.since_boot >= uptime.min(first.since_boot));
        assert!((uptime - first.since_boot).abs() < SignedDuration::from_secs(60));
        assert_eq!(first.is_synchronized, is_synchronized());
    }
}
