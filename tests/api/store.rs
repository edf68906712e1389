//! What the store says to its tables that no single call of the API brings about: the operator's
//! writes, and the losing sides of races.

use serde_json::json;
use twofa::client::{ClientId, Limits, Profile, Window};
use twofa::secret::{Digest, Seed};
use twofa::store::{
    Account, Admission, Attempt, Claim, NewVerification, Progress, Receipt, SendMark, Stored,
    Usage, Verifications,
};
use twofa::template::TemplateId;
use twofa::verification::RequestId;
use twofa_local::cloud::{self, VERIFICATIONS_TABLE};

use crate::harness::{App, LOGIN, NUMBER, START};

const MINUTE: std::time::Duration = std::time::Duration::from_mins(1);

fn demo() -> ClientId {
    ClientId::parse("demo").unwrap()
}

async fn digest(app: &App, of: &str) -> Digest {
    let secret = app.secrets.get(START).await.unwrap();
    secret.body_digest(&[of.as_bytes()])
}

/// What a call stores that may be repeated, with the lease of one minute.
fn claimed<'a>(
    id: RequestId,
    client: &'a ClientId,
    code: Digest,
    owner: &'a Attempt,
    receipt: &'a Receipt,
) -> NewVerification<'a> {
    NewVerification {
        id,
        client,
        recipient: None,
        code,
        max_attempts: 5,
        expires_at: START.plus(5 * MINUTE),
        at: START,
        claim: Some(Claim {
            body: code,
            seed: Seed::random().unwrap(),
            owner,
            receipt,
            lease_until: START.plus(MINUTE),
        }),
    }
}

