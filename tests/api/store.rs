//! What the store says to its tables that no single call of the API brings about: the operator's
//! writes, and the losing sides of races.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use std::time::Duration;
use twofa::clock::Timestamp;
use twofa::domain::client::{Countries, Profile};
use twofa::domain::digest::Digest;
use twofa::domain::ids::{ClientId, RequestId, TemplateId};
use twofa::domain::key_set::CodeSeed;
use twofa::domain::limits::{Limits, Window};
use twofa::store::{
    Begun, Call, ChangeError, Charge, Keyed, Met, NewVerification, Progress, Undone,
};

use crate::fault_proxy::{FaultSchedule, NetworkFault, Times};
use crate::harness::{App, LOGIN, NUMBER, START, change, record};

const MINUTE: Duration = Duration::from_mins(1);

fn demo() -> ClientId {
    ClientId::parse("demo").unwrap()
}

async fn digest(app: &App, of: &str) -> Digest {
    let secret = app.key_set_reader.get(START).await.unwrap();
    secret.body_digest(&demo(), &[of.as_bytes()])
}

/// One recipient of the demo client, and the verifications that begin for it.
struct Fixture {
    app: App,
    client: ClientId,
    recipient: Digest,
    limits: Limits,
    code: Digest,
    seed: CodeSeed,
    id: RequestId,
}

impl Fixture {
    async fn set(windows: &[(u16, u32)]) -> Self {
        let app = App::start().await;
        app.set_balance("demo", 100).await;
        let windows = windows.iter().map(|(sends, seconds)| Window {
            sends: *sends,
            seconds: *seconds,
        });
        Self {
            client: demo(),
            recipient: app.recipient_digest("demo", NUMBER).await,
            limits: Limits {
                windows: windows.collect(),
                ..Limits::default()
            },
            code: digest(&app, "code").await,
            seed: CodeSeed::random().unwrap(),
            id: RequestId::random().unwrap(),
            app,
        }
    }

    fn charge(&self) -> Charge<'_> {
        Charge {
            recipient: self.recipient,
            limits: &self.limits,
            admitted: 75,
            parts: 2,
            prepaid: true,
        }
    }

    fn verification<'a>(&'a self, call: &'a Call, now: Timestamp) -> NewVerification<'a> {
        NewVerification {
            id: self.id,
            client: &self.client,
            code: self.code,
            seed: self.seed,
            code_length: 6,
            max_attempts: 5,
            now,
            expires_at: now.plus(5 * MINUTE),
            call,
            lease_until: now.plus(MINUTE),
            charge: Some(self.charge()),
            keyed: Some(Keyed {
                body: self.code,
                parameters: &[],
            }),
        }
    }

    async fn begin(&self, call: &Call, now: Timestamp) -> Begun {
        let table = self.app.table();
        table
            .begin(self.verification(call, now), None)
            .await
            .unwrap()
    }

    async fn begin_over(&self, call: &Call, now: Timestamp, met: &Met) -> Begun {
        let table = self.app.table();
        table
            .begin(self.verification(call, now), Some(met))
            .await
            .unwrap()
    }

    async fn take_over(&self, call: &Call, now: Timestamp, met: &Met) -> Begun {
        let table = self.app.table();
        let new = self.verification(call, now);
        table.take_over(new, met).await.unwrap()
    }

    async fn undo(&self, call: &Call, now: Timestamp, may_land: bool) -> Undone {
        let table = self.app.table();
        table
            .undo(self.verification(call, now), None, may_land)
            .await
            .unwrap()
    }

    async fn met(&self) -> Met {
        let met = self.app.table().earlier(self.id, START).await.unwrap();
        met.unwrap()
    }

    /// The moments of the sends, and the parts that are left.
    async fn charged(&self) -> (Vec<Timestamp>, Option<i64>) {
        let recipient = self.app.recipient("demo", NUMBER).await;
        (recipient.sends, self.app.usage("demo").await.balance)
    }
}

fn call() -> Call {
    Call::new().unwrap()
}

#[tokio::test]
async fn a_client_is_added_once_and_listed() {
    let app = App::start().await;
    let id = ClientId::parse("other").unwrap();
    for (name, added) in [("First", true), ("Second", false)] {
        let profile = Profile::new(name, serde_json::from_value(json!([])).unwrap());
        let answer = change(&app.tables, "other", |draft| draft.add_profile(&profile)).await;
        assert_eq!(answer, added, "{name}");
    }
    let other = app.directory.query(&id).await.unwrap().unwrap();
    assert_eq!(other.profile.name, "First");
    assert_eq!(app.directory.clients().await.unwrap(), [demo(), id]);
}

