//! Headers of forwarded requests and responses.
//!
//! Source: RFC 9110, sections 7.6.1 (`Connection`) and 7.6.3 (`Via`).

use http::header::{CONNECTION, EXPECT, TE, TRANSFER_ENCODING, UPGRADE, VIA};
use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The headers of one connection, other than `Connection` itself. `Trailer` stays, because trailers are
/// forwarded.
const OF_A_CONNECTION: [HeaderName; 4] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The name of this daemon in the header `Via`, which shows requests that come back to it.
#[derive(Debug)]
pub(super) struct Via(String);

impl Via {
    pub(super) fn new(id: Uuid) -> Self {
        Self(format!("reclaim-{}", id.simple()))
    }

    /// Whether this daemon has forwarded a request with these headers.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let values = headers.get_all(VIA).into_iter();
        let mut hops = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        hops.any(|hop| hop.split_whitespace().nth(1) == Some(&self.0))
    }

    /// Adds this daemon.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        if let Ok(hop) = HeaderValue::try_from(format!("1.1 {}", self.0)) {
            headers.append(VIA, hop);
        }
    }
}

/// Returns the protocol that a message switches to, if it does.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let is_listed = listed(headers).any(|name| name == UPGRADE);
    headers.get(UPGRADE).filter(|_| is_listed).cloned()
}

/// Removes the headers of one connection.
pub(super) fn remove_connection(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = listed(headers).collect();
    // The only transfer coding that a proxy passes on.
    let has_trailers = headers
        .get(TE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in listed.iter().chain(&OF_A_CONNECTION).chain([&CONNECTION]) {
        headers.remove(name);
    }
    headers.remove(TE);
    if has_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Prepares the headers of a request for the engine.
pub(super) fn prepare_request(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>, via: &Via) {
    remove_connection(headers);
    // Answered here, as soon as the engine reads the body.
    headers.remove(EXPECT);
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    via.add_to(headers);
}

/// Returns the headers that `Connection` names.
fn listed(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(CONNECTION).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let headers = list.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        headers.collect()
    }

    #[test]
    fn removes_what_belongs_to_one_connection() {
        let mut sent = headers(&[
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("expect", "100-continue"),
            ("content-length", "3"),
            ("x-registry-auth", "e30="),
        ]);
        assert_eq!(upgrade(&sent), None, "`connection` does not name it");
        let via = Via::new(Uuid::nil());
        prepare_request(&mut sent, None, &via);
        let mut names: Vec<&str> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let kept = ["content-length", "te", "trailer", "via", "x-registry-auth"];
        assert_eq!(names, kept);
    }

    #[test]
    fn keeps_an_upgrade() {
        let mut sent = headers(&[("connection", "keep-alive, upgrade"), ("upgrade", "tcp")]);
        let protocol = upgrade(&sent);
        prepare_request(&mut sent, protocol.as_ref(), &Via::new(Uuid::nil()));
        assert_eq!(upgrade(&sent).unwrap(), "tcp");
    }

    #[test]
    fn recognises_its_own_requests() {
        let (ours, other) = (Via::new(Uuid::now_v7()), Via::new(Uuid::nil()));
        let mut sent = headers(&[("via", "1.0 fred, 1.1 p.example.net")]);
        assert!(!ours.is_in(&sent));
        other.add_to(&mut sent);
        assert!(!ours.is_in(&sent));
        ours.add_to(&mut sent);
        assert!(ours.is_in(&sent) && other.is_in(&sent));
        assert!(ours.is_in(&{
            let joined = sent
                .get_all(VIA)
                .iter()
                .map(|value| value.to_str().unwrap());
            let joined = joined.collect::<Vec<_>>().join(", ");
            HeaderMap::from_iter([(VIA, HeaderValue::try_from(joined).unwrap())])
        }));
    }
}
