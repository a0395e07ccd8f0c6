//! Which call a fault strikes, and the record of all calls seen.

use std::collections::BTreeMap;
use std::fmt;

use super::act::{Act, Moment};
use super::outage::{Outage, Request};

/// What the paths of all of containerd's services begin with.
const SERVICES: &str = "/containerd.services.";

/// Returns the method that a path leads to.
pub(super) fn method_of(path: &str) -> &str {
    path.strip_prefix(SERVICES).unwrap_or(path)
}

/// One call of a run: the `nth` of its method, counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The method, such as `leases.v1.Leases/Create`.
    pub method: String,
    /// How many calls of the method came before it.
    pub nth: usize,
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} #{}", self.method, self.nth)
    }
}

/// What is done to one call. It strikes once.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The call.
    pub call: Call,
    /// When.
    pub moment: Moment,
    /// What.
    pub act: Act,
}

/// The faults to come, and the calls that were.
#[derive(Debug, Default)]
pub(super) struct Plan {
    faults: Vec<Fault>,
    outages: Vec<Outage>,
    calls: Vec<Call>,
    requests: Vec<Request>,
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

    /// Writes down a request, and says what is done to it for good.
    pub(super) fn ask(&mut self, request: Request) -> Option<Act> {
        let outage = self.outages.iter().find(|it| it.matches(&request));
        let act = outage.map(|it| it.act.clone());
        self.struck += usize::from(act.is_some());
        self.requests.push(request);
        act
    }

    pub(super) fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Writes down a call to the path of a method.
    pub(super) fn meet(&mut self, path: &str) -> Call {
        let method = method_of(path).to_owned();
        let count = self.counts.entry(method.clone()).or_default();
        let nth = *count;
        *count += 1;
        let call = Call { method, nth };
        self.calls.push(call.clone());
        call
    }

    /// Takes out what is to be done to a call at that moment.
    pub(super) fn strike(&mut self, call: &Call, moment: Moment) -> Option<Act> {
        let is_due = |fault: &Fault| fault.call == *call && fault.moment == moment;
        let at = self.faults.iter().position(is_due)?;
        self.struck += 1;
        Some(self.faults.remove(at).act)
    }

    /// Says whether anything is still to be done to a call after containerd has answered it.
    pub(super) fn waits_for_answer(&self, call: &Call) -> bool {
        let mut faults = self.faults.iter();
        faults.any(|fault| fault.call == *call && fault.moment == Moment::After)
    }

    /// Answers nothing from now on.
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
