//! The open connections: how many each peer has, and which of them are idle.
//!
//! A new connection is never kept waiting. Where there is no room, the oldest idle one makes it:
//! of the same peer, if that has as many as it may, or else of all. Only a connection on which
//! nothing is being answered is idle: a stream of events or of progress is an answer that goes on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::limits::Limits;

/// Who is at the other end, as far as the system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// A host.
    Host(IpAddr),
    /// A process of this host, by its ID and the user's.
    Process(Option<i32>, u32),
    /// Unknown: all of these count as one.
    Unknown,
}

/// The open connections of all listeners that share limits.
#[derive(Debug)]
pub(super) struct Table {
    limits: Limits,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// By number: later ones are greater.
    open: BTreeMap<u64, Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    peer: Peer,
    /// How many requests are being answered.
    answering: usize,
    idle_since: Instant,
    close: CancellationToken,
}

/// The place of an open connection. Dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Place {
    table: Arc<Table>,
    number: u64,
    close: CancellationToken,
}

/// An answer under way. Dropping it is its end.
#[derive(Debug)]
pub(super) struct Answering(Arc<Place>);

impl Table {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: Mutex::default(),
        }
    }

    /// Gives a new connection its place; `None` if there is no room and all that could make it
    /// are busy.
    pub(super) fn admit(self: &Arc<Self>, peer: Peer) -> Option<Arc<Place>> {
        let mut entries = self.entries();
        let of_peer = entries.open.values().filter(|it| it.peer == peer);
        if of_peer.count() >= self.limits.connections_per_peer {
            entries.close_oldest(|entry| entry.peer == peer)?;
        } else if entries.open.len() >= self.limits.connections {
            entries.close_oldest(|_| true)?;
        }
        let number = entries.next;
        entries.next += 1;
        let close = CancellationToken::new();
        let entry = Entry {
            peer,
            answering: 0,
            idle_since: Instant::now(),
            close: close.clone(),
        };
        entries.open.insert(number, entry);
        drop(entries);
        Some(Arc::new(Place {
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
    /// Closes the connection that has been idle for longest among those that `may_go`.
    fn close_oldest(&mut self, may_go: impl Fn(&Entry) -> bool) -> Option<()> {
        let idle = self.open.iter();
        let idle = idle.filter(|(_, entry)| entry.answering == 0 && may_go(entry));
        let (number, _) = idle.min_by_key(|(number, entry)| (entry.idle_since, **number))?;
        let number = *number;
        let entry = self.open.remove(&number)?;
        entry.close.cancel();
        Some(())
    }
}

impl Place {
    /// Notes that a request is being answered, until the answer's body is sent or given up.
    pub(super) fn answer(self: &Arc<Self>) -> Answering {
        if let Some(entry) = self.table.entries().open.get_mut(&self.number) {
            entry.answering += 1;
        }
        Answering(Arc::clone(self))
    }

    /// Waits until the connection has to go: another needs the room, or it was idle for too long.
    pub(super) async fn must_close(&self) {
        let longest = self.table.limits.idle_time;
        loop {
            let until = self.idle_since().unwrap_or_else(Instant::now) + longest;
            tokio::select! {
                () = self.close.cancelled() => return,
                () = tokio::time::sleep_until(until) => {}
            }
            let idle_since = self.idle_since();
            if idle_since.is_some_and(|it| it + longest <= Instant::now()) {
                return;
            }
        }
    }

    fn idle_since(&self) -> Option<Instant> {
        let entries = self.table.entries();
        let entry = entries.open.get(&self.number)?;
        (entry.answering == 0).then_some(entry.idle_since)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.entries().open.remove(&self.number);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(entry) = self.0.table.entries().open.get_mut(&self.0.number) {
            entry.answering -= 1;
            entry.idle_since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const A: Peer = Peer::Host(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));
    const B: Peer = Peer::Process(Some(2), 0);

    fn table(connections: usize, connections_per_peer: usize) -> Arc<Table> {
        Arc::new(Table::new(Limits {
            connections,
            connections_per_peer,
            ..Limits::default()
        }))
    }

    fn is_closed(place: &Place) -> bool {
        place.close.is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_has_all_its_connections_closes_its_own_oldest_idle_one() {
        let table = table(10, 3);
        let others = table.admit(B).unwrap();
        let busy = table.admit(A).unwrap();
        let answering = busy.answer();
        let first = table.admit(A).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let second = table.admit(A).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        // It is older, and was idle for a shorter time.
        drop(first.answer());
        let third = table.admit(A).unwrap();
        assert_eq!(
            [&others, &busy, &first, &second, &third].map(|it| is_closed(it)),
            [false, false, false, true, false]
        );
        let (_first, _third) = (first.answer(), third.answer());
        assert!(table.admit(A).is_none(), "all of its own are busy");
        drop(answering);
        assert!(table.admit(A).is_some());
        assert!(is_closed(&busy) && !is_closed(&others));
    }

    #[tokio::test(start_paused = true)]
    async fn over_the_limit_of_all_the_oldest_idle_one_is_closed() {
        let table = table(2, 2);
        let oldest = table.admit(A).unwrap();
        let left = table.admit(B).unwrap();
        drop(left);
        let newer = table.admit(A).unwrap();
        let newest = table.admit(B).unwrap();
        assert!(is_closed(&oldest) && !is_closed(&newer) && !is_closed(&newest));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_and_one_with_an_open_stream_does_not() {
        let table = table(2, 2);
        let idle_time = table.limits.idle_time;
        let idle = table.admit(A).unwrap();
        let streaming = table.admit(A).unwrap();
        let stream = streaming.answer();
        let began = Instant::now();
        idle.must_close().await;
        assert_eq!(began.elapsed(), idle_time);
        let closing = tokio::time::timeout(10 * idle_time, streaming.must_close());
        assert!(closing.await.is_err(), "an open stream is not idle");
        drop(stream);
        let ended = Instant::now();
        streaming.must_close().await;
        assert!(ended.elapsed() >= idle_time);
    }
}
