//! The open connections: how many each peer has, and which are idle.
//!
//! A new connection never waits. At a limit, the connection that has been idle for longest is closed:
//! one of the same peer if the peer is at its limit, else any. A connection is idle if no response is
//! under way on it; a stream of events or progress is a response under way. Connections with an open
//! [`Stream`] count for no limit.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reclaim_model::Peer;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::limits::Limits;

/// What the limit for one client counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A host.
    Host(IpAddr),
    /// A local process, by its ID and its user's ID.
    Process(Option<i32>, u32),
    /// Unknown; all unknown clients count as one.
    Unknown,
}

impl Origin {
    /// Returns what the client of a connection counts by. A process counts as the same if it runs
    /// another command.
    pub(super) fn of(peer: &Peer) -> Self {
        match (&peer.process, peer.host) {
            (Some(process), _) => Self::Process(process.pid, process.uid),
            (None, Some(host)) => Self::Host(host),
            (None, None) => Self::Unknown,
        }
    }
}

/// The open connections that share limits.
#[derive(Debug)]
pub(super) struct Table {
    limits: Limits,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// By number; newer connections have greater ones.
    open: BTreeMap<u64, Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    origin: Origin,
    /// The number of responses under way.
    responses: usize,
    /// The number of open streams.
    streams: usize,
    idle_since: Instant,
    close: CancellationToken,
}

/// The slot of an open connection. Dropping it frees the slot.
#[derive(Debug)]
pub(super) struct Slot {
    table: Arc<Table>,
    number: u64,
    close: CancellationToken,
}

/// A response under way. Dropping it ends the response.
#[derive(Debug)]
pub(super) struct Busy(Arc<Slot>);

/// An open stream, for example of the output of a container. Meanwhile the connection is busy, and no
/// limit counts it. Dropping it ends the stream.
#[derive(Debug)]
pub(crate) struct Stream {
    slot: Arc<Slot>,
    _busy: Busy,
}

impl Table {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: Mutex::default(),
        }
    }

    /// Returns a slot for a new connection; `None` if a limit is reached and all connections that
    /// could be closed for it are busy.
    pub(super) fn admit(self: &Arc<Self>, origin: Origin) -> Option<Arc<Slot>> {
        let mut entries = self.entries();
        if entries.counted(|entry| entry.origin == origin) >= self.limits.connections_per_peer {
            entries.close_idle(|entry| entry.origin == origin)?;
        } else if entries.counted(|_| true) >= self.limits.connections {
            entries.close_idle(|_| true)?;
        }
        let number = entries.next;
        entries.next += 1;
        let close = CancellationToken::new();
        let entry = Entry {
            origin,
            responses: 0,
            streams: 0,
            idle_since: Instant::now(),
            close: close.clone(),
        };
        entries.open.insert(number, entry);
        drop(entries);
        Some(Arc::new(Slot {
            table: Arc::clone(self),
            number,
            close,
        }))
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Counts the connections that are of interest and have no open stream.
    fn counted(&self, is_of_interest: impl Fn(&Entry) -> bool) -> usize {
        let entries = self.open.values();
        let counted = entries.filter(|entry| entry.streams == 0 && is_of_interest(entry));
        counted.count()
    }

    /// Closes the connection that has been idle for longest, of those that `may_close` allows.
    fn close_idle(&mut self, may_close: impl Fn(&Entry) -> bool) -> Option<()> {
        let (&number, _) = self
            .open
            .iter()
            .filter(|(_, entry)| entry.responses == 0 && may_close(entry))
            .min_by_key(|(number, entry)| (entry.idle_since, **number))?;
        let entry = self.open.remove(&number)?;
        entry.close.cancel();
        Some(())
    }
}

