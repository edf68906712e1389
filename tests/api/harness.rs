//! One running API for one test.

use std::any::Any;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_async::rt::sleep::SharedAsyncSleep;
use aws_types::SdkConfig;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use twofa::aws::key_set_reader::KeySetReader;
use twofa::clock::{Clock, ManualClock, Timestamp};
use twofa::domain::api_key::{ApiKey, StoredKey};
use twofa::domain::client::{Countries, Profile};
use twofa::domain::digest::Digest;
use twofa::domain::ids::{ClientId, Version};
use twofa::domain::phone::PhoneNumber;
use twofa::domain::template::TemplateFields;
use twofa::state::{RequestState, StackLimits};
use twofa::store::{
    Change, ChangeError, Changes, Directory, RecipientState, Record, UsageCounter, UsageState,
    Verifications,
};
use twofa_local::demo;
use twofa_local::guard::Guard;
use twofa_local::inbox::{Inbox, Message};
use twofa_local::services::{self, Backends, DIRECTORY_TABLE, Storage, VERIFICATIONS_TABLE};

use crate::fault_proxy::FaultProxy;
use crate::log;
use crate::openapi;
use crate::second_engine;
use crate::sim_time::SimTime;

pub use twofa_local::demo::{API_KEY, LOGIN, PAYMENT};

pub const REQUEST: &str = "/api/v1.0/2fa/request";
pub const VALIDATE: &str = "/api/v1.0/2fa/validate";
pub const TEMPLATE: &str = "/api/v1.0/2fa/template";

/// A number in a range of the United Kingdom, in E.164 form.
pub const NUMBER: &str = "+447400123456";

/// When every test begins: a morning in the year 2100, so that the engine, which goes by the real
/// clock, collects nothing.
pub const START: Timestamp = Timestamp::from_millis(4_102_473_600_000);

/// The day of it, since the Unix epoch.
pub const DAY: i64 = START.as_millis() / 86_400_000;

/// Shared by the tests, but for those with a hundred callers at once, which have it alone: they would
/// make the others run into time-outs.
static MACHINE: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);

/// The API of one test, on services of its own.
pub struct App {
    pub inbox: Inbox,
    pub clock: ManualClock,
    /// The network to DynamoDB.
    pub dynamodb: FaultProxy,
    /// The network to SNS and Secrets Manager.
    pub sns: FaultProxy,
    /// The directory as the operator writes it: it does not go over the network above.
    pub directory: Directory,
    /// The tables as they are, likewise.
    pub tables: aws_sdk_dynamodb::Client,
    /// The secret, likewise.
    pub key_set_reader: KeySetReader,
    /// Where the API listens.
    pub api: SocketAddr,
    http: reqwest::Client,
    people: AtomicU32,
    backends: Backends,
    setting: Setting,
    _tasks: JoinSet<()>,
}

/// The machine, or a share of it, for as long as it is held.
pub type Machine = Arc<dyn Any + Send + Sync>;

/// What an API runs in.
#[derive(Clone)]
pub struct Setting {
    /// The cap on the SMS parts that all clients together send in a day.
    pub daily_part_cap: Option<u32>,
    pub allow_test_numbers: bool,
    /// What the SDK's time-outs go by.
    pub time: SimTime,
    /// Held for as long as the API runs.
    pub _machine: Machine,
}

impl Setting {
    /// Like a laptop.
    pub fn on(machine: Machine) -> Self {
        Self {
            daily_part_cap: None,
            allow_test_numbers: true,
            time: SimTime::real(),
            _machine: machine,
        }
    }

    fn state(&self, dynamodb: &FaultProxy, sns: &FaultProxy, clock: &ManualClock) -> RequestState {
        let stack = StackLimits {
            daily_part_cap: self.daily_part_cap,
            allow_test_numbers: self.allow_test_numbers,
        };
        let dynamodb = twofa::aws::dynamodb(&self.sdk_config(dynamodb));
        let clock = Clock::Manual(clock.clone());
        services::state_through(dynamodb, &self.sdk_config(sns), stack, clock)
    }

    fn sdk_config(&self, proxy: &FaultProxy) -> SdkConfig {
        let config = services::sdk_config(proxy.address).into_builder();
        config
            .sleep_impl(SharedAsyncSleep::new(self.time.clone()))
            .build()
    }
}

