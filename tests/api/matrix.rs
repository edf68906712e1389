//! Every call of AWS on every path meets every fault, and a function is killed between any two of
//! them: what must always hold does, at once and after the network has healed.
//!
//! The calls are not listed here: a path is first gone without a fault, and they are noted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use twofa::domain::client::{Countries, Profile};
use twofa::http::all_endpoints;
use twofa::store::UsageCounter;
use twofa_local::inbox::InjectedError;

use crate::fault_proxy::{FaultProxy, FaultSchedule, NETWORK_FAULTS, NetworkFault, Times};
use crate::harness::{
    API_KEY, Answer, App, DAY, LOGIN, Machine, NUMBER, REQUEST, Sent, Setting, TEMPLATE, VALIDATE,
    alone, code_in,
};
use crate::log;
use crate::sim_time::SimTime;

/// When Lambda ends a function (`Timeout` in `template.yaml`).
const LAMBDA_TIMEOUT: Duration = Duration::from_secs(25);

/// How long before that a call is answered at the latest.
const FOR_THE_ANSWER: Duration = Duration::from_secs(1);

/// After how long a call that died is taken over.
const LEASE: Duration = Duration::from_secs(30);

/// How many cases run side by side.
const SIDE_BY_SIDE: usize = 3;

const BALANCE: u32 = 100;

/// What a caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Path {
    /// Asks for a code.
    Request,
    /// Asks for one with an `Idempotency-Key`.
    Keyed,
    /// Does so again.
    Replay,
    /// Does so again, after the first call died.
    TakeOver,
    /// Asks for one too many.
    Limited,
    /// Does so with an `Idempotency-Key`.
    LimitedKeyed,
    /// Asks for one that SNS refuses to send.
    OptedOut,
    /// Does so with an `Idempotency-Key`.
    OptedOutKeyed,
    /// Asks for one where the stack has a cap.
    Capped,
    /// Does so when the cap is reached.
    OverCap,
    /// Has the right code checked.
    Right,
    /// Does so after a wrong one.
    RightAtLast,
    /// Does so with an `Idempotency-Key`.
    RightKeyed,
    /// Has a wrong code checked.
    Wrong,
    /// Does so with an `Idempotency-Key`.
    WrongKeyed,
    /// Lists the templates.
    List,
}

const PATHS: [Path; 16] = [
    Path::Request,
    Path::Keyed,
    Path::Replay,
    Path::TakeOver,
    Path::Limited,
    Path::LimitedKeyed,
    Path::OptedOut,
    Path::OptedOutKeyed,
    Path::Capped,
    Path::OverCap,
    Path::Right,
    Path::RightAtLast,
    Path::RightKeyed,
    Path::Wrong,
    Path::WrongKeyed,
    Path::List,
];

const TIMES: [Times; 4] = [Times::Once, Times::Thrice, Times::Always, Times::Outage];

impl Path {
    /// What comes of it without a fault.
    fn usual(self) -> &'static str {
        match self {
            Self::Request | Self::Keyed | Self::Replay | Self::TakeOver | Self::Capped => {
                "ACCEPTED"
            }
            Self::Limited | Self::LimitedKeyed | Self::OverCap => "429",
            Self::OptedOut | Self::OptedOutKeyed => "REJECTED",
            Self::Right | Self::RightAtLast | Self::RightKeyed => "success",
            Self::Wrong | Self::WrongKeyed => "not_matched",
            Self::List => "list",
        }
    }

    fn is_keyed(self) -> bool {
        match self {
            Self::Keyed
            | Self::Replay
            | Self::TakeOver
            | Self::LimitedKeyed
            | Self::OptedOutKeyed
            | Self::RightKeyed
            | Self::WrongKeyed => true,
            Self::Request
            | Self::Limited
            | Self::OptedOut
            | Self::Capped
            | Self::OverCap
            | Self::Right
            | Self::RightAtLast
            | Self::Wrong
            | Self::List => false,
        }
    }

    fn is_guess(self) -> bool {
        matches!(self.usual(), "success" | "not_matched")
    }

    fn is_right(self) -> bool {
        self.usual() == "success"
    }
}

