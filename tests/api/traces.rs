//! Random runs of the model, replayed against the store: what the model says of a write, the engine
//! does. So the two cannot drift apart.
//!
//! The model's writes are smaller than the store's functions in two places. A begin makes its second
//! try itself, and an undo puts its tombstone itself and looks again when that meets its own begin.
//! What changes nothing in the model there is left out, and the model's next write does both.

use std::array::from_fn;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use tokio::task::JoinSet;
use twofa::aws::error::AwsError;
use twofa::clock::Timestamp;
use twofa::domain::digest::Digest;
use twofa::domain::ids::{CallId, ClientId, RequestId};
use twofa::domain::key_set::{CodeSeed, GuessDigests, KeySet};
use twofa::domain::limits::{Limits, Window};
use twofa::store::{
    self, Begun, Call, Cap, CapOutcome, Change, Charge, Keyed, NewVerification, Progress, Undone,
    Verdict, Verifications,
};
use twofa_local::services::{self, VERIFICATIONS_TABLE};
use twofa_model::calls::{self, GuessCall, GuessStep, RequestCall, Step};
use twofa_model::tables::{
    Begin, GUESS_IDS, Met, Reply, SendState, State, Tables, VERIFICATIONS, Verification, Write,
};
use twofa_model::trace::{Event, TICK, Trace, What, traced};
use twofa_model::{Protocol, Who};

use crate::harness::{App, DAY, START, change};

/// The seeds of most runs.
const SEEDS: Range<u64> = 0..300;

/// The seeds of rare runs, and the [`sight`] of each.
const RARE: [(u64, &str); 8] = [
    (3_553, "a take-over of what is spent"),
    (1_566, "a take-over of what was verified"),
    (4_522, "a take-over of what was sent"),
    (42_544, "a begin over what was sent"),
    (235_805, "a begin over what was verified"),
    (524_179, "a mark beside another seed with the same code"),
    (1_222, "a failure that is counted again after another"),
    (4_797, "a tombstone for a begin that was taken over"),
];

/// How long the product keeps an item past its code's end.
const KEPT: Duration = Duration::from_mins(24 * 60 + 1);

type Item = HashMap<String, AttributeValue>;

/// So many traces are replayed at once.
const LANES: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_does_what_the_model_says() {
    let app = App::start().await;
    let services = Services {
        table: app.table(),
        dynamodb: twofa::aws::dynamodb(&services::sdk_config(app.dynamodb.address)),
        secret: app.key_set_reader.get(START).await.unwrap(),
    };
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let services = services.clone();
        lanes.spawn(async move {
            let seeds = SEEDS.chain(RARE.map(|(seed, _)| seed));
            for seed in seeds.skip(lane).step_by(LANES) {
                replay(&services, seed).await;
            }
        });
    }
    lanes.join_all().await;
}

#[test]
fn rare_runs_are_what_they_are_for() {
    for (seed, wanted) in RARE {
        let events = Trace::random(seed).events;
        let mut sights = events.iter().filter_map(sight);
        assert!(sights.any(|sight| sight == wanted), "seed {seed}: {wanted}");
    }
}