#[tokio::test]
async fn a_removed_template_is_gone() {
    let app = App::start().await;
    let login: TemplateId = serde_json::from_value(json!(LOGIN)).unwrap();
    app.directory.remove_template(&demo(), login).await.unwrap();
    let client = app.directory.query(&demo()).await.unwrap().unwrap();
    let left: Vec<_> = client.templates.iter().map(|one| &*one.name).collect();
    assert_eq!(left, ["Payment"]);
}

#[tokio::test]
async fn unlocking_somebody_unknown_stores_nothing() {
    let app = App::start().await;
    let digest = app.recipient_digest("demo", NUMBER).await;
    let before = app.everything_stored().await.len();
    assert!(!app.unlock(digest).await);
    assert_eq!(app.everything_stored().await.len(), before);
}

#[tokio::test]
async fn a_begin_takes_all_or_nothing_and_an_undo_gives_all_back() {
    let fixture = Fixture::set(&[(1, 30)]).await;
    let (first, second) = (call(), call());
    assert!(matches!(fixture.begin(&first, START).await, Begun::Begun));
    assert_eq!(fixture.charged().await, (vec![START], Some(98)));
    // Its own write, met again.
    assert!(matches!(fixture.begin(&first, START).await, Begun::Begun));
    assert!(matches!(fixture.begin(&second, START).await, Begun::Met(_)));
    assert_eq!(fixture.charged().await, (vec![START], Some(98)));

    assert_eq!(fixture.undo(&second, START, false).await, Undone::TakenOver);
    for _ in 0..2 {
        assert_eq!(fixture.undo(&first, START, false).await, Undone::Undone);
        assert_eq!(fixture.charged().await, (vec![], Some(100)), "once");
    }
    let met = fixture.met().await;
    assert_eq!(met.progress(), Progress::Undone);
    assert!(!met.has_code(fixture.code), "its digest is gone");
    let begun = fixture.begin_over(&second, START, &met).await;
    assert!(matches!(begun, Begun::Begun));
    let late = fixture.begin_over(&call(), START.plus(MINUTE), &met).await;
    assert!(matches!(late, Begun::Met(_)), "it is begun over once");
}

#[tokio::test]
async fn a_send_is_undone_though_others_came_before_it_or_it_is_gone() {
    let mut fixture = Fixture::set(&[(5, 600)]).await;
    let calls = [call(), call(), call()];
    let times = [START, START.plus(MINUTE), START.plus(2 * MINUTE)];
    let mut ids = Vec::new();
    for (call, at) in calls.iter().zip(times) {
        fixture.id = RequestId::random().unwrap();
        ids.push(fixture.id);
        assert!(matches!(fixture.begin(call, at).await, Begun::Begun));
    }
    fixture.id = ids[0];
    assert_eq!(
        fixture.undo(&calls[0], times[0], false).await,
        Undone::Undone
    );
    let (sends, left) = fixture.charged().await;
    assert_eq!((sends, left), (vec![times[2], times[1]], Some(96)));

    assert!(fixture.app.unlock(fixture.recipient).await);
    fixture.id = ids[1];
    assert_eq!(
        fixture.undo(&calls[1], times[1], false).await,
        Undone::Undone
    );
    assert_eq!(
        fixture.charged().await,
        (vec![], Some(98)),
        "the operator's word"
    );
}

#[tokio::test]
async fn a_begin_that_arrives_after_its_undo_takes_nothing() {
    let mut fixture = Fixture::set(&[(1, 30)]).await;
    let gone = call();
    assert_eq!(fixture.undo(&gone, START, true).await, Undone::Undone);
    let late = fixture.begin(&gone, START).await;
    assert!(matches!(late, Begun::Met(_)), "{late:?}");
    assert_eq!(fixture.charged().await, (vec![], Some(100)));
    // Whoever comes next begins over it, and the late one meets that.
    let (next, seed) = (call(), fixture.seed);
    fixture.seed = CodeSeed::random().unwrap();
    let begun = fixture.begin_over(&next, START, &fixture.met().await).await;
    assert!(matches!(begun, Begun::Begun));
    fixture.seed = seed;
    assert_eq!(fixture.undo(&gone, START, true).await, Undone::Undone);
    assert_eq!(fixture.charged().await, (vec![START], Some(98)));
    assert_eq!(fixture.met().await.progress(), Progress::Stored);
}