/// Whether the function has read the secret and the directory before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Cold,
    Warm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    DynamoDb,
    /// SNS and Secrets Manager.
    Sns,
}

/// One call of AWS on a path: the operation, and how many of it came before.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Point {
    service: Service,
    operation: String,
    nth: usize,
}

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Meets(NetworkFault, Times),
    /// The function is killed while the call is held so.
    Killed(NetworkFault),
}

#[derive(Clone, Debug)]
struct Case {
    path: Path,
    start: Start,
    schedule: Option<(Point, Event)>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.start, self.path)?;
        match &self.schedule {
            None => Ok(()),
            Some((point, event)) => {
                write!(f, ", {}[{}] {event:?}", point.operation, point.nth)
            }
        }
    }
}

impl Case {
    /// Whether the disturbed call is made again until it is through, or not needed for the answer.
    fn is_survived(&self) -> bool {
        let Some((point, event)) = &self.schedule else {
            return true;
        };
        let Event::Meets(fault, times) = *event else {
            return false;
        };
        let for_ever = [Times::Always, Times::Outage].contains(&times);
        let silent = [
            NetworkFault::HeldBefore,
            NetworkFault::HeldAfter,
            NetworkFault::Slow,
            NetworkFault::Refused,
        ];
        match point.operation.as_str() {
            // What may have been sent is not sent again.
            "Publish" => match fault {
                NetworkFault::Throttled | NetworkFault::Conflicts | NetworkFault::InProgress => {
                    !for_ever
                }
                NetworkFault::Slow => true,
                _ => false,
            },
            // They have more time, and more attempts.
            "TransactWriteItems" => !for_ever,
            "UpdateItem" if self.path.is_guess() => !for_ever,
            // The answer stands whatever becomes of mark and count.
            "UpdateItem" | "UpdateItem USAGE" => true,
            "UpdateItem CAP" if self.path == Path::OverCap => false,
            _ => !(for_ever || times == Times::Thrice && silent.contains(&fault)),
        }
    }

    /// Whether what is only counted may be counted too often or not at all.
    fn is_miscounted(&self) -> bool {
        let counts = ["UpdateItem USAGE", "UpdateItem CAP"];
        match &self.schedule {
            Some((point, Event::Meets(fault, times))) => {
                // Where no connection can be opened, the count beside a mark fails too.
                counts.contains(&point.operation.as_str())
                    || *times == Times::Outage
                    || *fault == NetworkFault::Refused
            }
            Some((_, Event::Killed(_))) => true,
            None => false,
        }
    }
}

/// What the tables hold that a request takes or leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tables {
    requests: i64,
    parts: i64,
    spent: i64,
    sends: i64,
    stack: i64,
    failures: u32,
    items: usize,
    live: usize,
}

impl Tables {
    /// The parts that were paid and the entries in the windows since `before`.
    fn charged(&self, before: &Self) -> (i64, i64) {
        (self.spent - before.spent, self.sends - before.sends)
    }

    /// The requests and parts of the client, and the parts of a capped stack, that were counted since.
    fn counted(&self, before: &Self) -> [i64; 3] {
        [
            self.requests - before.requests,
            self.parts - before.parts,
            self.stack - before.stack,
        ]
    }
}

/// A path on which everything is ready for the last call.
struct Fixture {
    app: App,
    path: Path,
    key: String,
    function: Router,
    /// The code that is guessed at.
    sent: Option<Sent>,
    before: Tables,
    /// How many messages are of no interest.
    old_messages: usize,
}

impl Fixture {
    async fn set(case: &Case, machine: &Machine) -> Self {
        let app = App::start_in(Setting {
            daily_part_cap: match case.path {
                Path::Capped => Some(BALANCE),
                Path::OverCap => Some(1),
                _ => None,
            },
            time: SimTime::jumping(),
            ..Setting::on(machine.clone())
        })
        .await;
        let profile = Profile {
            prepaid: true,
            ..Profile::new("shop", Countries::All)
        };
        let key = app.add(profile).await;
        app.set_balance("shop", BALANCE).await;
        let function = all_endpoints(app.fresh_state());
        let mut fixture = Self {
            before: tables(&app).await,
            app,
            path: case.path,
            key,
            function,
            sent: None,
            old_messages: 0,
        };
        fixture.prepare().await;
        if case.start == Start::Cold {
            fixture.function = all_endpoints(fixture.app.fresh_state());
        }
        fixture.before = tables(&fixture.app).await;
        fixture
    }

