//! The rotation against the laptop's Secrets Manager, with functions at work before, during and after.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use axum::Router;
use axum::body::{Body, to_bytes};
use lambda_http::http::Request;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use twofa::clock::{Clock, ManualClock, Timestamp};
use twofa::domain::ids::{ClientId, RequestId};
use twofa::domain::key_set::{CodeSeed, KeySet, RotateError};
use twofa::http::all_endpoints;
use twofa_local::demo::{self, API_KEY, LOGIN};
use twofa_local::guard::Guard;
use twofa_local::services::{Backends, SECRET, Storage, sdk_config, state};
use twofa_ops::rotation::{Call, Event, RotationError, Step, Watch, run, watch};

const START: Timestamp = Timestamp::from_millis(4_102_473_600_000);

const DAY: Duration = Duration::from_hours(24);

/// A services whose time is a value.
struct Services {
    backends: Backends,
    clock: ManualClock,
    secrets_manager: Client,
}

/// A function that has read the secret, and reads it again after an hour.
struct Function(Router);

impl Services {
    async fn start() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let backends = Backends::start(any, any, &Storage::Memory, &Guard::default())
            .await
            .unwrap();
        let clock = ManualClock::starting_at(START);
        let secrets_manager = twofa::aws::secrets_manager(&sdk_config(backends.sns));
        let services = Self {
            backends,
            clock,
            secrets_manager,
        };
        demo::seed(&services.state().directory).await.unwrap();
        services
    }

    fn state(&self) -> twofa::state::RequestState {
        let clock = Clock::Manual(self.clock.clone());
        state(self.backends.dynamodb, self.backends.sns, clock)
    }

    async fn function(&self) -> Function {
        let state = self.state();
        state.key_set_reader.get(state.clock.now()).await.unwrap();
        Function(all_endpoints(state))
    }

    fn now(&self) -> Timestamp {
        Clock::Manual(self.clock.clone()).now()
    }

    async fn step(&self, step: Step, version: &str) -> Result<(), RotationError> {
        let event = Event {
            step,
            secret_id: SECRET.to_owned(),
            client_request_token: version.to_owned(),
        };
        run(&event, &self.secrets_manager, self.now()).await
    }

    async fn rotate(&self, version: &str) -> Result<(), RotationError> {
        for step in STEPS {
            self.step(step, version).await?;
        }
        Ok(())
    }

    fn secret(&self) -> KeySet {
        KeySet::parse(self.backends.secrets_manager.current().expose_secret()).unwrap()
    }

    /// Has `function` send a code; returns the request's id and the code.
    async fn send(&self, function: &Function, to: u32) -> (Value, String) {
        let order = json!({ "to": format!("+44740{to:07}"), "template_id": LOGIN });
        let answer = function.call("request", &order).await;
        assert_eq!(answer["status"], "ACCEPTED", "{answer}");
        let text = self.backends.inbox.messages(None)[0].text.clone();
        (answer["request_id"].clone(), text[..6].to_owned())
    }
}

const STEPS: [Step; 4] = [
    Step::CreateSecret,
    Step::SetSecret,
    Step::TestSecret,
    Step::FinishSecret,
];

