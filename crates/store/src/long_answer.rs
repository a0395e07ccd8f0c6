//! Decodes answers of many megabytes, which takes too long for an async thread.

use std::marker::PhantomData;

use http::uri::PathAndQuery;
use prost::Message;
use prost::bytes::{Buf, Bytes};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status};

use crate::client::MAX_MESSAGE;
use crate::deadline::TimedChannel;
use crate::off_thread::blocking;

/// Makes a unary call, as a generated client does, and decodes the answer off the async threads.
pub(crate) async fn long_answer<M, A>(
    channel: TimedChannel,
    path: &'static str,
    request: Request<M>,
) -> Result<A, Status>
where
    M: Message + 'static,
    A: Message + Default + 'static,
{
    let mut client = Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE);
    client
        .ready()
        .await
        .map_err(|error| Status::unknown(format!("Service was not ready: {error}")))?;
    let path = PathAndQuery::from_static(path);
    let answer = client.unary(request, path, Raw(PhantomData)).await?;
    let body: Bytes = answer.into_inner();
    blocking(move || A::decode(body))
        .await
        .map_err(|error| Status::internal(error.to_string()))
}

/// Returns the received bytes undecoded.
struct Raw<M>(PhantomData<M>);

impl<M: Message + 'static> Codec for Raw<M> {
    type Encode = M;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self(PhantomData)
    }

    fn decoder(&mut self) -> Self {
        Self(PhantomData)
    }
}

impl<M: Message> Encoder for Raw<M> {
    type Item = M;
    type Error = Status;

    fn encode(&mut self, message: M, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let encoded = message.encode(buffer);
        encoded.map_err(|error| Status::internal(error.to_string()))
    }
}

impl<M> Decoder for Raw<M> {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