/// What is rare about an event.
fn sight(event: &Event) -> Option<String> {
    let (What::CarriedOut { write, reply, .. } | What::Lands { write, reply }) = event.what else {
        return None;
    };
    // What became of an item since it was met.
    let became = |met: Met, item: Verification| {
        let is_same = (item.state == met.state, item.send == met.send);
        let is_met = item.call_id == met.call_id;
        match is_same {
            _ if !is_met => None,
            (true, true) => Some("is spent"),
            (false, true) => Some("was verified"),
            (true, false) => Some("was sent"),
            (false, false) => None,
        }
    };
    match (write, reply) {
        (Write::TakeOver { met, .. }, Reply::Met(Some(item))) => {
            Some(format!("a take-over of what {}", became(met, item)?))
        }
        (Write::Begin { begin, .. }, Reply::Met(Some(item))) => {
            Some(format!("a begin over what {}", became(begin.met?, item)?))
        }
        (Write::Mark { seed, code, .. }, Reply::Met(Some(item))) => {
            let is_other = item.send == SendState::Stored && item.seed != seed;
            let is_same_code = item.digest == Some(code);
            (is_other && is_same_code)
                .then(|| "a mark beside another seed with the same code".to_owned())
        }
        (Write::Tombstone { begin }, Reply::Met(Some(item))) => is_taken_over(begin, item)
            .then(|| "a tombstone for a begin that was taken over".to_owned()),
        (Write::CountFailure { id }, _) => {
            let is_last = event.after.recipient.failed.last() == Some(&id);
            (!is_last).then(|| "a failure that is counted again after another".to_owned())
        }
        _ => None,
    }
}

/// Whether another call has the verification that a call began.
fn is_taken_over(begin: Begin, item: Verification) -> bool {
    item.seed == begin.call && item.call_id != begin.call
}

async fn replay(services: &Services, seed: u64) {
    let trace = Trace::random(seed);
    let mut replay = Replay::set(services, seed, &trace).await;
    let (mut compared, mut since) = (None, 0);
    for (number, event) in trace.events.iter().enumerate() {
        let place = format!("seed {seed}, event {number}: {:?}", event.what);
        replay.follow(event, &place).await;
        // What must change nothing is compared with what comes next.
        let is_last = number + 1 == trace.events.len();
        if compared.replace(&event.after) != Some(&event.after) || is_last {
            let place = format!("{place}, compared after event {since}");
            replay.compare(&event.after, &place).await;
            since = number;
        }
    }
}

/// What all traces are replayed with.
#[derive(Clone)]
struct Services {
    table: Verifications,
    dynamodb: Client,
    secret: Arc<KeySet>,
}

/// One trace's client, recipient and calls.
struct Replay<'a> {
    services: &'a Services,
    table: &'a Verifications,
    protocol: Protocol,
    client: ClientId,
    limits: Limits,
    recipient: Digest,
    ids: [RequestId; VERIFICATIONS],
    bodies: [Digest; 2],
    codes: [Digest; 2],
    /// The digest of either code under a pepper that nothing is stored under.
    other: Digest,
    requests: Vec<Request>,
    guesses: Vec<CallId>,
    /// The items that begins met, as both sides have them.
    met: HashMap<(u8, Met), (store::Met, Verification)>,
    /// The end of the code that was verified last.
    verified_until: Option<Timestamp>,
}

/// A call of `request`.
struct Request {
    call: Call,
    seed: CodeSeed,
    /// Its start, and the code that its seed gives.
    start: Option<(u8, u8)>,
}

/// What the store makes of a write.
#[derive(Debug, PartialEq)]
enum Outcome {
    Done,
    Met,
    Limited,
    OutOfBalance,
    /// The verdict on a guess, and whether the recipient's failures change.
    Guessed(calls::Verdict, bool),
}

impl From<Begun> for Outcome {
    fn from(begun: Begun) -> Self {
        match begun {
            Begun::Begun => Self::Done,
            Begun::Met(_) => Self::Met,
            Begun::Limited { .. } => Self::Limited,
            Begun::OutOfBalance => Self::OutOfBalance,
        }
    }
}

/// What the tables hold of a trace beside its verifications.
#[derive(Debug, PartialEq)]
struct Charges {
    /// When the recipient was sent to.
    sends: Vec<u8>,
    /// The guesses that count as failures.
    failed: BTreeSet<u8>,
    balance: i64,
    cap: i64,
}

