//! The network between the SDK and a service: it notes every call, and can lose one.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The connection breaks before the service has heard of it.
    LostBefore,
    /// The service does it, and the connection breaks before the answer.
    LostAfter,
    /// The call never ends, and the service does not hear of it.
    HeldBefore,
    /// The call never ends, though the service has done it.
    HeldAfter,
}

/// A call that went through.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The operation, as AWS calls it.
    pub operation: String,
    /// The capacity units that DynamoDB charged, where it charged any.
    pub units: f64,
}

/// A proxy in front of one service; clones share one.
#[derive(Clone)]
pub struct Wire {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Told when a call is held.
    held: Arc<Notify>,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    fates: VecDeque<(String, Fate)>,
    down: bool,
}

impl Wire {
    pub async fn to(service: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
            held: Arc::default(),
        };
        tokio::spawn(wire.clone().serve(listener, service));
        wire
    }

    /// Lets the next calls of `operation` meet these fates, one each.
    pub fn lose(&self, operation: &str, fates: impl IntoIterator<Item = Fate>) {
        let fates = fates.into_iter().map(|fate| (operation.to_owned(), fate));
        self.state.lock().unwrap().fates.extend(fates);
    }

    /// Waits until a call is held.
    pub async fn held(&self) {
        self.held.notified().await;
    }

    /// Loses every call from now on, or none.
    pub fn down(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }

    /// The calls that reached the service since this was last asked.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }

    /// The names of those calls.
    pub fn take_operations(&self) -> Vec<String> {
        let calls = self.take_calls().into_iter();
        calls.map(|call| call.operation).collect()
    }

    async fn serve(self, listener: TcpListener, service: SocketAddr) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let (wire, client) = (self.clone(), client.clone());
            tokio::spawn(async move {
                let pass = service_fn(|request| wire.pass(&client, service, request));
                // A lost call ends its connection with an error: that is what it is for.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), pass)
                    .await;
            });
        }
    }

    async fn pass(
        &self,
        client: &reqwest::Client,
        service: SocketAddr,
        request: Request<Incoming>,
    ) -> io::Result<Response<Full<Bytes>>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let operation = operation(&parts.headers, &body);
        let fate = self.fate(&operation);
        match fate {
            Some(Fate::LostBefore) => return Err(io::ErrorKind::ConnectionReset.into()),
            Some(Fate::HeldBefore) => self.hold().await,
            _ => {}
        }
        let mut headers = parts.headers;
        headers.remove("content-length");
        let answer = client
            .post(format!("http://{service}/"))
            .headers(headers)
            .body(ask_for_units(&body))
            .send()
            .await
            .unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.unwrap();
        let units = serde_json::from_slice::<Value>(&body)
            .ok()
            .and_then(|answer| answer["ConsumedCapacity"]["CapacityUnits"].as_f64())
            .unwrap_or_default();
        self.state
            .lock()
            .unwrap()
            .calls
            .push(Call { operation, units });
        match fate {
            Some(Fate::LostAfter) => return Err(io::ErrorKind::ConnectionReset.into()),
            Some(Fate::HeldAfter) => self.hold().await,
            _ => {}
        }
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response.headers_mut().remove("transfer-encoding");
        Ok::<_, Infallible>(response).map_err(|never| match never {})
    }

    async fn hold(&self) {
        self.held.notify_one();
        std::future::pending::<()>().await;
    }

    fn fate(&self, operation: &str) -> Option<Fate> {
        let mut state = self.state.lock().unwrap();
        if state.down {
            return Some(Fate::LostBefore);
        }
        let next = state.fates.iter().position(|(lost, _)| lost == operation)?;
        state.fates.remove(next).map(|(_, fate)| fate)
    }
}

/// `DynamoDB_20120810.UpdateItem` is `UpdateItem`, with `RECIPIENT`, `CLIENT` or `STACK` behind it
/// where it is the item of one; a form's `Action=Publish` is `Publish`.
fn operation(headers: &http::HeaderMap, body: &[u8]) -> String {
    if let Some(target) = headers.get("x-amz-target") {
        let target = target.to_str().unwrap();
        let operation = target.rsplit('.').next().unwrap();
        let request: Value = serde_json::from_slice(body).unwrap();
        let id = request["Key"]["id"]["S"].as_str().unwrap_or_default();
        let kind = id.split('#').next().unwrap();
        return match kind {
            "RECIPIENT" | "CLIENT" | "STACK" => format!("{operation} {kind}"),
            _ => operation.to_owned(),
        };
    }
    let body = String::from_utf8_lossy(body);
    let action = body
        .split('&')
        .find_map(|field| field.strip_prefix("Action="));
    action.unwrap_or_default().to_owned()
}

/// DynamoDB tells what a call costs when it is asked to; the product does not ask.
fn ask_for_units(body: &Bytes) -> Bytes {
    match serde_json::from_slice::<Value>(body) {
        Ok(mut request) if request["TableName"].is_string() => {
            request["ReturnConsumedCapacity"] = json!("TOTAL");
            request.to_string().into()
        }
        _ => body.clone(),
    }
}
