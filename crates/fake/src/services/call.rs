//! A call of a method, and errors in containerd's texts.

use std::sync::LazyLock;

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use tonic::Status;

use crate::events::Event;
use crate::reply::decode;
use crate::state::{Lease, Namespace, State, timestamp};

/// The headers of a call, and its time of arrival.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) namespace: String,
    pub(crate) lease: Option<String>,
    pub(crate) now: Timestamp,
}

/// A call with one message.
pub(super) struct Unary<'a> {
    pub(super) state: &'a mut State,
    pub(super) context: &'a Context,
    pub(super) message: Bytes,
}

impl Unary<'_> {
    pub(super) fn read<M: Message + Default>(&self) -> Result<M, Status> {
        decode(&self.message)
    }

    /// Returns the namespace of the call for reading; an empty one if it does not exist.
    pub(super) fn space(&self) -> Result<&Namespace, Status> {
        static EMPTY: LazyLock<Namespace> = LazyLock::new(Namespace::default);
        self.check_namespace()?;
        let found = self.state.namespaces.get(&self.context.namespace);
        Ok(found.unwrap_or(&EMPTY))
    }

    /// Returns the namespace of the call for changes.
    pub(super) fn space_mut(&mut self) -> Result<&mut Namespace, Status> {
        self.check_namespace()?;
        Ok(self.state.namespace(&self.context.namespace))
    }

    /// Returns the lease that the call names.
    pub(super) fn lease_mut(&mut self) -> Result<Option<&mut Lease>, Status> {
        let Some(id) = &self.context.lease else {
            return Ok(None);
        };
        let leases = &mut self.state.namespace(&self.context.namespace).leases;
        let found = leases.get_mut(id);
        found.map(Some).ok_or_else(|| not_found("lease", id))
    }

    fn check_namespace(&self) -> Result<(), Status> {
        if self.context.namespace.is_empty() {
            let text = "namespace is required: failed precondition";
            return Err(Status::failed_precondition(text));
        }
        Ok(())
    }

    pub(super) fn publish(&mut self, event: Event) {
        self.state.events.push(event);
    }

    /// Collects if the deletion is synchronous.
    pub(super) fn collect_if(&mut self, is_sync: bool) {
        if is_sync {
            self.state.collect(self.context.now);
        }
    }
}

pub(super) fn not_found(what: &str, name: &str) -> Status {
    Status::not_found(format!("{what} \"{name}\": not found"))
}

pub(super) fn exists(what: &str, name: &str) -> Status {
    Status::already_exists(format!("{what} \"{name}\": already exists"))
}

/// Returns a time as the field of a message.
#[expect(clippy::unnecessary_wraps, reason = "fields of messages are options")]
pub(super) fn time(now: Timestamp) -> Option<prost_types::Timestamp> {
    Some(timestamp(now))
}