impl<'a> Replay<'a> {
    async fn set(services: &'a Services, seed: u64, trace: &Trace) -> Self {
        let protocol = traced(seed);
        let client = ClientId::parse(&format!("trace-{seed}")).unwrap();
        let balance = Some(trace.balance.into());
        let set = |draft: Change| draft.set_balance(VERIFICATIONS_TABLE, balance);
        assert!(change(&services.dynamodb, client.as_str(), set).await);
        let digest = |of: &str| services.secret.body_digest(&client, &[of.as_bytes()]);
        let request = |_| Request {
            call: Call::new().unwrap(),
            seed: CodeSeed::random().unwrap(),
            start: None,
        };
        Self {
            services,
            table: &services.table,
            limits: limits(&protocol),
            recipient: digest("recipient"),
            ids: [(); VERIFICATIONS].map(|()| RequestId::random().unwrap()),
            bodies: ["body 0", "body 1"].map(digest),
            codes: ["code 0", "code 1"].map(digest),
            other: digest("other"),
            requests: protocol.scenario.requests.iter().map(request).collect(),
            guesses: (0..GUESS_IDS).map(|_| CallId::random().unwrap()).collect(),
            met: HashMap::new(),
            verified_until: None,
            client,
            protocol,
        }
    }

    /// Does what happens, and compares the reply.
    async fn follow(&mut self, event: &Event, place: &str) {
        match event.what {
            What::Starts {
                who: Who::Request(index),
                code,
            } => {
                self.requests[index].start = Some((event.now, code));
            }
            What::CarriedOut { write, reply, .. } | What::Lands { write, reply } => {
                if let Some(expected) = self.expected(write, reply) {
                    let outcome = self.carry_out(write, reply, event.now, place).await;
                    let outcome = outcome.map_err(|error| error.to_string());
                    assert_eq!(outcome, Ok(expected), "{place}");
                }
            }
            What::Starts { .. } | What::CutOff { .. } | What::Lost { .. } | What::Ticks => {}
        }
    }

    async fn compare(&self, after: &Tables, place: &str) {
        let (verifications, charges) = self.stored().await;
        for (number, seen) in verifications.into_iter().enumerate() {
            let expected = after.verifications[number].map(comparable);
            assert_eq!(seen, expected, "verification {number} after {place}");
        }
        let expected = Charges {
            sends: after.recipient.sends.iter().map(|entry| entry.at).collect(),
            failed: after.recipient.failed.iter().copied().collect(),
            balance: after.balance.into(),
            cap: after.cap.into(),
        };
        assert_eq!(charges, expected, "after {place}");
    }

    /// What the store must make of a write; `None` where the next write does it.
    fn expected(&self, write: Write, reply: Reply) -> Option<Outcome> {
        Some(match (write, reply) {
            (Write::Publish { .. }, _) | (Write::Begin { .. }, Reply::Failures) => return None,
            (Write::Tombstone { begin }, Reply::Met(Some(item)))
                if item.is_stored_by(begin.call) =>
            {
                return None;
            }
            (
                Write::Begin {
                    begin: Begin { call, .. },
                    ..
                }
                | Write::TakeOver { call, .. },
                Reply::Met(Some(item)),
            ) if item.is_stored_by(call) => Outcome::Done,
            (Write::Undo { call, .. }, Reply::Met(Some(item)))
                if item.call_id == call && item.send == SendState::Unsent =>
            {
                Outcome::Done
            }
            (Write::Guess { id, code, now }, reply) => {
                let mut guess = GuessCall::new(id / 2);
                (guess.code, guess.now, guess.step) = (code, now, GuessStep::Guess);
                guess.receive(Some(reply), &self.protocol);
                match guess.step {
                    GuessStep::Settle(verdict) => Outcome::Guessed(verdict, true),
                    _ => Outcome::Guessed(guess.verdict().unwrap(), false),
                }
            }
            (Write::Tombstone { begin }, Reply::Met(Some(item))) if is_taken_over(begin, item) => {
                Outcome::Met
            }
            // Else a tombstone is not told what it met, nor is a mark.
            (Write::Tombstone { .. } | Write::Mark { .. }, _) | (_, Reply::Done) => Outcome::Done,
            (_, Reply::Met(_)) => Outcome::Met,
            (_, Reply::Windows(_) | Reply::Locked | Reply::Cap) => Outcome::Limited,
            (_, Reply::Balance(_)) => Outcome::OutOfBalance,
            (write, reply) => unreachable!("{write:?}: {reply:?}"),
        })
    }

