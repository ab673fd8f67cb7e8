//! A service with calls of all four kinds, and its client, as `tonic-build` would generate them. Its
//! messages are texts.

use bytes::{Buf, BufMut};
use http::uri::PathAndQuery;
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::StdError;
use tonic::{IntoRequest, Request, Response, Status, Streaming};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, item: String, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|_| Status::invalid_argument("no text"))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct GreeterClient<T>(tonic::client::Grpc<T>);

impl<T> GreeterClient<T>
where
    T: GrpcService<Body, Error: Into<StdError>>,
    T::ResponseBody: http_body::Body<Data = bytes::Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    pub(crate) fn new(channel: T) -> Self {
        Self(tonic::client::Grpc::new(channel))
    }

    pub(crate) fn with_origin(channel: T, origin: &'static str) -> Self {
        Self(tonic::client::Grpc::with_origin(channel, http::Uri::from_static(origin)))
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.0.ready().await.map_err(|error| Status::from_error(error.into()))
    }

    /// Returns `hello NAME from SERVER`.
    pub(crate) async fn hello(&mut self, name: impl IntoRequest<String>) -> Result<Response<String>, Status> {
        self.ready().await?;
        self.0.unary(name.into_request(), PathAndQuery::from_static("/test.Greeter/Hello"), Text).await
    }

    /// Returns a stream of numbers.
    pub(crate) async fn count(
        &mut self,
        to: impl IntoRequest<String>,
    ) -> Result<Response<Streaming<String>>, Status> {
        self.ready().await?;
        self.0
            .server_streaming(to.into_request(), PathAndQuery::from_static("/test.Greeter/Count"), Text)
            .await
    }

    /// Returns the number of bytes in the messages.
    pub(crate) async fn upload(
        &mut self,
        parts: impl Stream<Item = String> + Send + 'static,
    ) -> Result<Response<String>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/test.Greeter/Upload");
        self.0.client_streaming(Request::new(parts), path, Text).await
    }

    /// Returns each message.
    pub(crate) async fn echo(
        &mut self,
        parts: impl Stream<Item = String> + Send + 'static,
    ) -> Result<Response<Streaming<String>>, Status> {
        self.ready().await?;
        self.0.streaming(Request::new(parts), PathAndQuery::from_static("/test.Greeter/Echo"), Text).await
    }
}