    async fn prepare(&mut self) {
        let id = "00000000-0000-4000-8000-000000000000";
        self.guess("1", id).await.is_not_found();
        match self.path {
            Path::Request | Path::Keyed | Path::Capped | Path::List => {}
            Path::Replay => assert_eq!(word(&self.act().await), "ACCEPTED"),
            Path::TakeOver => {
                self.app.sns.inject("Publish", [NetworkFault::HeldBefore]);
                assert!(self.act_killed(&self.app.sns).await.is_none());
                self.app.advance(LEASE);
            }
            Path::OverCap => {
                let order = json!({ "to": self.app.somebody(), "template_id": LOGIN });
                let answer = self.send(REQUEST, None, Some(order)).await;
                self.app.sent(&answer);
                self.old_messages = 1;
            }
            Path::Limited | Path::LimitedKeyed => {
                let answer = self.send(REQUEST, None, Some(order())).await;
                self.app.sent(&answer);
                self.old_messages = 1;
            }
            Path::OptedOut | Path::OptedOutKeyed => {
                self.app.inbox.fail_next(vec![InjectedError::OptedOut; 20]);
            }
            Path::Right | Path::RightAtLast | Path::RightKeyed | Path::Wrong | Path::WrongKeyed => {
                let answer = self.send(REQUEST, None, Some(order())).await;
                let sent = self.app.sent(&answer);
                if self.path == Path::RightAtLast {
                    let answer = self.guess(&sent.wrong_code(), &sent.request_id).await;
                    assert_eq!(word(&answer), "not_matched");
                }
                self.sent = Some(sent);
            }
        }
    }

    /// The path's last call, on the function as it is.
    async fn act(&self) -> Answer {
        let key = self.path.is_keyed().then_some("one");
        match &self.sent {
            _ if self.path == Path::List => self.send(TEMPLATE, None, None).await,
            Some(sent) => {
                let code = if self.path.is_right() {
                    sent.code.clone()
                } else {
                    sent.wrong_code()
                };
                let question = json!({ "code": code, "request_id": sent.request_id });
                self.send(VALIDATE, key, Some(question)).await
            }
            None => self.send(REQUEST, key, Some(order())).await,
        }
    }

    /// The same, by a function that is killed when its call of `proxy` is held: no answer, unless
    /// none was.
    async fn act_killed(&self, proxy: &FaultProxy) -> Option<Answer> {
        // The call is dropped, as with a process that ends.
        tokio::select! {
            answer = self.act() => Some(answer),
            () = proxy.held() => None,
        }
    }

    async fn guess(&self, code: &str, id: &str) -> Answer {
        let question = json!({ "code": code, "request_id": id });
        self.send(VALIDATE, None, Some(question)).await
    }

    async fn send(&self, path: &str, key: Option<&str>, body: Option<Value>) -> Answer {
        send(&self.function, &self.key, path, key, body).await
    }

    /// The codes that were sent for the requests of interest, each once.
    fn codes(&self) -> BTreeSet<String> {
        let messages = self.app.messages();
        let new = messages.len() - self.old_messages;
        let codes = messages.iter().take(new).map(|m| code_in(&m.text));
        codes.collect()
    }

    fn proxy(&self, service: Service) -> &FaultProxy {
        match service {
            Service::DynamoDb => &self.app.dynamodb,
            Service::Sns => &self.app.sns,
        }
    }
}