    /// Has the store do it.
    async fn carry_out(
        &mut self,
        write: Write,
        reply: Reply,
        now: u8,
        place: &str,
    ) -> Result<Outcome, AwsError> {
        Ok(match write {
            Write::Begin { begin, .. } => {
                let (new, over) = (self.verification(begin.call), self.over(begin));
                let begun = self.table.begin(new, over).await?;
                if let (Begun::Met(met), Reply::Met(Some(item))) = (&begun, reply) {
                    self.compare_met(met, item, place);
                    let name = (begin.verification, item.met());
                    self.met.insert(name, (met.clone(), item));
                }
                begun.into()
            }
            Write::TakeOver {
                verification,
                call,
                met,
                now,
                ..
            } => {
                let (met, item) = &self.met[&(verification, met)];
                let new = NewVerification {
                    expires_at: at(self.protocol.end_of_take_over(item, now)),
                    ..self.verification(call)
                };
                self.table.take_over(new, met).await?.into()
            }
            Write::Undo { call, .. } => self.undo(call, None, false).await?,
            Write::Tombstone { begin } => self.undo(begin.call, self.over(begin), true).await?,
            Write::AddToCap => match self.table.take(self.cap(), 1, at(now)).await? {
                CapOutcome::Counted => Outcome::Done,
                CapOutcome::Reached { .. } => Outcome::Limited,
            },
            Write::SubtractFromCap => {
                self.table.release(self.cap(), 1, at(now)).await?;
                Outcome::Done
            }
            Write::Mark {
                verification, seed, ..
            } => {
                let id = self.ids[usize::from(verification)];
                let seed = self.requests[usize::from(seed)].seed;
                self.table.mark_sent(id, seed, "message").await?;
                Outcome::Done
            }
            Write::Guess { id, code, now } => self.guess(id, code, now).await?,
            Write::CountFailure { id } => {
                let call = &self.guesses[usize::from(id)];
                let recipient = self.recipient.encode();
                let limits = Limits::default();
                let counted = self.table.count_failure(&recipient, call, &limits, at(now));
                counted.await?;
                Outcome::Done
            }
            Write::ForgetFailures => {
                let recipient = self.recipient.encode();
                let until = self.verified_until.unwrap();
                self.table.forget_failures(&recipient, until).await?;
                Outcome::Done
            }
            Write::Publish { .. } | Write::Read { .. } | Write::Count { .. } => {
                unreachable!("{write:?} is no write of the store")
            }
        })
    }

    async fn undo(
        &self,
        call: u8,
        over: Option<&store::Met>,
        may_land: bool,
    ) -> Result<Outcome, AwsError> {
        let undone = self.table.undo(self.verification(call), over, may_land);
        Ok(match undone.await? {
            Undone::Undone => Outcome::Done,
            Undone::TakenOver => Outcome::Met,
        })
    }

    async fn guess(&mut self, id: u8, code: u8, now: u8) -> Result<Outcome, AwsError> {
        let digests = GuessDigests {
            current: self.codes[usize::from(code)],
            next: self.other,
            previous: self.other,
        };
        let call = &self.guesses[usize::from(id)];
        let guessed = self
            .table
            .guess(self.ids[0], &self.client, digests, call, at(now));
        let (verdict, recipient) = match guessed.await? {
            Verdict::Verified { failed, expires_at } => {
                self.verified_until = Some(expires_at);
                (calls::Verdict::Success, failed)
            }
            Verdict::NotMatched { recipient } => (calls::Verdict::NotMatched, recipient),
            Verdict::NotFound => (calls::Verdict::NotFound, None),
        };
        let is_ours = |recipient: &String| *recipient == self.recipient.encode();
        assert!(recipient.iter().all(is_ours));
        Ok(Outcome::Guessed(verdict, recipient.is_some()))
    }

