//! Replies and gRPC's framing of messages.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::sync::mpsc;
use tonic::Status;

/// The bytes before a message: whether it is compressed, and its length.
const FRAME: usize = 5;

/// The reply to a call.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Messages.
    Messages(Vec<Bytes>),
    /// A stream of messages, until the sender is dropped.
    Stream(mpsc::UnboundedReceiver<Result<Bytes, Status>>),
}

impl Reply {
    pub(crate) fn one(message: &impl Message) -> Self {
        Self::Messages(vec![frame(message)])
    }
}

/// Returns a framed message.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(FRAME + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    framed.put_slice(&message.encode_to_vec());
    framed.freeze()
}

/// Removes and returns the first message; `None` if it is incomplete.
pub(crate) fn unframe(buffer: &mut BytesMut) -> Option<Bytes> {
    let header: [u8; FRAME] = buffer.get(..FRAME)?.try_into().ok()?;
    let [_, length @ ..] = header;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    if buffer.len() < FRAME + length {
        return None;
    }
    let mut message = buffer.split_to(FRAME + length);
    drop(message.split_to(FRAME));
    Some(message.freeze())
}

/// Decodes a message.
pub(crate) fn decode<M: Message + Default>(message: &Bytes) -> Result<M, Status> {
    M::decode(message.clone()).map_err(|error| Status::internal(error.to_string()))
}