#[tokio::test]
async fn a_client_is_added_once_and_listed() {
    let app = App::start().await;
    let id = ClientId::parse("other").unwrap();
    for (name, added) in [("First", true), ("Second", false)] {
        let profile = Profile::new(name, serde_json::from_value(json!([])).unwrap());
        let answer = app.directory.add_profile(&id, &profile).await.unwrap();
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
async fn a_removed_balance_is_gone() {
    let app = App::start().await;
    app.set_balance("demo", 1).await;
    let dynamodb = twofa::aws::dynamodb(&cloud::sdk_config(app.dynamodb.address));
    let usage = Usage::new(dynamodb, VERIFICATIONS_TABLE);
    usage.set_balance(&demo(), None).await.unwrap();
    let state = usage.read(Account::Client(&demo())).await.unwrap();
    assert_eq!(state.balance, None);
}

#[tokio::test]
async fn unlocking_somebody_unknown_stores_nothing() {
    let app = App::start().await;
    let (recipients, digest) = app.recipients("demo", NUMBER).await;
    let before = app.everything_stored().await.len();
    recipients.unlock(digest).await.unwrap();
    assert_eq!(app.everything_stored().await.len(), before);
}

#[tokio::test]
async fn where_no_failure_is_admitted_nobody_is() {
    let app = App::start().await;
    let (recipients, digest) = app.recipients("demo", NUMBER).await;
    let limits = Limits {
        windows: vec![Window {
            sends: 20,
            seconds: 600,
        }],
        max_failures: 99,
        ..Limits::default()
    };
    let mark = SendMark::new(START, RequestId::random().unwrap());
    let admission = recipients.admit(digest, &limits, 5, &mark, START).await;
    assert!(matches!(admission.unwrap(), Admission::Refused { .. }));
    assert!(recipients.read(digest).await.unwrap().sends.is_empty());
}

#[tokio::test]
async fn a_send_is_given_back_though_others_came_before_it() {
    let app = App::start().await;
    let (recipients, digest) = app.recipients("demo", NUMBER).await;
    let limits = Limits {
        windows: vec![Window {
            sends: 5,
            seconds: 600,
        }],
        ..Limits::default()
    };
    let later = START.plus(MINUTE);
    // A number whose last digit is a zero is read back without it.
    let ids = ["00000000-0000-4000-8000-00000000000c", LOGIN];
    let ids = ids.map(|id| RequestId::parse(id).unwrap());
    let marks = [SendMark::new(START, ids[0]), SendMark::new(later, ids[1])];
    for (mark, at) in marks.iter().zip([START, later]) {
        let admission = recipients.admit(digest, &limits, 5, mark, at).await;
        assert_eq!(admission.unwrap(), Admission::Admitted { failures: 0 });
    }
    recipients.give_back(digest, &marks[0]).await.unwrap();
    assert_eq!(recipients.read(digest).await.unwrap().sends, [later]);
}

#[tokio::test]
async fn of_two_calls_that_take_over_a_request_one_does() {
    let app = App::start().await;
    let verifications = app.fresh_powers().verifications;
    let (id, client) = (RequestId::random().unwrap(), demo());
    let slip = app.fresh_powers().admitter.slip(START).unwrap();
    let [dead, first, second] = [(); 3].map(|()| Attempt::random().unwrap());
    let new = claimed(
        id,
        &client,
        digest(&app, "code").await,
        &dead,
        slip.receipt(),
    );
    assert!(matches!(
        verifications.store(new).await.unwrap(),
        Stored::New
    ));
    let other = claimed(
        id,
        &client,
        digest(&app, "other code").await,
        &first,
        slip.receipt(),
    );
    let Stored::Met(earlier) = verifications.store(other).await.unwrap() else {
        panic!("the name is taken")
    };

    let lease = START.plus(2 * MINUTE);
    for (owner, taken) in [(&first, true), (&second, false), (&first, true)] {
        let claim = Claim {
            owner,
            lease_until: lease,
            ..new.claim.unwrap()
        };
        let resumed = verifications.resume(id, &earlier, claim, START);
        assert_eq!(resumed.await.unwrap(), taken);
    }
    let over = claimed(
        id,
        &client,
        digest(&app, "other code").await,
        &second,
        slip.receipt(),
    );
    let Stored::Met(current) = verifications.store_over(&earlier, over).await.unwrap() else {
        panic!("it is taken over")
    };
    assert!(current.has_code(new.code));
    assert!(matches!(
        verifications.store_over(&current, over).await.unwrap(),
        Stored::New
    ));
}

#[tokio::test]
async fn a_code_that_was_sent_is_not_rejected_any_more() {
    let app = App::start().await;
    let verifications: Verifications = app.fresh_powers().verifications;
    let (id, client) = (RequestId::random().unwrap(), demo());
    let slip = app.fresh_powers().admitter.slip(START).unwrap();
    let owner = Attempt::random().unwrap();
    let new = claimed(
        id,
        &client,
        digest(&app, "code").await,
        &owner,
        slip.receipt(),
    );
    verifications.store(new).await.unwrap();
    verifications.mark_sent(id, "message", 0).await.unwrap();
    let rejected = verifications
        .reject(id, new.code, Some(&owner), "SMS_REJECTED")
        .await;
    rejected.unwrap();
    let other = claimed(
        id,
        &client,
        digest(&app, "other code").await,
        &owner,
        slip.receipt(),
    );
    let Stored::Met(earlier) = verifications.store(other).await.unwrap() else {
        panic!("the name is taken")
    };
    assert_eq!(earlier.progress(), Progress::Accepted);
    assert!(earlier.has_code(new.code));
}

#[tokio::test]
async fn a_code_that_was_taken_over_is_not_killed_by_the_call_before() {
    let app = App::start().await;
    let verifications = app.fresh_powers().verifications;
    let (id, client) = (RequestId::random().unwrap(), demo());
    let slip = app.fresh_powers().admitter.slip(START).unwrap();
    let [first, second] = [(); 2].map(|()| Attempt::random().unwrap());
    let code = digest(&app, "code").await;
    let new = claimed(id, &client, code, &first, slip.receipt());
    verifications.store(new).await.unwrap();
    let other_code = digest(&app, "other code").await;
    let other = claimed(id, &client, other_code, &second, slip.receipt());
    let met = async || match verifications.store(other).await.unwrap() {
        Stored::Met(earlier) => earlier,
        Stored::New => panic!("it is stored"),
    };
    verifications.pause(id, code, Some(&first)).await.unwrap();
    let paused = met().await;
    assert_eq!(paused.progress(), Progress::Paused);
    let claim = Claim {
        owner: &second,
        lease_until: START.plus(2 * MINUTE),
        ..new.claim.unwrap()
    };
    let resumed = verifications.resume(id, &paused, claim, START);
    assert!(resumed.await.unwrap());
    // The first call's writes, which the network had held.
    verifications.pause(id, code, Some(&first)).await.unwrap();
    let late = verifications.reject(id, code, Some(&first), "LATE");
    late.await.unwrap();
    assert_eq!(met().await.progress(), Progress::Stored);
    verifications.pause(id, code, Some(&second)).await.unwrap();
    assert_eq!(met().await.progress(), Progress::Paused);
}
