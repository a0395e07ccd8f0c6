//! Time: what really passes, and what the clock on the wall says of it.

use jiff::{SignedDuration, Timestamp};
use reclaim_testkit::Dice;

/// So many seconds.
pub(crate) fn seconds(n: usize) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(n).expect("a month is short"))
}

/// A part of a whole, in hundredths.
pub(crate) fn draw(dice: &mut Dice) -> f64 {
    let hundredths = u32::try_from(dice.below(101)).expect("it is small");
    f64::from(hundredths) / 100.0
}

/// A clock that somebody sets now and then.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    began: Timestamp,
    /// What really passed.
    pub(crate) passed: SignedDuration,
    /// By how much the clock is ahead.
    ahead: SignedDuration,
    /// When it was set back last, in what really passed.
    pub(crate) set_back: SignedDuration,
    /// When it was set last, either way.
    pub(crate) set: SignedDuration,
}

impl Clock {
    pub(crate) fn new(began: Timestamp) -> Self {
        Self {
            began,
            passed: SignedDuration::ZERO,
            ahead: SignedDuration::ZERO,
            set_back: SignedDuration::MIN,
            set: SignedDuration::MIN,
        }
    }

    /// What it says.
    pub(crate) fn now(&self) -> Timestamp {
        self.began + self.passed + self.ahead
    }

    pub(crate) fn pass(&mut self, time: SignedDuration) {
        self.passed += time;
    }

    pub(crate) fn was_set_back(&self) -> bool {
        self.set_back > SignedDuration::MIN
    }

    /// Somebody sets it.
    pub(crate) fn jump(&mut self, by: SignedDuration) {
        self.ahead += by;
        self.set = self.passed;
        if by.is_negative() {
            self.set_back = self.passed;
        }
    }
}