impl Function {
    async fn call(&self, endpoint: &str, body: &Value) -> Value {
        let request = Request::post(format!("/v1.0/2fa/{endpoint}"))
            .header("x-api-key", API_KEY)
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = self.0.clone().oneshot(request).await.unwrap();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    async fn accepts(&self, (id, code): &(Value, String)) {
        let question = json!({ "request_id": id, "code": code });
        let answer = self.call("validate", &question).await;
        assert_eq!(answer["status"], "success");
    }
}

#[tokio::test]
async fn no_right_code_is_refused_because_of_a_rotation() {
    let services = Services::start().await;
    let mut to = 0..;
    let mut old = services.function().await;
    // The first round rotates the seed, the others a window.
    for round in 0..4 {
        // Codes that are on their way while each step is done, each to be checked by a function that
        // has read the secret before the rotation, and by one that has read it after.
        let mut codes = Vec::new();
        for step in STEPS {
            codes.push(services.send(&old, to.next().unwrap()).await);
            codes.push(services.send(&old, to.next().unwrap()).await);
            services
                .step(step, &format!("version-{round}"))
                .await
                .unwrap();
        }
        let new = services.function().await;
        for pair in codes.chunks(2) {
            old.accepts(&pair[0]).await;
            new.accepts(&pair[1]).await;
        }
        for (sender, other) in [(&old, &new), (&new, &old)] {
            let code = services.send(sender, to.next().unwrap()).await;
            other.accepts(&code).await;
        }
        // Within the hour the old function has read the new window: both are one.
        services.clock.advance(DAY);
        let code = services.send(&old, to.next().unwrap()).await;
        services.function().await.accepts(&code).await;
        old = new;
    }
}

#[tokio::test]
async fn limits_do_not_forget_when_the_secret_is_rotated() {
    let services = Services::start().await;
    for _ in 0..10 {
        services.send(&services.function().await, 7).await;
    }
    services.rotate("version").await.unwrap();
    let order = json!({ "to": "+447400000007", "template_id": LOGIN });
    let answer = services.function().await.call("request", &order).await;
    assert_eq!(answer["error_message"], "TOO_MANY_REQUESTS");
}

#[tokio::test]
async fn after_two_rotations_a_leaked_secret_reads_no_code_and_after_three_it_plants_none() {
    let services = Services::start().await;
    let client = ClientId::parse("shop").unwrap();
    let (id, seed) = (RequestId::random().unwrap(), CodeSeed::random().unwrap());
    let mut secrets = vec![services.secret()];
    for version in ["first", "second", "third"] {
        services.rotate(version).await.unwrap();
        services.clock.advance(DAY);
        secrets.push(services.secret());
    }
    // A code that `writer` stores, and whether `reader` tells it from others.
    let tells = |reader: &KeySet, writer: &KeySet| {
        let code = writer.seeded_code(&client, id, &seed, 6);
        let stored = writer.code_digest(&client, id, &code).encode();
        reader.is_stored(&client, id, &code, |digest| digest.encode() == stored)
    };
    let leaked = &secrets[0];
    let reads: Vec<_> = secrets.iter().map(|now| tells(leaked, now)).collect();
    assert_eq!(reads, [true, true, false, false]);
    // The last pepper that leaked is the one that is written under after one rotation.
    let plants: Vec<_> = secrets.iter().map(|now| tells(now, &secrets[1])).collect();
    assert_eq!(plants, [true, true, true, false]);
}

#[tokio::test]
async fn a_second_rotation_waits_for_a_day() {
    let services = Services::start().await;
    services.rotate("first").await.unwrap();
    let once = services.backends.secrets_manager.current();
    let almost = Duration::from_millis(86_400_000 - 1);
    services.clock.advance(almost);
    let refused = services.rotate("second").await.unwrap_err();
    let until = START.plus(DAY);
    assert!(
        matches!(&refused, RotationError::Rotate(RotateError::TooSoon { until: at }) if *at == until),
        "{refused}"
    );
    assert_eq!(
        services.backends.secrets_manager.current().expose_secret(),
        once.expose_secret()
    );
    services.clock.advance(Duration::from_millis(1));
    services.rotate("second").await.unwrap();
    assert_ne!(
        services.backends.secrets_manager.current().expose_secret(),
        once.expose_secret()
    );
}

#[tokio::test]
async fn a_rotation_that_is_finished_days_later_counts_from_then() {
    let services = Services::start().await;
    let before = services.secret();
    for step in [Step::CreateSecret, Step::SetSecret, Step::TestSecret] {
        services.step(step, "left half done").await.unwrap();
    }
    services.clock.advance(3 * DAY);
    let old = services.function().await;
    let sent = services.send(&old, 1).await;
    for _ in 0..2 {
        services
            .step(Step::FinishSecret, "left half done")
            .await
            .unwrap();
    }
    assert!(services.secret().follows(&before));
    // Else a function that has read the secret an hour ago would know nothing that the newest does.
    let refused = services.rotate("second").await.unwrap_err();
    let until = START.plus(4 * DAY);
    assert!(
        matches!(&refused, RotationError::Rotate(RotateError::TooSoon { until: at }) if *at == until),
        "{refused}"
    );
    services.function().await.accepts(&sent).await;
    services.clock.advance(DAY);
    services.rotate("second").await.unwrap();
}

#[tokio::test]
async fn a_version_that_does_not_follow_any_more_is_not_finished() {
    let services = Services::start().await;
    services
        .step(Step::CreateSecret, "overtaken")
        .await
        .unwrap();
    services.rotate("first").await.unwrap();
    let first = services.backends.secrets_manager.current();
    let refused = services.step(Step::FinishSecret, "overtaken").await;
    assert!(matches!(refused, Err(RotationError::DoesNotFollow)));
    let now = services.backends.secrets_manager.current();
    assert_eq!(now.expose_secret(), first.expose_secret());
}

#[tokio::test]
async fn a_step_may_be_done_twice_and_a_rotation_given_up() {
    let services = Services::start().await;
    let before = services.secret();
    services.step(Step::CreateSecret, "given up").await.unwrap();
    for step in STEPS {
        services.step(step, "version").await.unwrap();
        services.step(step, "version").await.unwrap();
    }
    let after = services.secret();
    assert!(after.follows(&before));
    // Called once more when all is done, nothing moves.
    for step in [Step::TestSecret, Step::FinishSecret] {
        services.step(step, "version").await.unwrap();
    }
    assert!(services.secret().follows(&before));
}

#[tokio::test]
async fn the_test_alone_passes_for_a_copy_and_for_nothing() {
    let services = Services::start().await;
    let before = services.backends.secrets_manager.current();
    services.step(Step::TestSecret, "nothing").await.unwrap();
    services
        .secrets_manager
        .put_secret_value()
        .secret_id(SECRET)
        .client_request_token("copy")
        .secret_string(before.expose_secret())
        .version_stages("AWSPENDING")
        .send()
        .await
        .unwrap();
    services.step(Step::TestSecret, "copy").await.unwrap();
    let now = services.backends.secrets_manager.current();
    assert_eq!(now.expose_secret(), before.expose_secret());
}

#[tokio::test]
async fn a_version_that_does_not_follow_is_not_taken() {
    let services = Services::start().await;
    let before = services.backends.secrets_manager.current();
    let stranger = json!({ "seed": "x".repeat(64) });
    for (version, pending) in [("stranger", stranger.to_string()), ("text", "x".to_owned())] {
        services
            .secrets_manager
            .put_secret_value()
            .secret_id(SECRET)
            .client_request_token(version)
            .secret_string(pending)
            .version_stages("AWSPENDING")
            .send()
            .await
            .unwrap();
        let refused = services.rotate(version).await.unwrap_err();
        assert!(matches!(
            refused,
            RotationError::DoesNotFollow | RotationError::Malformed(_)
        ));
        let now = services.backends.secrets_manager.current();
        assert_eq!(now.expose_secret(), before.expose_secret());
    }
}

#[tokio::test]
async fn a_rotation_that_never_starts_is_told() {
    let services = Services::start().await;
    let read = services
        .secrets_manager
        .get_secret_value()
        .secret_id(SECRET);
    let created = read.send().await.unwrap().created_date.unwrap();
    let created = Timestamp::from_millis(created.to_millis().unwrap());
    let monthly = Watch {
        secret_id: SECRET.to_owned(),
        rotation_days: 30,
    };
    let in_time = created.plus(32 * DAY);
    let seen = watch(&monthly, &services.secrets_manager, in_time).await;
    assert!(seen.is_ok(), "{seen:?}");
    let late = in_time.plus(Duration::from_millis(1));
    let overdue = watch(&monthly, &services.secrets_manager, late).await;
    assert!(
        matches!(overdue, Err(RotationError::Overdue { days: 32 })),
        "{overdue:?}"
    );
}

#[test]
fn a_step_and_the_watch_are_told_apart() {
    let step = json!({ "Step": "testSecret", "SecretId": "s", "ClientRequestToken": "v" });
    assert!(matches!(
        serde_json::from_value(step).unwrap(),
        Call::Step(Event {
            step: Step::TestSecret,
            ..
        })
    ));
    let scheduled = json!({ "SecretId": "s", "RotationDays": 30 });
    assert!(matches!(
        serde_json::from_value(scheduled).unwrap(),
        Call::Watch(Watch {
            rotation_days: 30,
            ..
        })
    ));
    let neither = json!({ "Step": "dropSecret", "SecretId": "s", "ClientRequestToken": "v" });
    assert!(serde_json::from_value::<Call>(neither).is_err());
}