/// The machine without any other test.
pub async fn alone() -> Machine {
    Arc::new(Arc::clone(&MACHINE).write_owned().await)
}

/// An answer of the API.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Asserts the status and the whole body, and the headers that every answer bears.
    #[track_caller]
    pub fn is(&self, status: u16, body: Value) {
        assert_eq!((self.status.as_u16(), self.json()), (status, body));
        openapi::lists_codes_of(&self.json());
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        let call_id = self.header("x-request-id").unwrap();
        assert!(uuid::Uuid::try_parse(call_id).is_ok(), "{call_id}");
    }

    /// Asserts that a guess was right, for the first time.
    #[track_caller]
    pub fn is_success(&self) {
        self.is(200, success());
    }

    /// Asserts that a guess was wrong.
    #[track_caller]
    pub fn is_not_matched(&self) {
        self.is(200, not_matched());
    }

    /// Asserts that there is no such code, or not any more.
    #[track_caller]
    pub fn is_not_found(&self) {
        self.is(404, not_found());
    }

    /// Asserts that it is a refusal with this code, and returns after how many seconds to come back.
    #[track_caller]
    pub fn is_wait(&self, status: u16, code: &str) -> u64 {
        self.is(
            status,
            json!({ "status": "REJECTED", "error_message": code }),
        );
        self.header("retry-after").unwrap().parse().unwrap()
    }

    /// Asserts that it is a 429, and returns after how many seconds to come back.
    #[track_caller]
    pub fn is_limited(&self) -> u64 {
        self.is_wait(429, "TOO_MANY_REQUESTS")
    }

    /// Asserts that it is a refusal with this code and, of a 503, when to come back.
    #[track_caller]
    pub fn is_refusal(&self, status: u16, code: &str) {
        self.is(
            status,
            json!({ "status": "REJECTED", "error_message": code }),
        );
        let retry_after = (status == 503).then_some("1");
        assert_eq!(self.header("retry-after"), retry_after);
    }

    /// Asserts that it is a 503 because the message service may have taken the message; returns the
    /// request's id and after how many seconds to come back.
    #[track_caller]
    pub fn is_unknown(&self) -> (String, u64) {
        let id = self.json()["request_id"].as_str().unwrap().to_owned();
        self.is(
            503,
            json!({ "status": "REJECTED", "error_message": "GENERAL_ERROR", "request_id": id }),
        );
        (id, self.header("retry-after").unwrap().parse().unwrap())
    }

    /// Asserts that it is a 400 with these problems and no others.
    #[track_caller]
    pub fn is_invalid(&self, problems: &[(&str, &str)]) {
        let errors: Vec<_> = problems
            .iter()
            .map(|(property, error)| json!({ "property": property, "error": error }))
            .collect();
        self.is(400, json!({ "errors": errors }));
    }

    /// Asserts that it is a rejection with this code, and returns its request id.
    #[track_caller]
    pub fn is_rejection(&self, code: &str) -> String {
        let id = self.json()["request_id"].as_str().unwrap().to_owned();
        self.is(
            200,
            json!({ "status": "REJECTED", "request_id": id, "error_message": code }),
        );
        id
    }
}

/// A guess at a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    Right,
    Wrong,
}

/// A code on its way.
#[derive(Clone, Debug)]
pub struct Sent {
    pub request_id: String,
    pub code: String,
}

impl Sent {
    /// A code of the same length that is not the right one.
    pub fn wrong_code(&self) -> String {
        let digit = u32::from(self.code.as_bytes()[0] - b'0');
        let other = char::from_digit((digit + 1) % 10, 10).unwrap();
        format!("{other}{}", &self.code[1..])
    }
}

impl App {
    pub async fn start() -> Self {
        Self::start_with(None, true).await
    }

    /// With the machine to itself, for a test with many callers at once.
    pub async fn start_alone() -> Self {
        Self::start_in(Setting::on(alone().await)).await
    }

    /// With a cap on the SMS parts that all clients together send in a day, and with or without
    /// test numbers.
    pub async fn start_with(daily_part_cap: Option<u32>, allow_test_numbers: bool) -> Self {
        let shared = Arc::clone(&MACHINE).read_owned().await;
        let setting = Setting::on(Arc::new(shared));
        Self::start_in(Setting {
            daily_part_cap,
            allow_test_numbers,
            ..setting
        })
        .await
    }

