//! Many callers at once on a network that loses calls at random, and functions that are killed: what
//! must always hold does, by the tables, the inbox and the answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::ServiceExt as _;
use twofa::clock::Clock;
use twofa::domain::client::{Countries, Profile};
use twofa::http::all_endpoints;
use twofa_local::inbox::Message;

use crate::fault_proxy::{Random, Storm};
use crate::harness::{App, LOGIN, REQUEST, Setting, VALIDATE, alone, code_in};
use crate::log;

/// A number that chooses all faults, to see a storm again as far as time allows.
const SEED: &str = "TWOFA_TEST_SEED";

const CLIENTS: [&str; 2] = ["mart", "shop"];

/// How many of a thousand calls of AWS meet a fault.
const PER_MILLE: u64 = 60;

/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(25);

/// What became of one request for a code: the only one to its number.
#[derive(Debug, Default)]
struct Story {
    client: usize,
    number: String,
    key: Option<String>,
    /// The id, once it was accepted.
    id: Option<String>,
    /// The id, if it was told that the message may have been sent.
    unknown: Option<String>,
    /// How many calls got no answer, or none but a 503.
    failed: usize,
    guesses: usize,
    right_guesses: usize,
    not_matched: usize,
    successes: usize,
}

/// By number, the codes that were sent to it, one for each message.
type Codes = BTreeMap<String, Vec<String>>;

/// The parts that the first client may send.
const BALANCE: u32 = 1_000_000;

struct Chaos {
    app: App,
    keys: [String; 2],
    function: Router,
    killed: Mutex<usize>,
    /// What all messages said: the inbox keeps the newest alone.
    sent: Arc<Mutex<Codes>>,
}

impl Chaos {
    /// The answer to a call, if the function lives to give one.
    async fn call(
        &self,
        client: usize,
        path: &str,
        key: Option<&str>,
        body: &Value,
        lives: Duration,
    ) -> Option<(StatusCode, Value)> {
        let mut request = Request::post(path).header("X-API-KEY", &self.keys[client]);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        let began = Instant::now();
        let answer = tokio::time::timeout(lives, self.function.clone().oneshot(request)).await;
        let Ok(Ok(answer)) = answer else {
            assert!(lives < PATIENCE, "no answer in {:?}", began.elapsed());
            *self.killed.lock().unwrap() += 1;
            return None;
        };
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Some((parts.status, serde_json::from_slice(&body).unwrap()))
    }

    /// Asks for a code, again and again if the call has a key; `true` when it was accepted.
    async fn request(&self, story: &mut Story, lives: Duration) -> bool {
        let order = json!({ "to": story.number, "template_id": LOGIN });
        let key = story.key.as_deref();
        match self.call(story.client, REQUEST, key, &order, lives).await {
            Some((StatusCode::OK, answer)) => {
                assert_eq!(answer["status"], "ACCEPTED", "{answer}");
                let id = answer["request_id"].as_str().unwrap().to_owned();
                assert!(story.id.as_ref().is_none_or(|first| *first == id), "one id");
                story.id = Some(id);
                while self.codes(&story.number).is_empty() {
                    tokio::task::yield_now().await;
                }
                true
            }
            Some((status, answer)) => {
                assert!([409, 429, 503].contains(&status.as_u16()), "{status}");
                if let Some(id) = answer["request_id"].as_str() {
                    story.unknown = Some(id.to_owned());
                }
                story.failed += 1;
                false
            }
            None => {
                story.failed += 1;
                false
            }
        }
    }

    /// Makes a guess; no right one is refused while it is the first of the right ones.
    async fn guess(&self, story: &mut Story, right: bool, key: Option<&str>, lives: Duration) {
        let code = self.codes(&story.number).pop_first().unwrap();
        let wrong = if code == "000000" { "111111" } else { "000000" };
        let guess = if right { &code } else { wrong };
        let question = json!({ "code": guess, "request_id": story.id });
        let first = story.right_guesses == 0 && story.guesses < 5;
        story.guesses += 1;
        story.right_guesses += usize::from(right);
        let answer = self
            .call(story.client, VALIDATE, key, &question, lives)
            .await;
        let Some((status, answer)) = answer else {
            return;
        };
        match answer["status"].as_str().unwrap() {
            "success" => {
                assert!(right);
                story.successes += 1;
            }
            "not_matched" => {
                assert!(!right, "a right code is never wrong");
                story.not_matched += 1;
            }
            "not_found" => assert!(!(right && first), "a right, timely, first guess is refused"),
            _ => assert_eq!(status, 503),
        }
    }

    /// The codes that were sent to a number, each once.
    fn codes(&self, number: &str) -> BTreeSet<String> {
        let sent = self.sent.lock().unwrap();
        sent.get(number).into_iter().flatten().cloned().collect()
    }

    /// How many messages were sent to a number.
    fn messages(&self, number: &str) -> usize {
        self.sent.lock().unwrap().get(number).map_or(0, Vec::len)
    }