#[tokio::test]
async fn of_two_calls_that_take_over_a_request_one_does() {
    let fixture = Fixture::set(&[(1, 30)]).await;
    let [gone, first, second] = [call(), call(), call()];
    fixture.begin(&gone, START).await;
    let met = fixture.met().await;
    let later = START.plus(MINUTE);
    for (call, taken) in [(&first, true), (&second, false), (&first, true)] {
        let outcome = fixture.take_over(call, later, &met).await;
        assert_eq!(matches!(outcome, Begun::Begun), taken, "{outcome:?}");
    }
    let (sends, left) = fixture.charged().await;
    assert_eq!(sends, [later, START], "a send is entered when it is made");
    assert_eq!(left, Some(98), "and paid once");
    assert_eq!(fixture.met().await.at(), later);
    assert_eq!(fixture.met().await.expires_at(), later.plus(5 * MINUTE));
    for may_land in [false, true] {
        let undone = fixture.undo(&gone, START, may_land).await;
        assert_eq!(undone, Undone::TakenOver, "its seed is another call's");
    }
    let outcome = fixture
        .take_over(&second, later.plus(MINUTE / 4), &fixture.met().await)
        .await;
    let Begun::Limited { until } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(until, later.plus(MINUTE / 2), "the window of the last send");
}

#[tokio::test]
async fn a_mark_is_of_the_seed_whose_code_was_sent_whoever_has_the_lease() {
    let fixture = Fixture::set(&[(1, 30)]).await;
    let [gone, next] = [call(), call()];
    fixture.begin(&gone, START).await;
    let table = fixture.app.table();
    let other = CodeSeed::random().unwrap();
    table.mark_sent(fixture.id, other, "other").await.unwrap();
    assert_eq!(fixture.met().await.progress(), Progress::Stored);
    let taken = fixture
        .take_over(&next, START.plus(MINUTE), &fixture.met().await)
        .await;
    assert!(matches!(taken, Begun::Begun));
    table
        .mark_sent(fixture.id, fixture.seed, "message")
        .await
        .unwrap();
    assert_eq!(fixture.met().await.progress(), Progress::Accepted);
    assert_eq!(fixture.undo(&next, START, false).await, Undone::TakenOver);
    assert_eq!(
        fixture.met().await.progress(),
        Progress::Accepted,
        "what was sent stays"
    );
}

#[tokio::test]
async fn a_verification_is_one_kilobyte_with_all_its_guesses() {
    let app = App::start().await;
    let sent = app.sent(
        &app.post_with(
            "one",
            crate::harness::REQUEST,
            &json!({ "to": NUMBER, "template_id": LOGIN }),
        )
        .await,
    );
    for guess in 0..5 {
        let code = if guess < 4 {
            sent.wrong_code()
        } else {
            sent.code.clone()
        };
        app.validate(&code, &sent.request_id).await;
    }
    let item = app.stored(&sent.request_id).await.unwrap();
    let size = size(&AttributeValue::M(item));
    assert!(size < 1_024, "{size} bytes");
}

/// The size of a value, as DynamoDB counts it.
fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        AttributeValue::Bool(_) => 1,
        AttributeValue::L(list) => 3 + list.iter().map(|one| 1 + size(one)).sum::<usize>(),
        AttributeValue::M(map) => {
            let of = |(name, value): (&String, &AttributeValue)| 1 + name.len() + size(value);
            3 + map.iter().map(of).sum::<usize>()
        }
        _ => usize::MAX,
    }
}

#[tokio::test]
async fn a_change_without_an_answer_is_known_by_its_record() {
    let app = App::start_jumping().await;
    let profile = Profile::new("Changed", Countries::All);
    for (fault, is_made) in [
        (NetworkFault::LostAfter, true),
        (NetworkFault::LostBefore, false),
    ] {
        let (client, changes) = (format!("new-{is_made}"), app.changes());
        let change = changes
            .draft(record(&client))
            .add_profile(&profile)
            .unwrap();
        app.dynamodb.schedule(FaultSchedule {
            operation: "TransactWriteItems".to_owned(),
            spared: 0,
            fault,
            times: Times::Always,
        });
        let carried_out = changes.carry_out(change).await;
        app.dynamodb.heal().await;
        match carried_out {
            Ok(true) => assert!(is_made),
            Err(ChangeError::Unknown(_)) => assert!(!is_made),
            other => panic!("{fault:?}: {other:?}"),
        }
        let id = ClientId::parse(&client).unwrap();
        let stored = app.directory.query(&id).await.unwrap();
        assert_eq!(stored.is_some(), is_made, "{fault:?}");
    }
}
