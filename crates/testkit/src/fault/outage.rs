//! Recorded requests, and outages: requests that always fail.

use bytes::Bytes;

use super::act::Act;

/// A request: its method, its namespace and its texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// The method, such as `snapshots.v1.Snapshots/Usage`.
    pub method: String,
    /// The namespace; empty if the method has none.
    pub namespace: String,
    /// The texts of the message in the order of its fields: a digest, or a snapshotter and a key.
    pub texts: Vec<String>,
}

/// A permanent fault: every request that matches it meets the same act.
#[derive(Debug, Clone)]
pub struct Outage {
    /// The method.
    pub method: String,
    /// The namespace, or `None` for all.
    pub namespace: Option<String>,
    /// The texts, or `None` for any.
    pub texts: Option<Vec<String>>,
    /// What the proxy does to the request before containerd receives it.
    pub act: Act,
}

impl Outage {
    /// Returns an outage of one request.
    pub fn of(request: &Request, act: Act) -> Self {
        Self {
            method: request.method.clone(),
            namespace: Some(request.namespace.clone()),
            texts: Some(request.texts.clone()),
            act,
        }
    }

    /// Returns an outage of all requests of a method in a namespace.
    pub fn within(namespace: &str, method: &str, act: Act) -> Self {
        Self {
            method: method.to_owned(),
            namespace: Some(namespace.to_owned()),
            texts: None,
            act,
        }
    }

    pub(super) fn matches(&self, request: &Request) -> bool {
        self.method == request.method
            && self
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == request.namespace)
            && self
                .texts
                .as_ref()
                .is_none_or(|texts| *texts == request.texts)
    }
}

/// The bytes before a gRPC message: whether it is compressed, and its length.
const FRAME: usize = 5;

/// Returns the texts of the message in a request's body: all fields of bytes that are UTF-8, not
/// those of nested messages.
pub(super) fn texts(body: &Bytes) -> Vec<String> {
    let mut rest = body.get(FRAME..).unwrap_or_default();
    let mut texts = Vec::new();
    while let Some(tag) = varint(&mut rest) {
        let length = match tag & 7 {
            0 => {
                varint(&mut rest);
                continue;
            }
            1 => 8,
            2 => varint(&mut rest)
                .and_then(|length| usize::try_from(length).ok())
                .unwrap_or(usize::MAX),
            5 => 4,
            _ => break,
        };
        let Some((field, after)) = rest.split_at_checked(length) else {
            break;
        };
        rest = after;
        if tag & 7 == 2
            && let Ok(text) = str::from_utf8(field)
        {
            texts.push(text.to_owned());
        }
    }
    texts
}

/// Reads a number from the front.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use containerd_client::services::v1::ReadContentRequest;
    use containerd_client::services::v1::snapshots::UsageRequest;
    use prost::Message;

    use super::*;

    fn texts_of(message: &impl Message) -> Vec<String> {
        texts(&Bytes::from(
            [vec![0; FRAME], message.encode_to_vec()].concat(),
        ))
    }

    #[test]
    fn reads_the_texts_of_a_request() {
        let usage = UsageRequest {
            snapshotter: "native".to_owned(),
            key: "k".repeat(300),
        };
        assert_eq!(texts_of(&usage), ["native".to_owned(), "k".repeat(300)]);
        let read = ReadContentRequest {
            digest: "sha256:0".to_owned(),
            offset: 300,
            size: -1,
        };
        assert_eq!(texts_of(&read), ["sha256:0"]);
    }

    #[test]
    fn a_truncated_message_has_no_texts() {
        for body in [
            &b""[..],
            &[0; 3],
            &[0, 0, 0, 0, 0, 0x0a, 0xff],
            &[0, 0, 0, 0, 0, 0x0a, 9, 1],
        ] {
            assert_eq!(texts(&Bytes::copy_from_slice(body)), Vec::<String>::new());
        }
    }
}