impl Slot {
    /// Marks the connection as busy until the response has been sent or dropped.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        if let Some(entry) = self.table.entries().open.get_mut(&self.number) {
            entry.responses += 1;
        }
        Busy(Arc::clone(self))
    }

    /// Marks the connection as an open stream until the result is dropped.
    pub(super) fn stream(self: &Arc<Self>) -> Stream {
        let busy = self.busy();
        if let Some(entry) = self.table.entries().open.get_mut(&self.number) {
            entry.streams += 1;
        }
        Stream {
            slot: Arc::clone(self),
            _busy: busy,
        }
    }

    /// Waits until the connection must close: another needs its slot, or it was idle for too long.
    pub(super) async fn closing(&self) {
        let longest = self.table.limits.idle_time;
        loop {
            let until = self.idle_since().unwrap_or_else(Instant::now) + longest;
            tokio::select! {
                () = self.close.cancelled() => return,
                () = tokio::time::sleep_until(until) => {}
            }
            let idle_since = self.idle_since();
            if idle_since.is_some_and(|since| since + longest <= Instant::now()) {
                return;
            }
        }
    }

    fn idle_since(&self) -> Option<Instant> {
        let entries = self.table.entries();
        let entry = entries.open.get(&self.number)?;
        (entry.responses == 0).then_some(entry.idle_since)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.table.entries().open.remove(&self.number);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(entry) = self.0.table.entries().open.get_mut(&self.0.number) {
            entry.responses -= 1;
            entry.idle_since = Instant::now();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(entry) = self.slot.table.entries().open.get_mut(&self.slot.number) {
            entry.streams -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const A: Origin = Origin::Host(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));
    const B: Origin = Origin::Process(Some(2), 0);

    fn table(connections: usize, connections_per_peer: usize) -> Arc<Table> {
        Arc::new(Table::new(Limits {
            connections,
            connections_per_peer,
            ..Limits::default()
        }))
    }

    fn is_closed(slot: &Slot) -> bool {
        slot.close.is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_at_its_limit_loses_its_longest_idle_connection() {
        let table = table(10, 3);
        let others = table.admit(B).unwrap();
        let busy = table.admit(A).unwrap();
        let response = busy.busy();
        let first = table.admit(A).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let second = table.admit(A).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        // The first is older than the second, but has been idle for a shorter time.
        drop(first.busy());
        let third = table.admit(A).unwrap();
        assert_eq!(
            [&others, &busy, &first, &second, &third].map(|slot| is_closed(slot)),
            [false, false, false, true, false]
        );
        let (_busy_first, _busy_third) = (first.busy(), third.busy());
        assert!(table.admit(A).is_none(), "all of its own are busy");
        drop(response);
        assert!(table.admit(A).is_some());
        assert!(is_closed(&busy) && !is_closed(&others));
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_total_limit_the_longest_idle_connection_is_closed() {
        let table = table(2, 2);
        let oldest = table.admit(A).unwrap();
        let disconnected = table.admit(B).unwrap();
        drop(disconnected);
        let newer = table.admit(A).unwrap();
        let newest = table.admit(B).unwrap();
        assert!(is_closed(&oldest) && !is_closed(&newer) && !is_closed(&newest));
    }

    #[tokio::test(start_paused = true)]
    async fn closes_an_idle_connection_and_not_one_with_an_open_stream() {
        let table = table(2, 2);
        let idle_time = table.limits.idle_time;
        let idle = table.admit(A).unwrap();
        let streaming = table.admit(A).unwrap();
        let stream = streaming.busy();
        let began = Instant::now();
        idle.closing().await;
        assert_eq!(began.elapsed(), idle_time);
        let closing = tokio::time::timeout(10 * idle_time, streaming.closing());
        assert!(closing.await.is_err(), "an open stream is not idle");
        drop(stream);
        let ended = Instant::now();
        streaming.closing().await;
        assert!(ended.elapsed() >= idle_time);
    }

    #[tokio::test]
    async fn open_streams_are_neither_counted_nor_closed() {
        let table = table(2, 2);
        let streams: Vec<_> = std::iter::repeat_with(|| {
            let slot = table.admit(A).unwrap();
            let stream = slot.stream();
            (slot, stream)
        })
        .take(10)
        .collect();
        let (first, second) = (table.admit(A).unwrap(), table.admit(B).unwrap());
        assert!(!is_closed(&first) && !is_closed(&second));
        let third = table.admit(A).unwrap();
        assert!(is_closed(&first), "other connections are limited as before");
        assert!(streams.iter().all(|(slot, _)| !is_closed(slot)));
        drop(streams);
        drop(table.admit(A).unwrap());
        assert!(!is_closed(&third));
    }
}