async fn send(
    function: &Router,
    api_key: &str,
    path: &str,
    key: Option<&str>,
    body: Option<Value>,
) -> Answer {
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut request = Request::builder().method(method).uri(path);
    request = request.header("X-API-KEY", api_key);
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = request.body(Body::from(body)).unwrap();
    let (parts, body) = function
        .clone()
        .oneshot(request)
        .await
        .unwrap()
        .into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

fn order() -> Value {
    json!({ "to": NUMBER, "template_id": LOGIN })
}

/// An answer in a word.
fn word(answer: &Answer) -> String {
    let json = answer.json();
    match (answer.status.as_u16(), json["status"].as_str()) {
        (200, None) => "list".to_owned(),
        (200, Some(status)) => status.to_owned(),
        (404, Some("not_found")) => "not_found".to_owned(),
        (503, _) if json["request_id"].is_string() => "unknown".to_owned(),
        (status, _) => status.to_string(),
    }
}

async fn tables(app: &App) -> Tables {
    let usage = app.usage("shop").await;
    let (requests, parts) = usage.days.get(&DAY).copied().unwrap_or_default();
    let stack = app.usage_of(UsageCounter::Stack).await;
    let recipient = app.recipient("shop", NUMBER).await;
    assert!(
        app.usage("demo").await.days.is_empty(),
        "nothing crosses clients"
    );
    let verifications = app.verifications().await;
    for item in &verifications {
        let codes = item.keys().filter(|name| name.starts_with("code#"));
        assert!(codes.count() <= 1, "one digest");
    }
    Tables {
        requests: i64::try_from(requests).unwrap(),
        parts: i64::try_from(parts).unwrap(),
        spent: i64::from(BALANCE) - usage.balance.unwrap_or(BALANCE.into()),
        sends: i64::try_from(recipient.sends.len()).unwrap(),
        stack: i64::try_from(stack.days.get(&DAY).map_or(0, |day| day.1)).unwrap(),
        failures: recipient.failures,
        items: verifications.len(),
        live: app.live_codes().await,
    }
}

/// What may be left behind that should not be, and why.
#[derive(Clone, Copy, Debug)]
struct Excuses {
    /// A charge and a live code: the undo got no answer, and the log says so, or the function was killed.
    charge: bool,
    /// Failures that could not be forgotten, and the log says so; or the write landed late.
    failures: bool,
}

impl Excuses {
    fn of(case: &Case, killed: bool) -> Self {
        let log = log::text();
        let not_undone = log.contains("failed to undo");
        let unforgotten = log.contains("failed to forget");
        assert!(
            !case.is_survived() || !(not_undone || unforgotten),
            "a short fault leaves nothing behind"
        );
        Self {
            charge: not_undone || killed,
            failures: unforgotten || killed,
        }
    }
}

/// What became of a case.
struct Gone {
    /// The calls of AWS that were made, in order.
    calls: Vec<(Service, String)>,
    /// The answer in a word.
    said: String,
}

async fn go(case: &Case, machine: &Machine) -> Gone {
    let fixture = Fixture::set(case, machine).await;
    let app = &fixture.app;
    for service in [Service::DynamoDb, Service::Sns] {
        fixture.proxy(service).take_calls();
    }
    log::clear();
    let began = app.time().now();
    let mut kill_on = None;
    if let Some((point, event)) = &case.schedule {
        let proxy = fixture.proxy(point.service);
        let (fault, times) = match *event {
            Event::Meets(fault, times) => (fault, times),
            Event::Killed(fault) => (fault, Times::Once),
        };
        proxy.schedule(FaultSchedule {
            operation: point.operation.clone(),
            spared: point.nth,
            fault,
            times,
        });
        kill_on = matches!(event, Event::Killed(_)).then_some(proxy);
    }
    let answer = match kill_on {
        None => Some(fixture.act().await),
        Some(proxy) => fixture.act_killed(proxy).await,
    };
    let took = app.time().now().saturating_sub(began);
    assert!(
        took + FOR_THE_ANSWER < LAMBDA_TIMEOUT,
        "answered after {took:?}"
    );
    assert_eq!(answer.is_none(), kill_on.is_some(), "killed");
    app.dynamodb.heal().await;
    app.sns.heal().await;
    let mut calls = Vec::new();
    for service in [Service::DynamoDb, Service::Sns] {
        let operations = fixture.proxy(service).take_operations();
        calls.extend(operations.into_iter().map(|operation| (service, operation)));
    }
    let said = answer.as_ref().map_or("killed".to_owned(), word);
    let usual = case.path.usual();
    assert!(
        said == usual
            || (!case.is_survived() && ["503", "unknown", "killed"].contains(&said.as_str())),
        "{answer:?}"
    );
    let excuses = Excuses::of(case, answer.is_none());
    if case.path.is_guess() {
        check_guess(&fixture, &said, excuses).await;
    } else if case.path != Path::List {
        check_request(&fixture, case, answer.as_ref(), &said, excuses).await;
    }
    nothing_secret_is_logged(&fixture);
    Gone { calls, said }
}

async fn check_request(
    fixture: &Fixture,
    case: &Case,
    answer: Option<&Answer>,
    said: &str,
    excuses: Excuses,
) {
    let (app, path, before) = (&fixture.app, fixture.path, &fixture.before);
    // What a call that was accepted is charged: parts paid, entries in the windows.
    let (paid, entered) = match path {
        Path::Replay => (0, 0),
        // The call that died has paid.
        Path::TakeOver => (0, 1),
        _ => (1, 1),
    };
    let counts = i64::from(path != Path::Replay);
    let now = tables(app).await;
    let charged = now.charged(before);
    let codes = fixture.codes();
    assert!(codes.len() <= 1, "all messages bear one code: {codes:?}");
    match said {
        "ACCEPTED" | "unknown" => {
            let may_be_less = said == "unknown" && path == Path::TakeOver;
            assert!(
                charged == (paid, entered) || (may_be_less && charged == (0, 0)),
                "charged: {charged:?}"
            );
            assert_eq!((now.items, now.live), (1, 1), "one code");
            if said == "ACCEPTED" {
                assert_eq!(codes.len(), 1, "sent");
            }
            if !case.is_miscounted() && !may_be_less {
                let capped = i64::from(path == Path::Capped);
                assert_eq!(now.counted(before), [counts, counts, counts * capped]);
            }
        }
        _ => {
            // Whoever does not get as far as taking a dead call over leaves what that one had.
            let most = i64::from(excuses.charge);
            assert!((0..=most).contains(&charged.0), "paid: {charged:?}");
            assert!((0..=most).contains(&charged.1), "entered: {charged:?}");
            let left = usize::from(excuses.charge);
            assert!(now.live <= before.live + left, "a live code after {said}");
            assert!(now.items <= before.items + 1);
            if !case.is_miscounted() {
                assert_eq!(now.counted(before), [0; 3]);
            }
        }
    }
    assert_entered(fixture, &now);

    let mut accepted = answer.filter(|_| said == "ACCEPTED").cloned();
    if path.is_keyed() {
        let again = finish(fixture, said, paid, excuses).await;
        if let Some(first) = &accepted {
            assert_eq!(first.body, again.body);
        }
        accepted = (path.usual() == "ACCEPTED").then_some(again);
    } else if said == "unknown" {
        accepted = answer.filter(|_| !fixture.codes().is_empty()).cloned();
    }
    if let Some(accepted) = accepted {
        let id = accepted.json()["request_id"].as_str().unwrap().to_owned();
        let code = fixture.codes().pop_first().unwrap();
        succeeds_once(fixture, &code, &id).await;
    } else {
        // What was not undone dies by itself.
        app.advance(Duration::from_mins(10));
        for item in app.verifications().await {
            let id = item["id"].as_s().unwrap();
            for code in fixture.codes() {
                fixture.guess(&code, id).await.is_not_found();
            }
        }
    }
}

/// Repeats a request with an `Idempotency-Key` until it has its usual answer.
async fn finish(fixture: &Fixture, said: &str, paid: i64, excuses: Excuses) -> Answer {
    let (app, path) = (&fixture.app, fixture.path);
    let mut again = fixture.act().await;
    for _ in 0..4 {
        let wait = match word(&again).as_str() {
            "409" => again.is_wait(409, "REQUEST_IN_PROGRESS"),
            "429" if path.usual() != "429" && excuses.charge => again.is_limited(),
            _ => break,
        };
        // Those who ask for a young call would ask for half a minute.
        app.advance(Duration::from_secs(wait).max(LEASE));
        again = fixture.act().await;
    }
    // What may have been sent is never undone: whatever refuses it then is not known.
    let may_be_unknown = path.usual() != "ACCEPTED" && (said == "unknown" || excuses.charge);
    assert!(
        word(&again) == path.usual() || may_be_unknown,
        "finished: {again:?}"
    );
    let now = tables(app).await;
    let charged = now.charged(&fixture.before);
    if path.usual() == "ACCEPTED" {
        let most = i64::from(excuses.charge);
        assert!(
            (paid..=paid + most).contains(&charged.0),
            "paid: {charged:?}"
        );
        assert_eq!((now.items, now.live), (1, 1), "one code in the end");
        assert_eq!(fixture.codes().len(), 1, "one code in all messages");
    } else if !may_be_unknown {
        assert_eq!(charged, (0, 0));
        assert!(now.live <= fixture.before.live, "no code in the end");
    }
    assert_entered(fixture, &now);
    again
}

/// Asserts that each message has its entry in the windows.
fn assert_entered(fixture: &Fixture, now: &Tables) {
    let messages = fixture.app.messages().len() - fixture.old_messages;
    let entries = usize::try_from(now.sends).unwrap();
    assert!(
        messages <= entries,
        "{messages} messages, {entries} entries"
    );
}

async fn succeeds_once(fixture: &Fixture, code: &str, id: &str) {
    let question = json!({ "code": code, "request_id": id });
    let stranger = send(&fixture.function, API_KEY, VALIDATE, None, Some(question)).await;
    stranger.is_not_found();
    fixture.guess(code, id).await.is_success();
    fixture.guess(code, id).await.is_not_found();
}

async fn check_guess(fixture: &Fixture, said: &str, excuses: Excuses) {
    let (app, path) = (&fixture.app, fixture.path);
    let Sent { request_id, code } = fixture.sent.as_ref().unwrap();
    let guesses = |item: &std::collections::HashMap<String, _>| {
        let attempts: &aws_sdk_dynamodb::types::AttributeValue = &item["attempts"];
        attempts.as_n().unwrap().parse::<u32>().unwrap()
    };
    let earlier = u32::from(path == Path::RightAtLast);
    let item = app.stored(request_id).await.unwrap();
    let now = tables(app).await;
    assert_eq!(now.charged(&fixture.before), (0, 0));
    assert_eq!(now.counted(&fixture.before), [0; 3]);
    let counted = guesses(&item) - earlier;
    let verified = item["state"].as_s().unwrap() == "verified";
    match said {
        "success" => {
            assert!(verified && counted == 1);
            assert!(
                now.failures == 0 || excuses.failures,
                "failures are forgotten"
            );
        }
        "not_matched" => {
            assert_eq!((counted, now.failures), (1, 1), "counted once");
        }
        _ => assert!(counted <= 1 && now.failures <= 1, "counted at most once"),
    }
    if path.is_keyed() {
        assert_eq!(word(&fixture.act().await), path.usual(), "the first answer");
        let item = app.stored(request_id).await.unwrap();
        assert_eq!(guesses(&item), 1, "counted once");
        let failures = tables(app).await.failures;
        assert_eq!(failures, u32::from(!path.is_right()), "a failure once");
    }
    if path.is_right() && (verified || path.is_keyed()) {
        fixture.guess(code, request_id).await.is_not_found();
    } else {
        succeeds_once(fixture, code, request_id).await;
    }
}

fn nothing_secret_is_logged(fixture: &Fixture) {
    let log = log::text();
    let seed = fixture.app.seed();
    let number = NUMBER.trim_start_matches('+');
    for secret in [number, &fixture.key, API_KEY, &seed] {
        assert!(!log.contains(secret), "a secret in the log");
    }
    for code in fixture.codes() {
        // Six digits may be part of a number of milliseconds or an id, but no word of their own.
        let words = log.split(|c: char| !c.is_ascii_alphanumeric());
        assert!(
            !words.into_iter().any(|word| word == code),
            "a code in the log"
        );
    }
}

/// Has `go` done by a thread with nothing else to do, so that the log is its own; what is wrong, if
/// anything is.
fn alone_on_thread(case: &Case, machine: &Machine) -> Result<Gone, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let gone = catch_unwind(AssertUnwindSafe(|| runtime.block_on(go(case, machine))));
    gone.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        format!("{case}: {}", text.unwrap_or_default())
    })
}