    /// With time-outs that take no time.
    pub async fn start_jumping() -> Self {
        let shared = Arc::clone(&MACHINE).read_owned().await;
        let setting = Setting::on(Arc::new(shared));
        let time = SimTime::jumping();
        Self::start_in(Setting { time, ..setting }).await
    }

    pub async fn start_in(setting: Setting) -> Self {
        log::start();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut tasks = JoinSet::new();
        let mut backends = Backends::start(any, any, &Storage::Memory, &Guard::default())
            .await
            .unwrap();
        if let Some(engine) = second_engine::start(backends.dynamodb, &mut tasks).await {
            backends.dynamodb = engine;
        }
        let (dynamodb, sns) = (
            FaultProxy::to(backends.dynamodb, setting.time.clone()),
            FaultProxy::to(backends.sns, setting.time.clone()),
        );
        tasks.spawn(setting.time.clone().run());
        let clock = ManualClock::starting_at(START);
        let state = setting.state(&dynamodb, &sns, &clock);
        let tables = twofa::aws::dynamodb(&services::sdk_config(backends.dynamodb));
        let directory = Directory::new(tables.clone(), DIRECTORY_TABLE);
        demo::seed(&directory).await.unwrap();

        let listener = TcpListener::bind(any).await.unwrap();
        let api = listener.local_addr().unwrap();
        tasks.spawn(services::serve(
            listener,
            services::app(state, backends.inbox.clone()),
        ));
        Self {
            inbox: backends.inbox.clone(),
            clock,
            dynamodb,
            sns,
            directory,
            tables,
            key_set_reader: KeySetReader::new(
                twofa::aws::secrets_manager(&services::sdk_config(backends.sns)),
                services::SECRET,
            ),
            api,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            people: AtomicU32::new(1_000_000),
            backends,
            setting,
            _tasks: tasks,
        }
    }

    /// Powers of their own, with nothing read yet: a function that has just started.
    pub fn fresh_state(&self) -> RequestState {
        self.setting.state(&self.dynamodb, &self.sns, &self.clock)
    }

    /// The tables as operators change them, through the same network.
    pub fn changes(&self) -> Changes {
        let config = self.setting.sdk_config(&self.dynamodb);
        Changes::new(twofa::aws::dynamodb(&config), DIRECTORY_TABLE)
    }

