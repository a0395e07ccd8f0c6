//! Who sent a request.

use std::sync::Arc;

use http::{Extensions, HeaderMap, header};
use reclaim_model::{Caller, EntryPoint, Peer};

use crate::access::Rights;

/// The longest `User-Agent` that is kept, in characters.
const MAX_USER_AGENT: usize = 256;

/// Who sent a request, and what it may request.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) caller: Caller,
    pub(crate) rights: Rights,
}

impl Sender {
    /// Returns who sent a request to an entry point.
    pub(crate) fn of(
        entry_point: EntryPoint,
        extensions: &Extensions,
        headers: &HeaderMap,
    ) -> Self {
        Self {
            caller: caller(entry_point, extensions, headers),
            rights: Rights::of(extensions),
        }
    }
}

/// Returns who sent a request to an entry point. The client is unknown if another server received the
/// request.
pub(crate) fn caller(
    entry_point: EntryPoint,
    extensions: &Extensions,
    headers: &HeaderMap,
) -> Caller {
    let peer = extensions.get::<Arc<Peer>>();
    let user_agent = headers.get(header::USER_AGENT).map(|value| {
        let text = String::from_utf8_lossy(value.as_bytes());
        text.chars().take(MAX_USER_AGENT).collect()
    });
    Caller {
        user_agent,
        ..Caller::new(entry_point).with_peer(peer.map(|peer| Peer::clone(peer)).unwrap_or_default())
    }
}