/// The calls of AWS on a path.
fn points(path: Path, start: Start, machine: &Machine) -> Vec<Point> {
    let case = Case {
        path,
        start,
        schedule: None,
    };
    let gone = alone_on_thread(&case, machine);
    let calls = gone.map(|gone| gone.calls).unwrap();
    let mut seen = BTreeMap::<String, usize>::new();
    let points = calls.into_iter().map(|(service, operation)| {
        let before = seen.entry(operation.clone()).or_default();
        *before += 1;
        let nth = *before - 1;
        Point {
            service,
            operation,
            nth,
        }
    });
    points.collect()
}

/// The whole matrix. A cold start is of interest where it makes calls that a warm one does not.
fn whole(machine: &Machine) -> Vec<Case> {
    let mut cases = Vec::new();
    for path in PATHS {
        let warm = points(path, Start::Warm, machine);
        let cold = points(path, Start::Cold, machine);
        let cold = cold.into_iter().filter(|point| !warm.contains(point));
        let warm = warm.iter().cloned().map(|point| (Start::Warm, point));
        for (start, point) in warm.chain(cold.map(|point| (Start::Cold, point))) {
            let meets = NETWORK_FAULTS
                .iter()
                .flat_map(|fault| TIMES.map(|times| Event::Meets(*fault, times)));
            let killed = [NetworkFault::HeldBefore, NetworkFault::HeldAfter].map(Event::Killed);
            cases.extend(meets.chain(killed).map(|event| Case {
                path,
                start,
                schedule: Some((point.clone(), event)),
            }));
        }
    }
    cases
}

