//! Twofa's protocol as a specification that a model checker explores.
//!
//! The product's claims about concurrency are about *any* interleaving of callers, lost answers and
//! dying processes; tests can only try some. Here each DynamoDB write and each call of the message
//! service is one atomic step on a small state, and [`stateright`] visits every state that can be
//! reached within the bounds of a [`Scenario`].
//!
//! - [`tables`]: what the tables hold, and the expression that each write stands for.
//! - [`calls`]: what `request` and `validate` do between two writes.
//! - [`properties`]: what must hold, always or in the end, and what cannot be avoided.
//! - [`scenarios`] and [`flaws`]: the bounds, and ways to get the protocol wrong.
//! - [`trace`]: random runs, to be replayed against the product's store.
//! - here: what may happen next, all of which is tried. That is [`Action`].
//!
//! # The protocol
//!
//! A request begins: one transaction puts the verification, enters the send in the recipient's
//! windows and takes its parts from the balance. So *if the verification exists, its send is
//! charged; if not, nothing is.* Then it counts against the caps, publishes, and marks the send as
//! sent. A refusal after the begin is undone by one transaction before it is answered; a publish
//! without an answer leaves everything as it is. A call that meets the item of an earlier call with
//! the same key gives the first answer, waits (409), takes the dead call's send over, or begins
//! anew.
//!
//! # What may happen
//!
//! Every call may start at any time, and any of its writes may be next. Each write has a [`Fate`]:
//! it is answered; its answer is lost, or it is cut off and lands later, and the SDK repeats it; the
//! call gives up without an answer; the process dies. A write without an answer landed, lands later,
//! or never. Faults are bounded by the scenario; order is not.
//!
//! # What is left out
//!
//! - Other clients and recipients: no item is shared with them but the caps.
//! - Resends and cancels; the look at its own item before a keyed call is refused by its profile.
//! - The day's count, the pointers from message ids, test numbers, the three peppers, a long list of
//!   sends that is cut to 40, the end of a lock.
//! - Time is coarse: a lease and the recipient's window last one tick or two. A write that was cut
//!   off lands within two ticks, or never.

pub mod calls;
pub mod flaws;
pub mod properties;
pub mod scenarios;
pub mod tables;
pub mod trace;

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::thread;

use stateright::{Checker as _, Expectation, HasDiscoveries, Model, Path, Property};

use crate::calls::{Answer, GuessCall, GuessStep, RequestCall, Step};
pub use crate::flaws::Flaw;
pub use crate::scenarios::{SCENARIOS, Scenario};
use crate::tables::{
    Deeds, Message, Recipient, Reply, State, Tables, VERIFICATIONS, Verification, Write,
};

/// The protocol, as the product has it or with a flaw.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// What may happen.
    pub scenario: Scenario,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
}

/// One moment of a run.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct Moment {
    /// What DynamoDB holds.
    pub tables: Tables,
    /// The calls of `request`.
    pub requests: Vec<RequestCall>,
    /// The calls of `validate`.
    pub guesses: Vec<GuessCall>,
    /// The time.
    pub clock: u8,
    /// How many faults may still happen.
    pub faults: u8,
    /// How many of them may be a write that lands later.
    pub may_be_late: u8,
    /// Writes that were cut off and may land.
    pub late: Vec<Late>,
    /// The messages that were taken.
    pub messages: Vec<Message>,
    /// For the properties: what was done to the verifications.
    pub deeds: Deeds,
    /// For the properties: an answer that was wrong when it was given.
    pub wrong: Option<Wrong>,
}

/// A write that was cut off.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub struct Late {
    /// The last tick at which it may land.
    pub until: u8,
    /// The write.
    pub write: Write,
}

/// What can be wrong with an answer at the moment it is given.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Wrong {
    /// A right, timely, first guess is refused.
    RightGuessRefused,
    /// REJECTED or 429 while a code of the same key is alive.
    RefusedBesideLiveCode,
    /// 429 or REJECTED because of the same key's own send.
    RefusedForOwnSend,
    /// ACCEPTED, but no message with that code was taken, or it is void.
    AcceptedUnsent,
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A call of `request`.
    Request(usize),
    /// A call of `validate`.
    Guess(usize),
}

