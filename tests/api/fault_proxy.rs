//! The network between the SDK and a service: it notes every call, and injects faults.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_async::rt::sleep::AsyncSleep as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Notify, watch};

use crate::sim_time::{Busy, SimTime};

/// How late a slow call reaches the service.
const SLOW: Duration = Duration::from_secs(2);

/// For how long connections are refused, by how often: the SDK tries again after pauses of at most 25,
/// 50 and 100 ms, drawn at random.
const REFUSED_ONCE: Duration = Duration::from_millis(1);
const REFUSED_THRICE: Duration = Duration::from_millis(175);

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFault {
    /// The connection breaks before the service has heard of it.
    LostBefore,
    /// The service does it, and the connection breaks before the answer.
    LostAfter,
    /// The call never ends, and the service does not hear of it.
    HeldBefore,
    /// The call never ends, though the service has done it.
    HeldAfter,
    /// Its connection breaks, and for a moment no other can be opened.
    Refused,
    /// The service answers that there are too many calls.
    Throttled,
    /// The service answers 500.
    Fails,
    /// The service does it two seconds later, whether or not anyone still waits for the answer.
    Slow,
    /// `DynamoDB` answers that another transaction has one of the items; what cannot meet one is throttled.
    Conflicts,
    /// `DynamoDB` answers that the same transaction is on its way; what is none is throttled.
    InProgress,
    /// The service does it and answers 200 with nothing in it.
    Emptied,
    /// The service does it, and a quarter of its answer comes.
    Cut,
    /// The service does it, and something else answers 200 with a page.
    Replaced,
}

/// Each of them.
pub const NETWORK_FAULTS: [NetworkFault; 13] = [
    NetworkFault::Refused,
    NetworkFault::LostBefore,
    NetworkFault::LostAfter,
    NetworkFault::HeldBefore,
    NetworkFault::HeldAfter,
    NetworkFault::Throttled,
    NetworkFault::Fails,
    NetworkFault::Slow,
    NetworkFault::Conflicts,
    NetworkFault::InProgress,
    NetworkFault::Emptied,
    NetworkFault::Cut,
    NetworkFault::Replaced,
];

/// How many calls meet a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// One.
    Once,
    /// One and those two that follow of its operation.
    Thrice,
    /// One and all that follow of its operation.
    Always,
    /// One and all that follow.
    Outage,
}

/// What befalls a service, until it is healed.
#[derive(Clone, Debug)]
pub struct FaultSchedule {
    /// The operation that it begins with.
    pub operation: String,
    /// How many calls of it are spared before.
    pub spared: usize,
    pub fault: NetworkFault,
    pub times: Times,
}

/// A call that went through.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The operation, as AWS calls it.
    pub operation: String,
    /// The capacity units that DynamoDB charged, where it charged any.
    pub units: f64,
}

/// Fates at random: so many calls in a thousand meet one, and which follows from the seed.
#[derive(Clone, Debug)]
pub struct Storm {
    pub random: Random,
    pub per_mille: u64,
}

/// Numbers that follow from a seed (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    pub fn one_in(&mut self, number: u64) -> bool {
        self.below(number) == 0
    }
}

impl Storm {
    fn fault(&mut self) -> Option<NetworkFault> {
        let met = self.random.below(1_000) < self.per_mille;
        let number = NETWORK_FAULTS.len() as u64;
        met.then(|| NETWORK_FAULTS[usize::try_from(self.random.below(number)).unwrap()])
    }
}

/// A proxy in front of one service; clones share one.
#[derive(Clone)]
pub struct FaultProxy {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Told when a call is held.
    held: Arc<Notify>,
    /// Whether connections can be opened.
    open: Arc<watch::Sender<bool>>,
    time: SimTime,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    faults: VecDeque<(String, NetworkFault)>,
    schedule: Option<FaultSchedule>,
    /// How many calls the schedule has met.
    met: usize,
    storm: Option<Storm>,
    /// How many slow calls have not reached the service yet.
    late: usize,
    /// How many calls were slow.
    slowed: usize,
    down: bool,
    /// How many connections were opened.
    connections: usize,
    /// So many of the first of them are silent, and nobody was told.
    silent: usize,
}

