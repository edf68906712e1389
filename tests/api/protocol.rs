//! The whole protocol against a model of it: whatever callers do in whatever order, the promises
//! hold.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::{Value, json};
use twofa::domain::api_key::ApiKey;
use twofa::domain::ids::ClientId;

use crate::harness::{API_KEY, Answer, App, LOGIN, REQUEST, VALIDATE, code_in};

const PEOPLE: [&str; 3] = ["+447400123456", "+33612345678", "+14155550123"];

/// What a caller does, or what happens. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    /// Asks for a code, under one of a few keys or none.
    Request { person: usize, key: Option<u8> },
    /// Makes a guess, right or wrong, at one of the requests so far.
    Validate {
        request: usize,
        right: bool,
        key: Option<u8>,
    },
    /// Time passes.
    Wait { seconds: u64 },
    /// The operator gives the client another API key.
    ChangeKey,
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop::option::weighted(0.5, 0..4_u8);
    prop_oneof![
        4 => (0..PEOPLE.len(), key.clone()).prop_map(|(person, key)| Step::Request { person, key }),
        8 => (any::<usize>(), any::<bool>(), key)
            .prop_map(|(request, right, key)| Step::Validate { request, right, key }),
        3 => (1..200_u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::ChangeKey),
    ]
}

/// What the model knows of an accepted request.
struct Known {
    code: String,
    expires_at: u64,
    compared: u32,
    verified: bool,
    /// The answers given under a key: the same question gets the same answer.
    answers: BTreeMap<(u8, bool), Value>,
}

struct Model {
    app: App,
    api_key: String,
    now: u64,
    requests: Vec<(String, Known)>,
    /// By key: the person and the answer.
    keyed: BTreeMap<u8, (usize, String)>,
}

impl Model {
    async fn call(&self, path: &str, key: Option<u8>, body: Value) -> Answer {
        let name = key.map(|key| format!("key-{key}"));
        let mut headers = vec![("X-API-KEY", self.api_key.as_str())];
        headers.extend(name.as_deref().map(|name| ("Idempotency-Key", name)));
        self.app
            .call(reqwest::Method::POST, path, &headers, body.to_string())
            .await
    }

    async fn request(&mut self, person: usize, key: Option<u8>) {
        let before = self.app.messages().len();
        let order = json!({ "to": PEOPLE[person], "template_id": LOGIN });
        let answer = self.call(REQUEST, key, order).await;
        let messages = self.app.messages();
        let sent = messages.len() - before;
        match key.and_then(|key| self.keyed.get(&key)) {
            Some((first, _)) if *first != person => assert_eq!(answer.status, 422),
            Some((_, body)) => assert_eq!(&answer.body, body),
            None if answer.status == 429 => {
                assert!((1..=600).contains(&answer.is_limited()));
            }
            None => {
                assert_eq!(sent, 1, "accepted is sent: {answer:?}");
                let id = answer.json()["request_id"].as_str().unwrap().to_owned();
                answer.is(
                    200,
                    json!({ "status": "ACCEPTED", "request_id": id, "error_message": "OK" }),
                );
                assert_eq!(messages[0].to, PEOPLE[person]);
                let known = Known {
                    code: code_in(&messages[0].text),
                    expires_at: self.now + 300,
                    compared: 0,
                    verified: false,
                    answers: BTreeMap::new(),
                };
                self.requests.push((id, known));
                if let Some(key) = key {
                    self.keyed.insert(key, (person, answer.body));
                }
                return;
            }
        }
        assert_eq!(sent, 0, "nothing else is: {}", answer.status);
    }

    async fn validate(&mut self, request: usize, right: bool, key: Option<u8>) {
        if self.requests.is_empty() {
            return;
        }
        let chosen = request % self.requests.len();
        let (id, known) = &self.requests[chosen];
        let wrong = if known.code == "000000" {
            "111111"
        } else {
            "000000"
        };
        let code = if right { known.code.as_str() } else { wrong };
        let answer = self
            .call(VALIDATE, key, json!({ "code": code, "request_id": id }))
            .await;
        let now = self.now;
        let known = &mut self.requests[chosen].1;
        let alive = now < known.expires_at && known.compared < 5 && !known.verified;
        let repeated = key.and_then(|key| known.answers.get(&(key, right)));
        let (status, body) = match repeated {
            Some(first) => (200, first.clone()),
            None if !alive => (404, json!({ "verified": false, "status": "not_found" })),
            None => {
                known.compared += 1;
                known.verified = right;
                let status = if right { "success" } else { "not_matched" };
                let body = json!({ "verified": right, "status": status });
                if let Some(key) = key {
                    known.answers.insert((key, right), body.clone());
                }
                (200, body)
            }
        };
        answer.is(status, body);
    }

    async fn change_key(&mut self) {
        let demo = ClientId::parse("demo").unwrap();
        let mut profile = self
            .app
            .directory
            .query(&demo)
            .await
            .unwrap()
            .unwrap()
            .profile;
        let fresh = ApiKey::random(&demo).unwrap();
        profile.api_keys[0].digest = fresh.digest();
        self.app
            .directory
            .put_profile(&demo, &profile)
            .await
            .unwrap();
        self.wait(30);
        let answer = self.call(REQUEST, None, json!({})).await;
        answer.is_refusal(401, "UNAUTHORIZED");
        fresh.expose().clone_into(&mut self.api_key);
    }

    fn wait(&mut self, seconds: u64) {
        self.now += seconds;
        self.app.advance(Duration::from_secs(seconds));
    }

    /// What the tables say at the end.
    async fn close(self) {
        let usage = self.app.usage("demo").await;
        let charged: u64 = usage.days.values().map(|day| day.1).sum();
        assert_eq!(
            charged,
            self.app.messages().len() as u64,
            "a charge for each SMS and no other"
        );
        for (id, known) in &self.requests {
            let item = self.app.stored(id).await.unwrap();
            assert_eq!(
                item["attempts"].as_n().unwrap(),
                &known.compared.to_string()
            );
        }
    }
}

fn follow(steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut model = Model {
            app: App::start().await,
            api_key: API_KEY.to_owned(),
            now: 0,
            requests: Vec::new(),
            keyed: BTreeMap::new(),
        };
        for step in steps {
            match step {
                Step::Request { person, key } => model.request(person, key).await,
                Step::Validate {
                    request,
                    right,
                    key,
                } => model.validate(request, right, key).await,
                Step::Wait { seconds } => model.wait(seconds),
                Step::ChangeKey => model.change_key().await,
            }
        }
        model.close().await;
    });
}

proptest! {
    #![proptest_config(Config { cases: 24, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_promises_hold_whatever_happens(steps in prop::collection::vec(step(), 1..80)) {
        follow(steps);
    }
}