    /// One request and what follows of it.
    async fn tell(&self, random: &mut Random, key: String) -> Story {
        let mut story = Story {
            client: usize::try_from(random.below(2)).unwrap(),
            number: self.app.somebody(),
            key: (!random.one_in(3)).then_some(key),
            ..Story::default()
        };
        for _ in 0..3 {
            let lives = life(random);
            if self.request(&mut story, lives).await || story.key.is_none() {
                break;
            }
        }
        if story.id.is_none() {
            return story;
        }
        for _ in 0..random.below(4) {
            let lives = life(random);
            self.guess(&mut story, false, None, lives).await;
        }
        if !random.one_in(4) {
            let lives = life(random);
            self.guess(&mut story, true, None, lives).await;
            self.guess(&mut story, true, None, PATIENCE).await;
        }
        story
    }
}

/// How long a function lives: now and then it is killed soon.
fn life(random: &mut Random) -> Duration {
    if random.one_in(20) {
        Duration::from_millis(random.below(300))
    } else {
        PATIENCE
    }
}

async fn storm(callers: u64, lasts: Duration, seed: u64) {
    let app = App::start_in(Setting::on(alone().await)).await;
    let mut keys = Vec::new();
    for (client, prepaid) in CLIENTS.into_iter().zip([true, false]) {
        let profile = Profile {
            prepaid,
            ..Profile::new(client, Countries::All)
        };
        keys.push(app.add(profile).await);
    }
    app.set_balance(CLIENTS[0], BALANCE).await;
    let chaos = Arc::new(Chaos {
        keys: keys.try_into().unwrap(),
        function: all_endpoints(app.fresh_state()),
        killed: Mutex::default(),
        sent: Arc::default(),
        app,
    });
    let reading = tokio::spawn(read(chaos.app.inbox.arrivals(), Arc::clone(&chaos.sent)));
    for (number, proxy) in (1..).zip([&chaos.app.dynamodb, &chaos.app.sns]) {
        proxy.storm(Storm {
            random: Random(seed ^ number),
            per_mille: PER_MILLE,
        });
    }
    let began = Instant::now();
    let ticking = {
        let chaos = Arc::clone(&chaos);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                chaos.app.advance(Duration::from_secs(1));
            }
        })
    };
    let mut calls = JoinSet::new();
    for caller in 0..callers {
        let chaos = Arc::clone(&chaos);
        calls.spawn(async move {
            let mut random = Random(seed.wrapping_add(caller << 32));
            let mut stories = Vec::new();
            while began.elapsed() < lasts {
                let key = format!("{caller}-{}", stories.len());
                stories.push(chaos.tell(&mut random, key).await);
            }
            stories
        });
    }
    let stories: Vec<_> = calls.join_all().await.into_iter().flatten().collect();
    ticking.abort();
    let late = chaos.app.dynamodb.slowed() + chaos.app.sns.slowed();
    chaos.app.dynamodb.heal().await;
    chaos.app.sns.heal().await;
    settle(&chaos.app).await;
    check(&chaos, stories, late).await;
    assert!(!reading.is_finished(), "all messages were read");
}

/// Waits until what killed functions had on its way has landed.
async fn settle(app: &App) {
    let mut before = app.everything_stored().await;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = app.everything_stored().await;
        if now == before {
            return;
        }
        before = now;
    }
}

/// Reads all messages as they come.
async fn read(mut arrivals: broadcast::Receiver<Message>, sent: Arc<Mutex<Codes>>) {
    loop {
        let message = arrivals.recv().await.unwrap();
        let code = code_in(&message.text);
        sent.lock()
            .unwrap()
            .entry(message.to)
            .or_default()
            .push(code);
    }
}