    /// Compares how far a met call has come with what the model makes of it once its lease is over.
    fn compare_met(&self, met: &store::Met, item: Verification, place: &str) {
        let mut call = RequestCall::new(u8::MAX, 0, item.body);
        call.start(item.lease_until, 0, &self.protocol);
        // So that its code is not too old to be taken over.
        let begun_at = item.lease_until;
        let reply = Reply::Met(Some(Verification { begun_at, ..item }));
        call.receive(Some(reply), &self.protocol);
        let is_expected = match met.progress() {
            Progress::Accepted => matches!(call.step, Step::Ended(calls::Answer::AcceptedBefore)),
            Progress::Stored => matches!(call.step, Step::TakeOver { .. }),
            Progress::Spent | Progress::Undone => matches!(call.step, Step::Begin { .. }),
        };
        assert!(is_expected, "{:?} met {item:?}, {place}", met.progress());
    }

    fn over(&self, begin: Begin) -> Option<&store::Met> {
        let (met, _) = &self.met[&(begin.verification, begin.met?)];
        Some(met)
    }

    fn verification(&self, number: u8) -> NewVerification<'_> {
        let request = &self.requests[usize::from(number)];
        let (now, code) = request.start.unwrap();
        let scenario = &self.protocol.scenario;
        let (verification, body) = scenario.requests[usize::from(number)];
        NewVerification {
            id: self.ids[usize::from(verification)],
            client: &self.client,
            code: self.codes[usize::from(code)],
            seed: request.seed,
            code_length: 6,
            max_attempts: scenario.max_attempts,
            now: at(now),
            expires_at: at(now + scenario.ttl),
            call: &request.call,
            lease_until: at(now + scenario.lease),
            charge: Some(Charge {
                recipient: self.recipient,
                limits: &self.limits,
                admitted: u32::from(scenario.max_failures) - 1,
                parts: 1,
                prepaid: true,
            }),
            keyed: Some(Keyed {
                body: self.bodies[usize::from(body)],
                parameters: &[],
            }),
        }
    }

    fn cap(&self) -> Cap<'_> {
        let most = self.protocol.scenario.cap.unwrap();
        Cap::per_day(&self.client, most.into())
    }

    /// The tables as they are.
    async fn stored(&self) -> ([Option<Verification>; VERIFICATIONS], Charges) {
        let ids = [
            self.ids[0].to_string(),
            self.ids[1].to_string(),
            format!("RECIPIENT#{}", self.recipient.encode()),
            format!("BALANCE#{}", self.client),
            format!("CAP#{}#86400#{DAY}", self.client),
        ];
        let keys = ids
            .iter()
            .map(|id| [("id".to_owned(), AttributeValue::S(id.clone()))].into());
        let keys = KeysAndAttributes::builder()
            .set_keys(Some(keys.collect()))
            .build();
        let read = self.services.dynamodb.batch_get_item();
        let read = read
            .request_items(VERIFICATIONS_TABLE, keys.unwrap())
            .send();
        let mut items = read.await.unwrap().responses.unwrap();
        let items = items.remove(VERIFICATIONS_TABLE).unwrap();
        let item = |id| items.iter().find(|item| text(&item["id"]) == id);
        let [first, second, recipient, balance, cap] = ids.each_ref().map(item);

        let recipient = |name| recipient.and_then(|recipient| recipient.get(name));
        let sends = recipient("sends").map(|sends| sends.as_l().unwrap());
        let failed = recipient("failed").map(|failed| failed.as_ss().unwrap());
        let failed = failed.into_iter().flatten();
        let charges = Charges {
            sends: sends.into_iter().flatten().map(tick).collect(),
            failed: failed.map(|name| self.guess_named(name)).collect(),
            balance: integer(&balance.unwrap()["parts"]),
            cap: cap.map_or(0, |cap| integer(&cap["requests"])),
        };
        (
            [first, second].map(|item| item.map(|item| self.read(item))),
            charges,
        )
    }

    /// A verification in the model's words.
    fn read(&self, item: &Item) -> Verification {
        let send = &item["sends"].as_m().unwrap()["first"].as_m().unwrap();
        let number = |name: &str| item.get(name).map_or(0, integer).try_into().unwrap();
        let time = |item: &Item, name: &str| item.get(name).map_or(0, tick);
        let ttl = Timestamp::from_millis(integer(&item["ttl"]) * 1_000).minus(KEPT);
        let digest = item.keys().find_map(|name| name.strip_prefix("code#"));
        comparable(Verification {
            state: match text(&item["state"]) {
                "open" => State::Open,
                "verified" => State::Verified,
                "void" => State::Void,
                other => unreachable!("{other}"),
            },
            digest: digest
                .map(|digest| position(self.codes.iter(), |code| code.encode() == digest)),
            seed: item.get("seed").map_or(0, |seed| {
                self.number_of(|request| request.seed.encode() == text(seed))
            }),
            body: position(self.bodies.iter(), |body| {
                body.encode() == text(&item["body"])
            }),
            begun_at: time(item, "began_at"),
            expires_at: time(item, "expires_at"),
            ttl: tick_at(ttl).saturating_add(self.protocol.scenario.kept()),
            attempts: number("attempts"),
            tries: from_fn(|guess| number(&format!("try#{}", self.guesses[guess].as_str()))),
            had_failures: item.contains_key("failures"),
            send: match text(&send["state"]) {
                "stored" => SendState::Stored,
                "sent" => SendState::Sent,
                "unsent" => SendState::Unsent,
                other => unreachable!("{other}"),
            },
            call_id: self.number_of(|request| request.call.id().as_str() == text(&send["call_id"])),
            lease_until: time(send, "lease_until"),
        })
    }

    fn number_of(&self, is_it: impl Fn(&Request) -> bool) -> u8 {
        position(self.requests.iter(), is_it)
    }

    /// The guess whose call's id begins so.
    fn guess_named(&self, name: &str) -> u8 {
        position(self.guesses.iter(), |call| call.as_str().starts_with(name))
    }
}