/// Whether a write without an answer is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// It is.
    Now,
    /// It is on its way.
    Later,
    /// It is not.
    Never,
}

/// What becomes of a write and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out, or its condition fails, and it is answered.
    Answered,
    /// It is carried out, the answer is lost, and the SDK repeats it.
    AnswerLost,
    /// It is cut off, to land later, and the SDK repeats it.
    CutOff,
    /// No attempt is answered in time.
    Unanswered(Landing),
    /// The process dies.
    Dies(Landing),
    /// Other transactions hold an item until the call's time is up.
    Conflict,
    /// Of a flaw: a transaction holds the verification, and what refuses beside it is believed.
    ConflictBeside,
    /// The message service refuses this message.
    Refused,
    /// The message service refuses every message.
    RefusedForAll,
    /// Of a flaw: the first attempt is taken without an answer, and the second refused.
    TakenThenRefused,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// A call starts, with that code.
    Start(Who, u8),
    /// A write of a call goes over the network.
    Carry(Who, Write, Fate),
    /// A write that was cut off lands.
    Land(usize),
    /// DynamoDB deletes an item past its `ttl`.
    Collect(usize),
    /// Time passes.
    Tick,
}

impl Model for Protocol {
    type State = Moment;
    type Action = Action;

    fn init_states(&self) -> Vec<Moment> {
        let scenario = &self.scenario;
        let calls = (0u8..).zip(scenario.requests);
        let mut first = Moment {
            tables: Tables {
                verifications: [None; VERIFICATIONS],
                recipient: Recipient::default(),
                balance: scenario.balance,
                cap: 0,
            },
            requests: calls
                .map(|(number, &(verification, body))| RequestCall::new(number, verification, body))
                .collect(),
            guesses: scenario
                .guesses
                .iter()
                .map(|&key| GuessCall::new(key))
                .collect(),
            clock: 0,
            faults: scenario.faults,
            may_be_late: scenario.late,
            late: vec![],
            messages: vec![],
            deeds: Deeds::default(),
            wrong: None,
        };
        if scenario.begins_accepted {
            first.requests[0].start(0, 0, self);
            self.run_without_faults(&mut first, 0);
        }
        vec![first]
    }