async fn check(chaos: &Chaos, mut stories: Vec<Story>, late: usize) {
    let app = &chaos.app;
    let log = log::text();
    // What may be left behind: by calls that were killed, and what the log owns up to.
    let noted = log.matches("failed to undo").count();
    let excused = *chaos.killed.lock().unwrap() + noted;
    // Every lease is over; what was accepted lately still lives.
    app.advance(Duration::from_secs(31));
    for story in stories
        .iter_mut()
        .filter(|s| s.key.is_some() && s.id.is_none())
    {
        assert!(chaos.request(story, PATIENCE).await, "finished: {story:?}");
    }
    let verifications: BTreeMap<_, _> = app
        .verifications()
        .await
        .into_iter()
        .map(|item| (item["id"].as_s().unwrap().clone(), item))
        .collect();
    let (mut orphans, mut accepted) = (0, [0_u64; 2]);
    let told: BTreeSet<_> = stories
        .iter()
        .flat_map(|story| [story.id.clone(), story.unknown.clone()])
        .flatten()
        .collect();
    let charged = |client: &str| {
        let of_client =
            |item: &&HashMap<String, AttributeValue>| item["client"].as_s().unwrap() == client;
        let items = verifications.values().filter(of_client);
        items
            .filter(|item| item["state"].as_s().unwrap() != "void")
            .count()
    };
    let balance = app.usage(CLIENTS[0]).await.balance.unwrap();
    let spent = usize::try_from(i64::from(BALANCE) - balance).unwrap();
    assert_eq!(
        spent,
        charged(CLIENTS[0]),
        "what is there is paid, and nothing else"
    );
    for (id, item) in &verifications {
        let state = item["state"].as_s().unwrap();
        orphans += usize::from(!told.contains(id) && state == "open");
        let attempts: u32 = item["attempts"].as_n().unwrap().parse().unwrap();
        assert!(attempts <= 5);
        assert!(item.keys().filter(|name| name.starts_with("code#")).count() <= 1);
    }
    assert!(
        orphans <= excused,
        "{orphans} codes live that nobody was told of"
    );
    let now = Clock::Manual(app.clock.clone()).now().as_millis();
    for story in &stories {
        let codes = chaos.codes(&story.number);
        assert!(codes.len() <= 1, "one code: {story:?}");
        let recipient = app.recipient(CLIENTS[story.client], &story.number).await;
        let (messages, entries) = (chaos.messages(&story.number), recipient.sends.len());
        assert!(
            messages <= entries,
            "{messages} messages, {entries} entries"
        );
        let Some(id) = story.id.clone() else { continue };
        accepted[story.client] += 1;
        assert_eq!(codes.len(), 1, "sent: {story:?}");
        assert!(story.successes <= 1, "succeeded once: {story:?}");
        let item = &verifications[&id];
        assert_eq!(item["client"].as_s().unwrap(), CLIENTS[story.client]);
        let attempts: usize = item["attempts"].as_n().unwrap().parse().unwrap();
        assert!(
            story.successes + story.not_matched <= attempts,
            "all are counted"
        );
        assert!(attempts <= story.guesses, "each is counted once: {story:?}");
        let other = 1 - story.client;
        let question = json!({ "code": codes.first(), "request_id": id });
        let (status, _) = chaos
            .call(other, VALIDATE, None, &question, PATIENCE)
            .await
            .unwrap();
        assert_eq!(status, 404, "nothing crosses clients");
        let (status, answer) = chaos
            .call(story.client, VALIDATE, None, &question, PATIENCE)
            .await
            .unwrap();
        let expires_at: i64 = item["expires_at"].as_n().unwrap().parse().unwrap();
        if story.right_guesses == 0 && now < expires_at {
            assert_eq!(answer["status"], "success", "{story:?}");
        } else if story.successes > 0 {
            assert_eq!(status, 404, "used: {story:?}");
        }
    }
    let accepted = accepted.iter().sum();
    check_counts(chaos, &log, accepted).await;
    nothing_secret_is_logged(chaos, &stories, &log);
    println(&format!(
        "{} requests, {accepted} accepted, {} killed, {late} late, {noted} left and logged, {orphans} orphans",
        stories.len(),
        chaos.killed.lock().unwrap(),
    ));
}

/// What is only counted is counted once by each write that counts it.
async fn check_counts(chaos: &Chaos, log: &str, accepted: u64) {
    let app = &chaos.app;
    let counts = app.dynamodb.take_operations();
    let counts = counts
        .iter()
        .filter(|call| *call == "UpdateItem USAGE")
        .count();
    let mut counted = 0;
    for client in CLIENTS {
        let days = app.usage(client).await.days;
        let (requests, parts) = days
            .values()
            .fold((0, 0), |sum, day| (sum.0 + day.0, sum.1 + day.1));
        assert_eq!(requests, parts, "each message has one part");
        counted += requests;
    }
    // A call whose caller is gone may be done without being noted.
    let killed = *chaos.killed.lock().unwrap();
    let unnoted = killed + counts / 10;
    assert!(
        (counts..=counts + unnoted).contains(&usize::try_from(counted).unwrap()),
        "{counted} counted by {counts} writes"
    );
    let uncounted = log.matches("failed to count").count() + killed;
    assert!(
        counted + uncounted as u64 >= accepted,
        "{counted} of {accepted}"
    );
}

fn nothing_secret_is_logged(chaos: &Chaos, stories: &[Story], log: &str) {
    let app = &chaos.app;
    for secret in [app.seed()].iter().chain(&chaos.keys) {
        assert!(!log.contains(secret), "a secret in the log");
    }
    let words: BTreeSet<_> = log.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    for story in stories {
        assert!(
            !words.contains(story.number.trim_start_matches('+')),
            "a number in the log"
        );
    }
}

#[expect(clippy::print_stdout, reason = "the seed is to be read")]
fn println(text: &str) {
    println!("{text}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "it configures the tests and not the product"
)]
fn seed() -> u64 {
    let seed = std::env::var(SEED).ok().map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or_else(|| {
        let bytes = twofa::entropy::bytes::<8>().unwrap();
        u64::from_be_bytes(bytes)
    });
    println(&format!("{SEED}={seed}"));
    seed
}

#[tokio::test]
async fn in_a_storm_the_promises_hold() {
    storm(50, Duration::from_secs(10), seed()).await;
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn in_a_long_storm_with_many_callers_the_promises_hold() {
    storm(200, Duration::from_mins(3), seed()).await;
}
