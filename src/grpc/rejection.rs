//! Who rejected, in the details of a status.

use bytes::BytesMut;
use http::HeaderValue;

use super::classify::Code;
use super::details::{any_of, base64_of, details};
use super::proto::{Fields, Malformed, Value, put_bytes, put_varint};
use crate::core::error::{Reason, Rejected};

/// Of whom the `google.rpc.ErrorInfo` is.
const DOMAIN: &str = "seawall";
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// A rejection by the client's own stack, as a status tells it: which layer rejected, and why.
///
/// [`rejections`](super::rejections), which is part of [`client`](super::client()), writes it into the details of
/// the status as a `google.rpc.ErrorInfo` of the domain `seawall`, with the reason, and the `layer` and its
/// `name` as metadata. (In the answer itself, for layers around the stack, the whole
/// [`Rejected`] is an extension.) A server never writes it; but one that wants to be taken for a
/// rejection may, so decide nothing of weight by it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use seawall::{Reason, grpc::{self, Rejection}};
/// use tonic::{Status, body::Body, transport::Channel};
/// use tower::{Service, ServiceExt};
///
/// /// Whether the server was never asked.
/// fn was_rejected(status: &Status) -> bool {
///     Rejection::from_details(status.details()).is_some()
/// }
///
/// let channel = Channel::from_static("http://127.0.0.1:1").connect_lazy();
/// let mut orders = grpc::client("orders").build_on(channel, Body::new)?;
/// orders.handle().breaker().force_open();
/// let answer = orders.ready().await?.call(http::Request::new(Body::empty())).await?;
///
/// let status = Status::from_header_map(answer.headers()).unwrap(); // as a generated client does it
/// assert!(was_rejected(&status));
/// let rejection = Rejection::from_details(status.details()).unwrap();
/// assert_eq!((rejection.layer(), rejection.name()), ("circuit_breaker", "orders"));
/// assert_eq!(rejection.reason(), Some(Reason::CircuitOpen));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rejection {
    reason: String,
    layer: String,
    name: String,
}

impl Rejection {
    /// Reads the details of a status, for instance `tonic::Status::details()`; `None` if they tell of no
    /// rejection by a layer of this crate.
    pub fn from_details(bytes: &[u8]) -> Option<Self> {
        details(bytes).find_map(|any| {
            let info = any_of(any, b"google.rpc.ErrorInfo").ok().flatten()?;
            Self::read(info).ok().flatten()
        })
    }

    /// Why; `None` if this version of the crate does not know the reason.
    pub fn reason(&self) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.as_str() == self.reason)
    }

    /// The layer that rejected, such as `circuit_breaker`.
    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// The name of the layer.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ErrorInfo { reason: 1 string, domain: 2 string, metadata: 3 map<string, string> }`.
    fn read(info: &[u8]) -> Result<Option<Self>, Malformed> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (mut told, mut domain) = (Self::default(), &b""[..]);
        for field in Fields(info) {
            match field? {
                (1, Value::Bytes(reason)) => told.reason = text(reason),
                (2, Value::Bytes(bytes)) => domain = bytes,
                (3, Value::Bytes(entry)) => {
                    let (mut key, mut value) = (&b""[..], &b""[..]);
                    for field in Fields(entry) {
                        match field? {
                            (1, Value::Bytes(bytes)) => key = bytes,
                            (2, Value::Bytes(bytes)) => value = bytes,
                            _ => {}
                        }
                    }
                    match key {
                        b"layer" => told.layer = text(value),
                        b"name" => told.name = text(value),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        Ok((domain == DOMAIN.as_bytes()).then_some(told))
    }
}

/// The value of `grpc-status-details-bin` for a rejection.
pub(super) fn details_of(rejected: &Rejected, code: Code) -> Option<HeaderValue> {
    let mut info = BytesMut::new();
    put_bytes(&mut info, 1, rejected.reason().as_str().as_bytes());
    put_bytes(&mut info, 2, DOMAIN.as_bytes());
    let origin = rejected.origin();
    for (key, value) in [("layer", origin.layer()), ("name", origin.name())] {
        let mut entry = BytesMut::new();
        put_bytes(&mut entry, 1, key.as_bytes());
        put_bytes(&mut entry, 2, value.as_bytes());
        put_bytes(&mut info, 3, &entry);
    }
    let mut any = BytesMut::new();
    put_bytes(&mut any, 1, ERROR_INFO.as_bytes());
    put_bytes(&mut any, 2, &info);
    // google.rpc.Status { code: 1 int32, message: 2 string, details: 3 repeated Any }
    let mut status = BytesMut::new();
    put_varint(&mut status, 1 << 3);
    put_varint(&mut status, u64::from(code.number()));
    put_bytes(&mut status, 2, rejected.word().as_bytes());
    put_bytes(&mut status, 3, &any);
    HeaderValue::try_from(base64_of(&status)).ok()
}