impl FaultProxy {
    pub fn to(service: SocketAddr, time: SimTime) -> Self {
        // While nothing listens, connections are refused, and the port stays ours.
        let port = bind(SocketAddr::from(([127, 0, 0, 1], 0)));
        let proxy = Self {
            address: port.local_addr().unwrap(),
            state: Arc::default(),
            held: Arc::default(),
            open: Arc::new(watch::Sender::new(true)),
            time,
        };
        let listener = proxy.listen();
        tokio::spawn(proxy.clone().serve(port, listener, service));
        proxy
    }

    fn listen(&self) -> TcpListener {
        bind(self.address).listen(1_024).unwrap()
    }

    /// Lets the next calls of `operation` meet these faults, one each.
    pub fn inject(&self, operation: &str, faults: impl IntoIterator<Item = NetworkFault>) {
        let faults = faults
            .into_iter()
            .map(|fault| (operation.to_owned(), fault));
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// Lets calls meet a fault as the schedule says.
    pub fn schedule(&self, schedule: FaultSchedule) {
        let mut state = self.state.lock().unwrap();
        (state.schedule, state.met) = (Some(schedule), 0);
    }

    /// Brings a storm over the service.
    pub fn storm(&self, storm: Storm) {
        self.state.lock().unwrap().storm = Some(storm);
    }

    /// Ends every schedule, and waits for the calls that are late.
    pub async fn heal(&self) {
        {
            let mut state = self.state.lock().unwrap();
            (state.schedule, state.storm) = (None, None);
        }
        self.open.send_replace(true);
        while self.state.lock().unwrap().late > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// How many calls have been slow.
    pub fn slowed(&self) -> usize {
        self.state.lock().unwrap().slowed
    }

    /// Waits until a call is held.
    pub async fn held(&self) {
        self.held.notified().await;
    }

    /// Has every connection die that is open now, without a word to either side.
    pub fn silence(&self) {
        let mut state = self.state.lock().unwrap();
        state.silent = state.connections;
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

    async fn serve(self, _port: TcpSocket, listener: TcpListener, service: SocketAddr) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut open = self.open.subscribe();
        let mut listener = Some(listener);
        loop {
            let accepted = async {
                match &listener {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            let stream = tokio::select! {
                accepted = accepted => accepted.unwrap().0,
                _ = open.changed() => {
                    let open = *open.borrow_and_update();
                    listener = open.then(|| listener.take().unwrap_or_else(|| self.listen()));
                    continue;
                }
            };
            let (proxy, client) = (self.clone(), client.clone());
            let connection = {
                let mut state = self.state.lock().unwrap();
                state.connections += 1;
                state.connections
            };
            tokio::spawn(async move {
                let pass = service_fn(|request| {
                    let is_silent = connection <= proxy.state.lock().unwrap().silent;
                    proxy.pass(&client, service, request, is_silent)
                });
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
        is_silent: bool,
    ) -> io::Result<Response<Full<Bytes>>> {
        let busy = self.time.busy();
        if is_silent {
            return self.hold(busy).await;
        }
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let headers = parts.headers;
        let operation = operation(&headers, &body);
        let fault = self.fault(&operation);
        match fault {
            Some(NetworkFault::LostBefore) => return Err(io::ErrorKind::ConnectionReset.into()),
            Some(NetworkFault::Refused) => {
                self.refuse();
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Some(NetworkFault::HeldBefore) => return self.hold(busy).await,
            Some(
                fault @ (NetworkFault::Throttled
                | NetworkFault::Fails
                | NetworkFault::Conflicts
                | NetworkFault::InProgress),
            ) => {
                return Ok(failure(&headers, &body, fault));
            }
            Some(NetworkFault::Slow) => {
                {
                    let mut state = self.state.lock().unwrap();
                    (state.late, state.slowed) = (state.late + 1, state.slowed + 1);
                }
                let (proxy, client) = (self.clone(), client.clone());
                let late = tokio::spawn(async move {
                    let wait = proxy.time.sleep(SLOW);
                    drop(busy);
                    wait.await;
                    let _busy = proxy.time.busy();
                    let answer = proxy.ask(&client, service, headers, &body, operation).await;
                    proxy.state.lock().unwrap().late -= 1;
                    answer
                });
                return late.await.map_err(io::Error::other);
            }
            _ => {}
        }
        let answer = self.ask(client, service, headers, &body, operation).await;
        match fault {
            Some(NetworkFault::LostAfter) => return Err(io::ErrorKind::ConnectionReset.into()),
            Some(NetworkFault::HeldAfter) => return self.hold(busy).await,
            Some(fault @ (NetworkFault::Emptied | NetworkFault::Cut | NetworkFault::Replaced)) => {
                let whole = answer
                    .into_body()
                    .collect()
                    .await
                    .map_err(io::Error::other)?;
                return Ok(Response::new(Full::new(replaced_body(
                    &whole.to_bytes(),
                    fault,
                ))));
            }
            _ => {}
        }
        Ok(answer)
    }

    /// Has the service do it.
    async fn ask(
        &self,
        client: &reqwest::Client,
        service: SocketAddr,
        mut headers: http::HeaderMap,
        body: &Bytes,
        operation: String,
    ) -> Response<Full<Bytes>> {
        headers.remove("content-length");
        let answer = client
            .post(format!("http://{service}/"))
            .headers(headers)
            .body(ask_for_units(body))
            .send()
            .await
            .unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.unwrap();
        let units = serde_json::from_slice::<Value>(&body)
            .ok()
            .map(|answer| units(&answer["ConsumedCapacity"]))
            .unwrap_or_default();
        let call = Call { operation, units };
        self.state.lock().unwrap().calls.push(call);
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response.headers_mut().remove("transfer-encoding");
        response
    }

    async fn hold(&self, busy: Busy) -> io::Result<Response<Full<Bytes>>> {
        drop(busy);
        self.held.notify_one();
        std::future::pending().await
    }

    /// Refuses connections for as long as the schedule lasts.
    fn refuse(&self) {
        let times = self
            .state
            .lock()
            .unwrap()
            .schedule
            .as_ref()
            .map(|t| t.times);
        let lasts = match times {
            None | Some(Times::Once) => Some(REFUSED_ONCE),
            Some(Times::Thrice) => Some(REFUSED_THRICE),
            Some(Times::Always | Times::Outage) => None,
        };
        if self.open.send_replace(false)
            && let Some(lasts) = lasts
        {
            let (open, wait) = (Arc::clone(&self.open), self.time.sleep(lasts));
            tokio::spawn(async move {
                wait.await;
                open.send_replace(true);
            });
        }
    }

    fn fault(&self, operation: &str) -> Option<NetworkFault> {
        let mut state = self.state.lock().unwrap();
        if state.down {
            return Some(NetworkFault::LostBefore);
        }
        if !*self.open.borrow() {
            return Some(NetworkFault::LostBefore);
        }
        if let Some(next) = state.faults.iter().position(|(lost, _)| lost == operation) {
            return state.faults.remove(next).map(|(_, fault)| fault);
        }
        if let Some(storm) = &mut state.storm {
            return storm.fault();
        }
        let met = state.met;
        let schedule = state.schedule.as_mut()?;
        let same = schedule.operation == operation;
        if same && schedule.spared > 0 {
            schedule.spared -= 1;
            return None;
        }
        let fault = schedule.fault;
        let limit = match schedule.times {
            Times::Thrice if fault != NetworkFault::Refused => 3,
            // Connections are refused for a while, whatever the number.
            Times::Once | Times::Thrice => 1,
            Times::Always | Times::Outage => usize::MAX,
        };
        let follows = schedule.times == Times::Outage && met > 0;
        if met == limit || !(same || follows) {
            return None;
        }
        state.met += 1;
        Some(fault)
    }
}

fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// What is left of a successful answer.
fn replaced_body(whole: &Bytes, fault: NetworkFault) -> Bytes {
    match fault {
        NetworkFault::Emptied => Bytes::new(),
        NetworkFault::Cut => whole.slice(..whole.len() / 4),
        _ => Bytes::from_static(b"<!DOCTYPE html><title>Welcome</title>"),
    }
}

/// The units of one table or of several.
fn units(capacity: &Value) -> f64 {
    let tables = capacity.as_array().into_iter().flatten();
    let tables = tables.chain([capacity]);
    tables.filter_map(|one| one["CapacityUnits"].as_f64()).sum()
}

/// The answer of this call's service that there are too many calls, that it failed, or that others have
/// the items.
fn failure(
    headers: &http::HeaderMap,
    request: &[u8],
    fault: NetworkFault,
) -> Response<Full<Bytes>> {
    let target = headers.get("x-amz-target").map(|t| t.to_str().unwrap());
    let operation = target.and_then(|target| target.strip_prefix("DynamoDB_20120810."));
    let fault = match (operation, fault) {
        (Some("TransactWriteItems"), fault)
        | (Some("UpdateItem"), fault @ NetworkFault::Conflicts) => fault,
        (_, NetworkFault::Fails) => NetworkFault::Fails,
        _ => NetworkFault::Throttled,
    };
    let code = match (operation, fault) {
        (Some("TransactWriteItems"), NetworkFault::Conflicts) => "TransactionCanceledException",
        (Some(_), NetworkFault::Conflicts) => "TransactionConflictException",
        (Some(_), NetworkFault::InProgress) => "TransactionInProgressException",
        (Some(_), NetworkFault::Fails) => "InternalServerError",
        (Some(_), _) => "ProvisionedThroughputExceededException",
        (None, NetworkFault::Fails) if target.is_some() => "InternalServiceError",
        (None, _) if target.is_some() => "ThrottlingException",
        (None, NetworkFault::Fails) => "InternalError",
        (None, _) => "Throttling",
    };
    let body = match (operation, target) {
        (Some(_), _) => {
            let code = format!("com.amazonaws.dynamodb.v20120810#{code}");
            let mut body = json!({ "__type": code, "message": "" });
            if fault == NetworkFault::Conflicts {
                let request: Value = serde_json::from_slice(request).unwrap();
                let items = request["TransactItems"].as_array().map_or(0, Vec::len);
                let mut reasons = vec![json!({ "Code": "None" }); items];
                if let Some(last) = reasons.last_mut() {
                    *last = json!({ "Code": "TransactionConflict" });
                }
                body["CancellationReasons"] = reasons.into();
            }
            body.to_string()
        }
        (None, Some(_)) => json!({ "__type": code, "message": "" }).to_string(),
        (None, None) => format!(
            "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error>\
             <Type>Sender</Type><Code>{code}</Code></Error></ErrorResponse>"
        ),
    };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = if fault == NetworkFault::Fails {
        http::StatusCode::INTERNAL_SERVER_ERROR
    } else {
        http::StatusCode::BAD_REQUEST
    };
    response
}

/// `DynamoDB_20120810.UpdateItem` is `UpdateItem`, with `RECIPIENT`, `USAGE` or `CAP` behind it where it is
/// the item of one; a form's `Action=Publish` is `Publish`.
fn operation(headers: &http::HeaderMap, body: &[u8]) -> String {
    if let Some(target) = headers.get("x-amz-target") {
        let target = target.to_str().unwrap();
        let operation = target.rsplit('.').next().unwrap();
        let request: Value = serde_json::from_slice(body).unwrap();
        let id = request["Key"]["id"]["S"].as_str().unwrap_or_default();
        let kind = id.split('#').next().unwrap();
        return match kind {
            "RECIPIENT" | "USAGE" | "CAP" => format!("{operation} {kind}"),
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
        Ok(mut request)
            if request["TableName"].is_string() || request["TransactItems"].is_array() =>
        {
            request["ReturnConsumedCapacity"] = json!("TOTAL");
            request.to_string().into()
        }
        _ => body.clone(),
    }
}