/// A verification without what nobody reads of a void one.
fn comparable(item: Verification) -> Verification {
    if item.state != State::Void {
        return item;
    }
    Verification {
        seed: 0,
        begun_at: 0,
        expires_at: 0,
        attempts: 0,
        tries: [0; GUESS_IDS],
        had_failures: false,
        lease_until: 0,
        ..item
    }
}

/// Limits with the model's one window.
fn limits(protocol: &Protocol) -> Limits {
    let seconds = u32::from(protocol.scenario.window) * u32::try_from(TICK.as_secs()).unwrap();
    Limits {
        windows: vec![Window { sends: 1, seconds }],
        ..Limits::default()
    }
}

fn at(tick: u8) -> Timestamp {
    START.plus(TICK * tick.into())
}

fn tick(value: &AttributeValue) -> u8 {
    tick_at(Timestamp::from_millis(integer(value)))
}

fn tick_at(time: Timestamp) -> u8 {
    position((0..u8::MAX).map(at), |one| one == time)
}

/// Where it is among all; 255 where it is not.
fn position<T>(mut all: impl Iterator<Item = T>, is_it: impl Fn(T) -> bool) -> u8 {
    let place = all.position(is_it);
    place.map_or(u8::MAX, |place| place.try_into().unwrap())
}

fn text(value: &AttributeValue) -> &str {
    value.as_s().unwrap()
}

fn integer(value: &AttributeValue) -> i64 {
    value.as_n().unwrap().parse().unwrap()
}