    /// What the SDK's time-outs go by.
    pub fn time(&self) -> &SimTime {
        &self.setting.time
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let url = format!("http://{}{path}", self.api);
        let mut request = self.http.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.text().await.unwrap(),
        }
    }

    /// Posts JSON with the demo client's key.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_as(API_KEY, path, body).await
    }

    /// Posts JSON with an `Idempotency-Key`.
    pub async fn post_with(&self, key: &str, path: &str, body: &Value) -> Answer {
        let headers = [
            ("X-API-KEY", API_KEY),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", key),
        ];
        self.call(Method::POST, path, &headers, body.to_string())
            .await
    }

    pub async fn post_as(&self, key: &str, path: &str, body: Value) -> Answer {
        let headers = [("X-API-KEY", key), ("Content-Type", "application/json")];
        self.call(Method::POST, path, &headers, body.to_string())
            .await
    }

    pub async fn request_to(&self, number: &str) -> Answer {
        self.post(REQUEST, json!({ "to": number, "template_id": LOGIN }))
            .await
    }

    /// Has a code sent to somebody new and reads it off the recipient's phone.
    pub async fn send(&self) -> Sent {
        let answer = self.request_to(&self.somebody()).await;
        self.sent(&answer)
    }

    /// A number that was not sent to before.
    pub fn somebody(&self) -> String {
        let number = self.people.fetch_add(1, Ordering::Relaxed);
        format!("+44740{number:07}")
    }

    /// The code that the newest message brought for this accepted request.
    #[track_caller]
    pub fn sent(&self, answer: &Answer) -> Sent {
        let request_id = answer.json()["request_id"].as_str().unwrap().to_owned();
        answer.is(
            200,
            json!({ "status": "ACCEPTED", "request_id": request_id, "error_message": "OK" }),
        );
        Sent {
            request_id,
            code: code_in(&self.messages()[0].text),
        }
    }

    pub async fn request_as(&self, key: &str, number: &str) -> Answer {
        self.post_as(key, REQUEST, json!({ "to": number, "template_id": LOGIN }))
            .await
    }

    pub async fn validate(&self, code: &str, request_id: &str) -> Answer {
        self.post(VALIDATE, json!({ "code": code, "request_id": request_id }))
            .await
    }

    /// Validates the code that was sent, or a wrong one.
    pub async fn guess(&self, sent: &Sent, guess: Guess) -> Answer {
        let code = match guess {
            Guess::Right => sent.code.clone(),
            Guess::Wrong => sent.wrong_code(),
        };
        self.validate(&code, &sent.request_id).await
    }

    /// All messages, newest first.
    pub fn messages(&self) -> Vec<Message> {
        self.inbox.messages(None)
    }

    pub fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
    }

    /// Writes a client of this name with the demo client's template; returns its key.
    pub async fn add_client(&self, name: &str, countries: &[&str]) -> String {
        let countries: Countries = serde_json::from_value(json!(countries)).unwrap();
        let max_price = Some("0.10".to_owned());
        self.add(Profile {
            max_price,
            ..Profile::new(name, countries)
        })
        .await
    }

    /// Writes a client with a fresh key and the demo client's template; returns the key.
    pub async fn add(&self, mut profile: Profile) -> String {
        let name = profile.name.clone();
        let key = format!("2fa_{name}_{}", "k".repeat(43));
        profile.api_keys = vec![StoredKey {
            digest: ApiKey::parse(&key).unwrap().digest(),
            created_at: 0,
            expires_at: None,
        }];
        let id = ClientId::parse(&name).unwrap();
        self.directory.put_profile(&id, &profile).await.unwrap();
        self.add_template(&name, json!({ "id": LOGIN })).await;
        key
    }

    /// Writes a template for a client: the given fields over those of a plain one.
    pub async fn add_template(&self, client: &str, fields: Value) {
        let mut template = json!({
            "id": "11111111-1111-4111-8111-111111111111",
            "name": "Plain",
            "from": "Twofa",
            "text": "${code}",
        });
        for (name, value) in fields.as_object().unwrap() {
            template[name] = value.clone();
        }
        let template: TemplateFields = serde_json::from_value(template).unwrap();
        let client = ClientId::parse(client).unwrap();
        self.directory
            .put_template(&client, &template)
            .await
            .unwrap();
    }

    /// The one stored verification.
    pub async fn stored(&self, request_id: &str) -> Option<HashMap<String, AttributeValue>> {
        let id = AttributeValue::S(request_id.to_owned());
        let answer = self
            .tables
            .get_item()
            .table_name(VERIFICATIONS_TABLE)
            .key("id", id)
            .send()
            .await
            .unwrap();
        answer.item
    }

    /// Every item of both tables.
    pub async fn everything_stored(&self) -> Vec<HashMap<String, AttributeValue>> {
        let mut items = Vec::new();
        for table in [DIRECTORY_TABLE, VERIFICATIONS_TABLE] {
            let pages = self
                .tables
                .scan()
                .table_name(table)
                .into_paginator()
                .items();
            let page: Vec<_> = pages.send().collect::<Result<_, _>>().await.unwrap();
            items.extend(page);
        }
        items
    }

    /// What all keys are derived from.
    pub fn seed(&self) -> String {
        let secret: Value =
            serde_json::from_str(self.backends.secrets_manager.current().expose_secret()).unwrap();
        secret["seed"].as_str().unwrap().to_owned()
    }

    /// Takes the countries out of a client's record.
    pub async fn spoil_profile(&self, client: &str) {
        self.corrupt(client, "PROFILE", "REMOVE countries").await;
    }

    /// Takes the text out of a client's template.
    pub async fn spoil_template(&self, client: &str, template: &str) {
        self.corrupt(client, &format!("TEMPLATE#{template}"), "REMOVE #text")
            .await;
    }

    async fn corrupt(&self, client: &str, sort_key: &str, change: &str) {
        let key = |name: &str| AttributeValue::S(name.to_owned());
        let update = self.tables.update_item().table_name(DIRECTORY_TABLE);
        let mut update = update
            .key("pk", key(&format!("CLIENT#{client}")))
            .key("sk", key(sort_key))
            .update_expression(change);
        if change.contains('#') {
            update = update.expression_attribute_names("#text", "text");
        }
        update.send().await.unwrap();
    }

    pub async fn drop_verifications(&self) {
        let drop = self.tables.delete_table().table_name(VERIFICATIONS_TABLE);
        drop.send().await.unwrap();
    }

    /// What a client has used in the last week.
    pub async fn usage(&self, client: &str) -> UsageState {
        let client = ClientId::parse(client).unwrap();
        self.usage_of(UsageCounter::Client(&client)).await
    }

    pub async fn usage_of(&self, account: UsageCounter<'_>) -> UsageState {
        let now = Clock::Manual(self.clock.clone()).now();
        self.table().read_usage(account, now).await.unwrap()
    }

    pub async fn set_balance(&self, client: &str, parts: impl Into<Option<u32>>) {
        let set = |draft: Change| draft.set_balance(VERIFICATIONS_TABLE, parts.into());
        assert!(change(&self.tables, client, set).await);
    }

    /// Forgets a recipient's failures and sends; `false` when it is not remembered.
    pub async fn unlock(&self, recipient: Digest) -> bool {
        let unlock = |draft: Change| draft.unlock(VERIFICATIONS_TABLE, recipient);
        change(&self.tables, "demo", unlock).await
    }

    /// The verifications as the operator sees them: it does not go over the network above.
    pub fn table(&self) -> Verifications {
        Verifications::new(self.tables.clone(), VERIFICATIONS_TABLE)
    }

    /// The digest of a client's recipient.
    pub async fn recipient_digest(&self, client: &str, number: &str) -> Digest {
        let secret = self.key_set_reader.get(START).await.unwrap();
        let client = ClientId::parse(client).unwrap();
        secret.recipient_digest(&client, &PhoneNumber::parse(number).unwrap())
    }

    /// What is stored of a client's recipient.
    pub async fn recipient(&self, client: &str, number: &str) -> RecipientState {
        let digest = self.recipient_digest(client, number).await;
        self.table().read_recipient(digest).await.unwrap()
    }

    /// The stored verifications.
    pub async fn verifications(&self) -> Vec<HashMap<String, AttributeValue>> {
        let is_one = |item: &HashMap<_, _>| !item.contains_key("pk") && item.contains_key("client");
        self.everything_stored()
            .await
            .into_iter()
            .filter(is_one)
            .collect()
    }

    /// How many of the stored codes could still be validated.
    pub async fn live_codes(&self) -> usize {
        let open = AttributeValue::S("open".to_owned());
        let verifications = self.verifications().await;
        verifications
            .iter()
            .filter(|item| item["state"] == open)
            .count()
    }

    /// Asserts that there is no trace of a code: nothing stored, nothing published.
    pub async fn nothing_happened(&self) {
        assert!(self.verifications().await.is_empty());
        assert_eq!(self.inbox.publishes(), 0);
    }
}

/// The run of digits in a message.
pub fn code_in(text: &str) -> String {
    let start = text.find(|c: char| c.is_ascii_digit()).unwrap();
    text[start..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect()
}

pub fn success() -> Value {
    json!({ "verified": true, "status": "success" })
}

pub fn not_matched() -> Value {
    json!({ "verified": false, "status": "not_matched" })
}

pub fn not_found() -> Value {
    json!({ "verified": false, "status": "not_found" })
}

/// The record of an operator's change of `client`.
pub fn record(client: &str) -> Record {
    Record {
        id: Version::random().unwrap(),
        client: ClientId::parse(client).unwrap(),
        at: START.as_millis(),
        by: "operator".to_owned(),
        what: "test".to_owned(),
        details: Vec::new(),
    }
}

/// Makes an operator's change of `client`; `false` when its condition does not hold.
pub async fn change(
    tables: &aws_sdk_dynamodb::Client,
    client: &str,
    with: impl FnOnce(Change) -> Result<Change, ChangeError>,
) -> bool {
    let changes = Changes::new(tables.clone(), DIRECTORY_TABLE);
    let change = with(changes.draft(record(client))).unwrap();
    changes.carry_out(change).await.unwrap()
}
