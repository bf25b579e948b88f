//! A server of HTTP/2 that follows a script for each stream.

use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::JoinSet;

use crate::server::{MockHandle, Server};

/// What a server does next on a stream, when it has read the request. After the last it is silent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Frame {
    /// The headers, `:status` among them, and whether they are the end.
    Head(&'static [(&'static str, &'static str)], bool),
    Data(&'static [u8], bool),
    /// The same data until nobody listens.
    Forever(&'static [u8]),
    Trailers(&'static [(&'static str, &'static str)]),
    Reset(Reason),
    /// The whole connection ends.
    GoAway(Reason),
    /// The same, without a word.
    Cut,
}

/// Every stream of every connection goes by the script.
pub(crate) async fn serve(script: &[Frame]) -> Server {
    let script: Arc<[Frame]> = script.into();
    Server::with(move |_, socket, handle| connection(socket, handle, Arc::clone(&script))).await
}

async fn connection(socket: TcpStream, handle: MockHandle, script: Arc<[Frame]>) {
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    let (end, mut ends) = mpsc::unbounded_channel();
    let ping = Arc::new(Mutex::new(connection.ping_pong().expect("the first to ask")));
    let (handle, mut streams) = (Arc::new(handle), JoinSet::new());
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let (script, end, ping) = (Arc::clone(&script), end.clone(), Arc::clone(&ping));
                    let handle = Arc::clone(&handle);
                    streams.spawn(async move {
                        stream(request, respond, &script, &handle, end, &ping).await;
                    });
                }
                _ => return,
            },
            Some(end) = ends.recv() => match end {
                Some(reason) => connection.abrupt_shutdown(reason),
                None => return,
            },
        }
    }
}

async fn stream(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    script: &[Frame],
    handle: &MockHandle,
    end: mpsc::UnboundedSender<Option<Reason>>,
    ping: &Mutex<PingPong>,
) {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.data().await {} // what is sent here fits into the window
    handle.request();
    let mut sending: Option<SendStream<Bytes>> = None;
    for frame in script {
        if sending.is_some()
            && matches!(frame, Frame::Reset(_) | Frame::GoAway(_) | Frame::Cut)
            && heard(&mut *ping.lock().await).await.is_err()
        {
            return;
        }
        match *frame {
            Frame::Head(headers, last) => {
                let Ok(sent) = respond.send_response(head(headers), last) else { return };
                sending = Some(sent);
            }
            Frame::Data(data, last) => {
                let sending = sending.as_mut().expect("a head first");
                let _ = sending.send_data(Bytes::from_static(data), last);
            }
            Frame::Forever(data) => forever(sending.as_mut().expect("a head first"), data).await,
            Frame::Trailers(trailers) => {
                let sending = sending.as_mut().expect("a head first");
                let _ = sending.send_trailers(head(trailers).headers().clone());
            }
            Frame::Reset(reason) => match sending.as_mut() {
                Some(sending) => sending.send_reset(reason),
                None => respond.send_reset(reason),
            },
            Frame::GoAway(reason) => end.send(Some(reason)).unwrap_or_default(),
            Frame::Cut => end.send(None).unwrap_or_default(),
        }
    }
    handle.silent();
    // To drop a stream that is not over would reset it.
    Notify::new().notified().await;
}

/// Waits until the client has seen what was sent. A ping overtakes what is about to be sent, so that it
/// takes a second one to be sure.
async fn heard(ping: &mut PingPong) -> Result<(), h2::Error> {
    for _ in 0..2 {
        ping.ping(Ping::opaque()).await?;
    }
    Ok(())
}

async fn forever(sending: &mut SendStream<Bytes>, data: &'static [u8]) {
    loop {
        sending.reserve_capacity(data.len());
        let room = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await;
        let Some(Ok(room)) = room else { return };
        if sending.send_data(Bytes::from_static(&data[..room.min(data.len())]), false).is_err() {
            return;
        }
    }
}

fn head(headers: &[(&'static str, &'static str)]) -> Response<()> {
    let mut response = Response::new(());
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        match *name {
            ":status" => *response.status_mut() = value.parse().unwrap(),
            name => {
                map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
        }
    }
    *response.headers_mut() = map;
    response
}