    fn actions(&self, moment: &Moment, actions: &mut Vec<Action>) {
        for (index, call) in moment.requests.iter().enumerate() {
            let who = Who::Request(index);
            if call.step == Step::Waiting && moment.is_next(index) {
                let either = self.scenario.draws_codes && index > 0;
                actions.extend((0..=u8::from(either)).map(|code| Action::Start(who, code)));
            } else if let Some(write) = call.write(self) {
                self.fates(moment, who, write, actions);
            }
        }
        for (index, call) in moment.guesses.iter().enumerate() {
            let who = Who::Guess(index);
            // They start in the order of their numbers; what they do then is in any order.
            let is_next = index == 0 || moment.guesses[index - 1].step != GuessStep::Waiting;
            let has_item = moment.tables.verifications[0].is_some();
            if call.step == GuessStep::Waiting && is_next && has_item {
                actions.extend([0, 1].map(|code| Action::Start(who, code)));
            } else if let Some(write) = call.write(self) {
                self.fates(moment, who, write, actions);
            }
        }
        actions.extend((0..moment.late.len()).map(Action::Land));
        if self.scenario.collects {
            let is_past =
                |slot: &Option<Verification>| slot.is_some_and(|item| item.ttl <= moment.clock);
            let slots = moment.tables.verifications.iter().enumerate();
            let past = slots.filter(|(_, slot)| is_past(slot));
            actions.extend(past.map(|(index, _)| Action::Collect(index)));
        }
        if moment.clock < self.scenario.ends_at && self.is_in_time(moment) {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &Moment, action: Action) -> Option<Moment> {
        let mut next = last.clone();
        match action {
            Action::Start(Who::Request(index), code) => {
                next.requests[index].start(next.clock, code, self);
            }
            Action::Start(Who::Guess(index), code) => {
                let guess = &mut next.guesses[index];
                (guess.now, guess.code, guess.step) = (next.clock, code, GuessStep::Guess);
            }
            Action::Carry(who, write, fate) => self.carry(&mut next, who, write, fate),
            Action::Land(index) => {
                let write = next.late.remove(index).write;
                self.land(&mut next, write);
            }
            Action::Collect(index) => next.tables.verifications[index] = None,
            Action::Tick => {
                next.clock += 1;
                next.late.retain(|late| late.until >= next.clock);
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(&self.scenario)
    }
}

impl Protocol {
    /// Whether it has that flaw.
    #[must_use]
    pub fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// The end of a code that is taken over at `now`: a full ttl, within 600 s of its begin.
    #[must_use]
    pub fn end_of_take_over(&self, item: &Verification, now: u8) -> u8 {
        let end = item.expires_at.max(now + self.scenario.ttl);
        end.min(item.begun_at + self.scenario.longest)
    }

    /// Whether a code is so old that a take-over would leave it less than 30 s.
    #[must_use]
    pub fn is_too_late(&self, item: &Verification, now: u8) -> bool {
        let end = (now + self.scenario.ttl).min(item.begun_at + self.scenario.longest);
        end < now + self.scenario.least
    }

    /// Whether a flaw gives a code that is taken over another one.
    fn takes_over_afresh(&self, item: &Verification, now: u8) -> bool {
        self.has(Flaw::FreshCodeOnTakeOver)
            || self.has(Flaw::FreshCodeUncharged) && self.is_too_late(item, now)
    }

    fn cap_or_publish(&self) -> Step {
        if self.scenario.cap.is_some() {
            Step::AddToCap
        } else {
            Step::Publish
        }
    }

    /// Whether no running call is out of time when the clock ticks.
    fn is_in_time(&self, moment: &Moment) -> bool {
        let has_time = |start: u8| moment.clock < start + self.scenario.timeout;
        let mut requests = moment.requests.iter();
        let mut guesses = moment.guesses.iter();
        requests.all(|call| !call.is_running() || has_time(call.now))
            && guesses.all(|call| !call.is_running() || has_time(call.now))
    }

    /// Everything that can become of a write.
    fn fates(&self, moment: &Moment, who: Who, write: Write, actions: &mut Vec<Action>) {
        let mut add = |fate| actions.push(Action::Carry(who, write, fate));
        add(Fate::Answered);
        if moment.faults == 0 {
            return;
        }
        let is_publish = matches!(write, Write::Publish { .. });
        let may_be_late =
            moment.may_be_late > 0 && !matches!(write, Write::Read { .. } | Write::Count { .. });
        let changes = is_publish || {
            let mut after = moment.clone();
            self.land(&mut after, write);
            after.tables != moment.tables
        };
        if is_publish {
            add(Fate::Refused);
            if self.scenario.refuses_for_all {
                add(Fate::RefusedForAll);
            }
            if self.has(Flaw::LastAttemptDecides) {
                add(Fate::TakenThenRefused);
            }
        } else {
            let is_repeated =
                !matches!(write, Write::SubtractFromCap) || self.has(Flaw::RepeatCapRelease);
            if changes && is_repeated {
                add(Fate::AnswerLost);
            }
            // The caps are not repeated by a call that has no answer, and so never late.
            if may_be_late && !matches!(write, Write::AddToCap | Write::SubtractFromCap) {
                add(Fate::CutOff);
            }
        }
        if matches!(write, Write::Begin { .. }) {
            add(Fate::Conflict);
            if self.has(Flaw::RefusalBeforeConflict) {
                add(Fate::ConflictBeside);
            }
        }
        let is_cap = matches!(write, Write::AddToCap | Write::SubtractFromCap);
        for (landing, may_be) in [
            (Landing::Now, changes),
            (Landing::Later, may_be_late && !is_cap),
            (Landing::Never, true),
        ] {
            if may_be {
                add(Fate::Unanswered(landing));
                // To die is to give up, for a guess.
                if matches!(who, Who::Request(_)) {
                    add(Fate::Dies(landing));
                }
            }
        }
    }

    /// Carries out a write of a call, or does not, and tells the call.
    fn carry(&self, next: &mut Moment, who: Who, mut write: Write, fate: Fate) {
        if let Write::Publish { message } = &mut write {
            message.at = next.clock;
        }
        if fate != Fate::Answered {
            next.faults -= 1;
        }
        let landing = match fate {
            Fate::Answered | Fate::AnswerLost | Fate::TakenThenRefused => Landing::Now,
            Fate::CutOff => Landing::Later,
            Fate::Unanswered(landing) | Fate::Dies(landing) => landing,
            Fate::Conflict | Fate::ConflictBeside | Fate::Refused | Fate::RefusedForAll => {
                Landing::Never
            }
        };
        let before = next.tables.verifications[0];
        let carried = match landing {
            Landing::Now => Some(self.land(next, write)),
            Landing::Later => {
                let until = next.clock + self.scenario.lateness;
                next.may_be_late -= 1;
                next.late.push(Late { until, write });
                next.late.sort_unstable();
                None
            }
            Landing::Never => None,
        };
        let reply = match fate {
            Fate::Answered => carried,
            Fate::AnswerLost | Fate::CutOff => {
                match who {
                    Who::Request(index) => {
                        let call = &mut next.requests[index];
                        call.is_in_doubt |= matches!(call.step, Step::Begin { .. });
                    }
                    Who::Guess(index) => {
                        next.guesses[index].is_repeated = self.has(Flaw::TakeLostWriteForSuccess);
                    }
                }
                return;
            }
            Fate::Dies(_) => {
                if let Who::Request(index) = who {
                    next.requests[index].die();
                }
                return;
            }
            Fate::Unanswered(_) => None,
            Fate::Conflict => Some(Reply::Conflict),
            Fate::ConflictBeside => Some(self.refusal_beside(next, write)),
            Fate::Refused | Fate::TakenThenRefused => Some(Reply::Refused),
            Fate::RefusedForAll => Some(Reply::RefusedForAll),
        };
        match who {
            Who::Request(index) => {
                let step = next.requests[index].step;
                if let Some(Reply::Met(Some(item))) = reply
                    && self.has(Flaw::OwnWriteToldByCode)
                    && item.call_id != next.requests[index].number
                {
                    next.deeds.uncounted += u8::from(matches!(step, Step::Begin { .. }));
                }
                next.requests[index].receive(reply, self);
                if let Some(answer) = next.requests[index].answer() {
                    check_answer(next, index, answer, step);
                }
            }
            Who::Guess(index) => {
                let is_guess = next.guesses[index].step == GuessStep::Guess;
                next.guesses[index].receive(reply, self);
                if is_guess {
                    self.check_verdict(next, index, before);
                }
            }
        }
    }

    /// Carries out a write.
    fn land(&self, next: &mut Moment, write: Write) -> Reply {
        if let Write::Publish { message } = write {
            next.messages.push(message);
            next.messages.sort_unstable();
        }
        next.tables.carry_out(write, self, &mut next.deeds)
    }

    /// Of a flaw: what refuses a begin beside the conflict on its verification.
    fn refusal_beside(&self, next: &Moment, write: Write) -> Reply {
        let Write::Begin { begin, is_second } = write else {
            return Reply::Conflict;
        };
        let is_held = next.requests.iter().any(|other| {
            other.number != begin.call
                && other.verification == begin.verification
                && other.is_running()
        });
        let mut tables = next.tables.clone();
        tables.verifications[usize::from(begin.verification)] = None;
        let write = Write::Begin { begin, is_second };
        match tables.carry_out(write, self, &mut Deeds::default()) {
            Reply::Done | Reply::Failures => Reply::Conflict,
            refusal if is_held => refusal,
            _ => Reply::Conflict,
        }
    }

    /// Notes a right, timely, first guess that is refused.
    fn check_verdict(&self, next: &mut Moment, index: usize, before: Option<Verification>) {
        let guess = next.guesses[index];
        let is_success = matches!(guess.step, GuessStep::Settle(calls::Verdict::Success))
            || guess.verdict() == Some(calls::Verdict::Success);
        let is_unknown = guess.verdict() == Some(calls::Verdict::Unavailable);
        let is_first = next.deeds.successes == 0
            && before.is_none_or(|item| item.tries[usize::from(guess.id())] == 0);
        if is_success || is_unknown || !is_first {
            return;
        }
        let is_due = next.requests.iter().any(|call| {
            call.verification == 0
                && call.has_promised()
                && guess.now < next.promised_end(call, self)
                && call
                    .seed
                    .is_some_and(|seed| !next.deeds.exhausted.contains(&seed))
                && next.is_taken(call, guess.code)
        });
        if is_due {
            next.wrong = next.wrong.or(Some(Wrong::RightGuessRefused));
        }
    }

    /// Runs a call that has started, without faults and without others.
    fn run_without_faults(&self, moment: &mut Moment, index: usize) {
        while let Some(write) = moment.requests[index].write(self) {
            self.carry(moment, Who::Request(index), write, Fate::Answered);
        }
    }

    /// Whether a caller who repeats the key of verification 0 and meets no faults is answered
    /// ACCEPTED before long. The client has balance and caps, and the recipient is not locked.
    fn is_answered_when_repeated(&self, moment: &Moment) -> bool {
        let mut moment = moment.clone();
        moment.tables.balance = u8::MAX / 2;
        moment.tables.recipient.failed.clear();
        for _ in 0..=self.scenario.longest + self.scenario.lease {
            moment.tables.cap = 0;
            let index = moment.requests.len();
            let Ok(number) = u8::try_from(index) else {
                return false;
            };
            let mut call = RequestCall::new(number, 0, moment.first_body());
            call.start(moment.clock, 1, self);
            moment.requests.push(call);
            self.run_without_faults(&mut moment, index);
            let answer = moment.requests[index].answer();
            if matches!(answer, Some(Answer::Accepted | Answer::AcceptedBefore)) {
                return moment.wrong.is_none();
            }
            moment.clock += 1;
        }
        false
    }
}

/// Notes what is wrong with an answer as it is given after `step`.
fn check_answer(next: &mut Moment, index: usize, answer: Answer, step: Step) {
    let call = next.requests[index];
    let item = next.tables.verifications[usize::from(call.verification)];
    // After an undo, a refusal is older than what is there.
    let is_refusal = answer.is_refusal() && matches!(step, Step::Begin { .. });
    let is_first = matches!(step, Step::Begin { met: None, .. });
    let is_own = |by: u8| next.requests[usize::from(by)].verification == call.verification;
    let has_live = |item: Verification| {
        let has_guesses = !next.deeds.exhausted.contains(&item.seed);
        item.is_alive(next.clock) && item.is_charged() && has_guesses
    };
    let is_unsent = |item: Verification| {
        let mut messages = next.messages.iter();
        item.state != State::Verified
            && !messages.any(|message| {
                message.verification == call.verification && Some(message.code) == item.digest
            })
    };
    let wrong = if is_refusal && item.is_some_and(has_live) {
        Some(Wrong::RefusedBesideLiveCode)
    } else if is_refusal && is_first && call.refused_by.is_some_and(is_own) {
        Some(Wrong::RefusedForOwnSend)
    } else if answer == Answer::AcceptedBefore && item.is_some_and(is_unsent) {
        Some(Wrong::AcceptedUnsent)
    } else {
        None
    };
    next.wrong = next.wrong.or(wrong);
}

impl Moment {
    /// Whether a call may start: those that are alike start in the order of their numbers.
    fn is_next(&self, index: usize) -> bool {
        let call = &self.requests[index];
        let is_alike = |other: &RequestCall| {
            (other.verification, other.body) == (call.verification, call.body)
        };
        let mut before = self.requests[..index].iter();
        !before.any(|other| is_alike(other) && other.step == Step::Waiting)
    }

    /// What the body of the calls that are repeated means.
    fn first_body(&self) -> u8 {
        self.tables.verifications[0].map_or(0, |item| item.body)
    }

    /// Until when a call promised that its code lives.
    #[must_use]
    pub fn promised_end(&self, call: &RequestCall, protocol: &Protocol) -> u8 {
        let begun_at = call
            .seed
            .map_or(call.now, |seed| self.requests[usize::from(seed)].now);
        let scenario = &protocol.scenario;
        (call.now + scenario.ttl).min(begun_at + scenario.longest)
    }

    /// Whether a message with that code was taken, made from the seed of that call's.
    #[must_use]
    pub fn is_taken(&self, call: &RequestCall, code: u8) -> bool {
        let mut messages = self.messages.iter();
        messages.any(|message| {
            message.verification == call.verification
                && Some(message.seed) == call.seed
                && message.code == code
        })
    }

    /// Whether no call is running and no write is on its way.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.late.is_empty() && !self.requests.iter().any(RequestCall::is_running)
    }
}

/// What came of exploring a scenario.
#[derive(Debug)]
pub struct Explored {
    /// How many different moments were reached.
    pub moments: usize,
    /// How many steps the run had that was farthest from the beginning.
    pub depth: usize,
    /// The properties that do not hold, and those that should come about and do not.
    pub broken: Vec<&'static str>,
}

impl Protocol {
    /// Visits every moment that can be reached.
    #[must_use]
    pub fn explore(self) -> Explored {
        let properties = self.properties();
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let checker = self
            .checker()
            .threads(threads)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        let found = checker.discoveries();
        let named = |wanted: bool| {
            let is_wanted = |property: &&Property<Self>| {
                wanted == matches!(property.expectation, Expectation::Sometimes)
                    && wanted != found.contains_key(property.name)
            };
            let named = properties.iter().filter(is_wanted);
            named.map(|property| property.name).collect::<Vec<_>>()
        };
        // It stops at a violation, and then has not seen all that may come about.
        let violated = named(false);
        let broken = if violated.is_empty() {
            named(true)
        } else {
            violated
        };
        Explored {
            moments: checker.unique_state_count(),
            depth: checker.max_depth(),
            broken,
        }
    }

    /// A shortest run that violates a property, and the property; any, or that `of` this name.
    #[must_use]
    pub fn counterexample(
        &self,
        of: Option<&'static str>,
    ) -> Option<(&'static str, Path<Moment, Action>)> {
        let mut shortest: Option<(&'static str, Path<Moment, Action>)> = None;
        loop {
            let until = of.map_or(HasDiscoveries::AnyFailures, |name| {
                HasDiscoveries::AllOf(BTreeSet::from([name]))
            });
            // The checker reports the last violation of a block, so it is asked for shorter ones.
            let mut checker = self.clone().checker().finish_when(until);
            if let Some((_, path)) = &shortest {
                checker = checker.target_max_depth(path.clone().into_states().len());
            }
            let found = checker.spawn_bfs().join().discoveries();
            let violated = self
                .properties()
                .into_iter()
                .filter(|property| !matches!(property.expectation, Expectation::Sometimes))
                .filter(|property| of.is_none_or(|name| name == property.name))
                .filter_map(|property| Some((property.name, found.get(property.name)?.clone())))
                .min_by_key(|(_, path)| path.clone().into_states().len());
            match violated {
                Some(shorter) => shortest = Some(shorter),
                None => return shortest,
            }
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(index) => write!(f, "request {index}"),
            Self::Guess(index) => write!(f, "guess {index}"),
        }
    }
}

impl fmt::Display for Landing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now => "it is carried out",
            Self::Later => "it is still on its way",
            Self::Never => "it is not carried out",
        })
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered => f.write_str("answered"),
            Self::AnswerLost => f.write_str("carried out, the answer is lost, the SDK repeats it"),
            Self::CutOff => f.write_str("cut off, the SDK repeats it, it is still on its way"),
            Self::Unanswered(landing) => write!(f, "no answer, {landing}"),
            Self::Dies(landing) => write!(f, "the process dies, {landing}"),
            Self::Conflict => f.write_str("conflict until the time is up"),
            Self::ConflictBeside => f.write_str("conflict on the verification alone"),
            Self::Refused => f.write_str("refused"),
            Self::RefusedForAll => f.write_str("refused for everybody"),
            Self::TakenThenRefused => f.write_str("taken without an answer, then refused"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(who, code) => write!(f, "{who} starts, with code {code}"),
            Self::Carry(who, write, fate) => write!(f, "{who}: {write}: {fate}"),
            Self::Land(index) => write!(f, "the write that was cut off lands (number {index})"),
            Self::Collect(index) => write!(f, "verification {index} is deleted"),
            Self::Tick => write!(f, "time passes"),
        }
    }
}