/// Goes through `cases`, prints what came of them, and fails if anything must not have.
fn go_through(cases: Vec<Case>, machine: &Machine) {
    let number = cases.len();
    let queue = Mutex::new(VecDeque::from(cases));
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().pop_front();
                    let Some(case) = next else { break };
                    let result = alone_on_thread(&case, machine);
                    done.lock().unwrap().push((case, result));
                }
            });
        }
    });
    let done = done.into_inner().unwrap();
    let table = print(&done);
    println(&format!("{table}{number} cases"));
    let wrong: Vec<_> = done
        .iter()
        .filter_map(|(_, came)| came.as_ref().err())
        .collect();
    assert!(wrong.is_empty(), "{} cases: {wrong:#?}", wrong.len());
}

/// A line for each call of each path: how often each answer was given.
fn print(done: &[(Case, Result<Gone, String>)]) -> String {
    let mut lines = BTreeMap::<_, BTreeMap<&str, usize>>::new();
    for (case, came) in done {
        let (point, _) = case.schedule.as_ref().unwrap();
        let line = format!(
            "{:?} {:?}: {}[{}]",
            case.path, case.start, point.operation, point.nth
        );
        let said = came.as_ref().map_or("WRONG", |gone| gone.said.as_str());
        *lines
            .entry((case.path, line))
            .or_default()
            .entry(said)
            .or_default() += 1;
    }
    let mut table = String::new();
    for ((_, line), answers) in lines {
        let answers: Vec<_> = answers
            .iter()
            .map(|(said, n)| format!("{said} {n}"))
            .collect();
        writeln!(table, "{line:<55} {}", answers.join(", ")).unwrap();
    }
    table
}

#[expect(clippy::print_stdout, reason = "the matrix is to be read")]
fn println(text: &str) {
    println!("{text}");
}

fn machine() -> Machine {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(alone())
}

#[test]
#[ignore = "takes minutes"]
fn whatever_becomes_of_any_call_the_promises_hold() {
    let machine = machine();
    go_through(whole(&machine), &machine);
}

/// Of each call on each path, one case in seventeen; the faults take turns.
#[test]
fn whatever_becomes_of_a_call_the_promises_hold() {
    let machine = machine();
    let cases = whole(&machine).into_iter().step_by(17).collect();
    go_through(cases, &machine);
}
