//! The faults to apply, and the record of all calls.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::act::{Act, Moment};
use super::outage::{Outage, Request};

/// The prefix of the paths of containerd's services.
const SERVICES: &str = "/containerd.services.";

/// Returns the method of a path.
pub(super) fn method_of(path: &str) -> &str {
    path.strip_prefix(SERVICES).unwrap_or(path)
}

/// A call: the `nth` of its method, counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The method, such as `leases.v1.Leases/Create`.
    pub method: String,
    /// The number of earlier calls of the method.
    pub nth: usize,
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} #{}", self.method, self.nth)
    }
}

/// A fault of one call. It strikes once.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The call.
    pub call: Call,
    /// When it strikes.
    pub moment: Moment,
    /// What it does.
    pub act: Act,
}

/// The faults that have not struck yet, the outages, and the recorded calls.
#[derive(Debug, Default)]
pub(super) struct Plan {
    faults: Vec<Fault>,
    outages: Vec<Outage>,
    calls: Vec<Call>,
    requests: Vec<(Timestamp, Request)>,
    counts: BTreeMap<String, usize>,
    struck: usize,
    is_silent: bool,
}

impl Plan {
    pub(super) fn new(faults: Vec<Fault>, outages: Vec<Outage>) -> Self {
        Self {
            faults,
            outages,
            ..Self::default()
        }
    }

    /// Records a request, and returns the act of its outage, if there is one.
    pub(super) fn record_request(&mut self, request: Request) -> Option<Act> {
        let mut outages = self.outages.iter();
        let outage = outages.find(|outage| outage.matches(&request));
        let act = outage.map(|outage| outage.act.clone());
        self.struck += usize::from(act.is_some());
        self.requests.push((Timestamp::now(), request));
        act
    }

    /// Returns the requests so far, and when each came.
    pub(super) fn requests(&self) -> &[(Timestamp, Request)] {
        &self.requests
    }

    /// Records a call to a path.
    pub(super) fn record_call(&mut self, path: &str) -> Call {
        let method = method_of(path).to_owned();
        let count = self.counts.entry(method.clone()).or_default();
        let nth = *count;
        *count += 1;
        let call = Call { method, nth };
        self.calls.push(call.clone());
        call
    }

    /// Removes and returns the act of a call at a moment.
    pub(super) fn strike(&mut self, call: &Call, moment: Moment) -> Option<Act> {
        let is_due = |fault: &Fault| fault.call == *call && fault.moment == moment;
        let index = self.faults.iter().position(is_due)?;
        self.struck += 1;
        Some(self.faults.remove(index).act)
    }

    /// Whether a fault strikes a call after containerd has responded.
    pub(super) fn waits_for_answer(&self, call: &Call) -> bool {
        let mut faults = self.faults.iter();
        faults.any(|fault| fault.call == *call && fault.moment == Moment::After)
    }

    /// Stops responding from now on.
    pub(super) fn fall_silent(&mut self) {
        self.is_silent = true;
    }

    pub(super) fn is_silent(&self) -> bool {
        self.is_silent
    }

    pub(super) fn calls(&self) -> &[Call] {
        &self.calls
    }

    pub(super) fn struck(&self) -> usize {
        self.struck
    }
}
