//! Twofa's protocol as a specification that a model checker explores.
//!
//! The product's claims about concurrency are about *any* interleaving of callers, lost answers and
//! dying processes; tests can only try some. Here each write is one atomic step on a small state,
//! and [`stateright`] visits every state that can be reached within the bounds of a [`Scenario`].
//!
//! - [`aws`]: what the tables and SNS hold, and what each write does to it.
//! - [`calls`]: what `request` and `validate` do between two writes.
//! - [`properties`]: what must hold, always or in the end.
//! - here: what may happen next, of which all is tried. That is [`Action`].
//!
//! # What may happen
//!
//! Every call may begin at any time, and any write that is under way may be next. Its answer
//! arrives, or is lost; then the SDK repeats the write, or has no tries left ([`Network`]). A process
//! dies between any two writes, or time passes. Faults are bounded by the scenario, order is not.
//!
//! # What is left out
//!
//! - Other clients, recipients and verifications: no item is shared with them but the recipient's and
//!   the client's, where they are a limit that holds for a while or a balance that is too small.
//! - The cap of the stack, which is charged as the client is; test numbers; the three peppers.
//! - The end of memory: a charge's mark after a minute, the item a day after its code.
//! - A call is dead by the end of its lease, because its function's time is up then. So is a write
//!   that was cut off: it lands before that, or never.
//! - Of `request`, writes that land after they were cut off and repeated; guesses bear them. The
//!   program's `--late 1` shows what such a write does: what was given back may be taken again, and
//!   a code that nobody was sent may come alive.
//! - What a code that could not be marked as sent comes to: the same request, made again after the
//!   lease, sends it again, and what comes of that is the answer ([`properties`]).
//! - Ticks are coarse: a code lives three, a lease and a window of the recipient's limit last one.

pub mod aws;
pub mod calls;
pub mod properties;

use std::fmt;

use clap::ValueEnum;
use stateright::{Checker as _, Expectation, HasDiscoveries, Model, Path, Property};

use crate::aws::{Aws, LEASE, Reply, Write};
use crate::calls::{Answer, GuessCall, GuessStep, RequestCall, Step};

/// A way to get the protocol wrong, which the properties must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flaw {
    /// A guess is compared with what was read, and counted in a second write.
    CompareBeforeCount,
    /// A guess leaves no mark by which a repeated write knows itself.
    CountWithoutMark,
    /// The message goes out first, and its code is stored then.
    SendBeforeStore,
    /// Who takes over a dead call makes a code of its own.
    FreshCodeOnTakeOver,
    /// A charge leaves no mark by which a repeated write knows itself.
    ChargeWithoutMark,
    /// A code whose message was not sent stays alive.
    LeaveUnsentAlive,
    /// A code is killed without a look at who holds it by now.
    KillForAnother,
    /// A condition that fails on a repeated guess is taken for the guess's own success.
    TakeLostWriteForSuccess,
}

/// How much may happen.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a bound of its own")]
pub struct Scenario {
    /// What it is about.
    pub name: &'static str,
    /// How many calls of `request` are made.
    pub requests: u8,
    /// Whether they have an `Idempotency-Key`, all the same.
    pub is_keyed: bool,
    /// Whether the last of them is made when all others have ended and no limit or lease holds any
    /// more, and meets no faults.
    pub is_repeated_to_the_end: bool,
    /// Whether to begin once a first call has sent its code, but not marked it as sent.
    pub begins_sent: bool,
    /// Whether recipient and client may be at a limit at first.
    pub has_limits: bool,
    /// The calls of `validate`: which guess is by which name, and whether it is right. Calls of one
    /// name have the same `Idempotency-Key`.
    pub guesses: &'static [(u8, bool)],
    /// How often at most each kind of fault happens.
    pub faults: Faults,
}

/// How often at most each kind of fault happens.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Faults {
    /// An answer is lost, and the SDK repeats the write.
    pub lost: u8,
    /// All tries are used up, and the last of them may have landed.
    pub gave_up: u8,
    /// A write is cut off and repeated, and lands later all the same.
    pub late: u8,
    /// SNS does not take the message.
    pub refused: u8,
    /// A process dies.
    pub crashes: u8,
}

/// The scenarios that are explored.
pub const SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "one request without a key, and a right guess",
        requests: 1,
        is_keyed: false,
        is_repeated_to_the_end: false,
        begins_sent: false,
        has_limits: true,
        guesses: &[(0, true), (1, false)],
        faults: Faults {
            lost: 2,
            gave_up: 1,
            late: 0,
            refused: 1,
            crashes: 1,
        },
    },
    Scenario {
        name: "a request repeated with its key until it is answered",
        requests: 3,
        is_keyed: true,
        is_repeated_to_the_end: true,
        begins_sent: false,
        has_limits: true,
        guesses: &[],
        faults: Faults {
            lost: 1,
            gave_up: 1,
            late: 0,
            refused: 1,
            crashes: 1,
        },
    },
    Scenario {
        name: "guesses at once, two of them with one key",
        requests: 1,
        is_keyed: true,
        is_repeated_to_the_end: false,
        begins_sent: true,
        has_limits: false,
        guesses: &[(0, true), (1, false), (1, false), (2, true)],
        faults: Faults {
            lost: 1,
            gave_up: 0,
            late: 1,
            refused: 0,
            crashes: 0,
        },
    },
    Scenario {
        name: "a request taken over, and guesses",
        requests: 2,
        is_keyed: true,
        is_repeated_to_the_end: false,
        begins_sent: false,
        has_limits: false,
        guesses: &[(0, true), (1, false)],
        faults: Faults {
            lost: 1,
            gave_up: 0,
            late: 0,
            refused: 1,
            crashes: 1,
        },
    },
];

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
    /// What AWS holds.
    pub aws: Aws,
    /// The calls of `request`.
    pub requests: Vec<RequestCall>,
    /// The calls of `validate`.
    pub guesses: Vec<GuessCall>,
    /// The time.
    pub clock: u8,
    /// The faults that may still happen.
    pub faults: Faults,
    /// Writes that were cut off and will land.
    pub late: Vec<Write>,
}

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A call of `request`.
    Request(usize),
    /// A call of `validate`.
    Guess(usize),
}

/// What becomes of a write and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// It is carried out, and answered.
    Answered,
    /// It is carried out, the answer is lost, the SDK repeats it.
    AnswerLost,
    /// It is under way for too long, the SDK repeats it, and it lands later.
    CutOff,
    /// There is no answer to the last try, which landed.
    GaveUpLanded,
    /// There is no answer to the last try, and none has landed.
    GaveUp,
    /// SNS does not take the message.
    Refused,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// A call begins.
    Begin(Who),
    /// A write of a call goes over the network.
    Carry(Who, Write, Network),
    /// A process dies.
    Crash(Who),
    /// A write that was cut off lands.
    Land(usize),
    /// Time passes: a lease, or a recipient's window.
    Tick,
}

impl Model for Protocol {
    type State = Moment;
    type Action = Action;

    fn init_states(&self) -> Vec<Moment> {
        let scenario = &self.scenario;
        let requests = (0..scenario.requests).map(|nr| RequestCall::new(nr, scenario.is_keyed));
        let guesses = scenario
            .guesses
            .iter()
            .map(|&(name, right)| GuessCall::new(name, right));
        let mut first = Moment {
            aws: Aws::default(),
            requests: requests.collect(),
            guesses: guesses.collect(),
            clock: 0,
            faults: scenario.faults,
            late: vec![],
        };
        if scenario.begins_sent {
            for write in [
                Write::Store { code: 0, now: 0 },
                Write::Admit { mark: 0, now: 0 },
                Write::Charge { mark: 0 },
                Write::Publish { code: 0 },
            ] {
                first.aws.carry_out(write, &[0], None);
            }
            first.requests[0].step = Step::Mark;
        }
        let mut all = vec![first.clone()];
        if scenario.has_limits {
            let mut busy = first.clone();
            busy.aws.busy_until = LEASE;
            first.aws.is_broke = true;
            all.extend([busy, first]);
        }
        all
    }

    fn actions(&self, moment: &Moment, actions: &mut Vec<Action>) {
        let faults = moment.faults;
        for (index, call) in moment.requests.iter().enumerate() {
            let who = Who::Request(index);
            if call.step == Step::Waiting && self.may_begin(moment, index) {
                actions.push(Action::Begin(who));
            }
            let is_steadfast = self.is_steadfast(index);
            let of_sns = Faults {
                refused: faults.refused,
                ..Faults::default()
            };
            let faults = if is_steadfast { of_sns } else { faults };
            for write in call.writes() {
                carry(who, write, faults, actions);
            }
            if call.is_at_work() && faults.crashes > 0 {
                actions.push(Action::Crash(who));
            }
        }
        for (index, call) in moment.guesses.iter().enumerate() {
            let who = Who::Guess(index);
            // They begin in order of their number; what they do then is in any order.
            let is_next = index == 0 || moment.guesses[index - 1].step != GuessStep::Waiting;
            if call.step == GuessStep::Waiting && is_next && moment.told_code().is_some() {
                actions.push(Action::Begin(who));
            }
            if let Some(write) = call.write(self.flaw) {
                carry(who, write, faults, actions);
                if faults.crashes > 0 {
                    actions.push(Action::Crash(who));
                }
            }
        }
        actions.extend((0..moment.late.len()).map(Action::Land));
        let is_idle = !moment.requests.iter().any(RequestCall::is_at_work);
        if moment.clock < aws::TTL && is_idle && moment.late.is_empty() {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &Moment, action: Action) -> Option<Moment> {
        let mut next = last.clone();
        match action {
            Action::Begin(Who::Request(index)) => {
                next.requests[index].known = next.requests.iter().find_map(final_answer);
                next.requests[index].now = next.clock;
                next.requests[index].step = if self.scenario.is_keyed {
                    Step::Claim
                } else {
                    Step::ADMIT
                };
            }
            Action::Begin(Who::Guess(index)) => {
                let code = next.told_code();
                let guess = &mut next.guesses[index];
                guess.now = next.clock;
                guess.code = code.filter(|_| guess.is_right);
                guess.step = GuessStep::Guess;
            }
            Action::Carry(who, write, network) => self.carry_over(&mut next, who, write, network),
            Action::Crash(who) => {
                next.faults.crashes -= 1;
                match who {
                    Who::Request(index) => next.requests[index].step = Step::Crashed,
                    Who::Guess(index) => next.guesses[index].step = GuessStep::Crashed,
                }
            }
            Action::Land(index) => {
                let write = next.late.remove(index);
                next.aws.carry_out(write, &last.moments(), self.flaw);
            }
            Action::Tick => next.clock += 1,
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(&self.scenario)
    }
}

/// Everything that can become of a write.
fn carry(who: Who, write: Write, faults: Faults, actions: &mut Vec<Action>) {
    let is_message = matches!(write, Write::Publish { .. });
    for (network, may_be) in [
        (Network::AnswerLost, faults.lost > 0),
        (Network::CutOff, faults.late > 0),
        (Network::GaveUpLanded, faults.gave_up > 0),
        (Network::GaveUp, faults.gave_up > 0),
        (Network::Refused, faults.refused > 0 && is_message),
        (Network::Answered, true),
    ] {
        if may_be {
            actions.push(Action::Carry(who, write, network));
        }
    }
}

/// An answer that the wire contract remembers.
fn final_answer(call: &RequestCall) -> Option<Answer> {
    call.answer()
        .filter(|answer| matches!(answer, Answer::Accepted | Answer::Rejected))
}

impl Protocol {
    /// Whether this call is the one that is made when all others have ended.
    fn is_steadfast(&self, index: usize) -> bool {
        self.scenario.is_repeated_to_the_end && index + 1 == usize::from(self.scenario.requests)
    }

    fn may_begin(&self, moment: &Moment, index: usize) -> bool {
        let before = &moment.requests[..index];
        if self.is_steadfast(index) {
            // By then leases and limits are past.
            moment.clock > LEASE && !before.iter().any(RequestCall::is_at_work)
        } else {
            let in_order = before.iter().all(|call| call.step != Step::Waiting);
            in_order && (moment.clock <= LEASE || !self.scenario.is_repeated_to_the_end)
        }
    }

    fn carry_over(&self, next: &mut Moment, who: Who, write: Write, network: Network) {
        let moments = next.moments();
        let faults = &mut next.faults;
        let (spent, lands) = match network {
            Network::Answered => (None, true),
            Network::AnswerLost => (Some(&mut faults.lost), true),
            Network::CutOff => (Some(&mut faults.late), false),
            Network::GaveUpLanded => (Some(&mut faults.gave_up), true),
            Network::GaveUp => (Some(&mut faults.gave_up), false),
            Network::Refused => (Some(&mut faults.refused), false),
        };
        if let Some(spent) = spent {
            *spent -= 1;
        }
        let carried = lands.then(|| next.aws.carry_out(write, &moments, self.flaw));
        let reply = match network {
            Network::Answered => carried,
            Network::Refused => Some(Reply::Refused),
            Network::GaveUpLanded | Network::GaveUp => None,
            Network::AnswerLost | Network::CutOff => {
                if let Who::Guess(index) = who {
                    next.guesses[index].is_repeated = true;
                }
                if network == Network::CutOff {
                    next.late.push(write);
                }
                return;
            }
        };
        match who {
            Who::Request(index) => next.requests[index].receive(write, reply, self.flaw),
            Who::Guess(index) => {
                let guess = &mut next.guesses[index];
                guess.receive(reply, self.flaw);
                next.aws.compared +=
                    u8::from(matches!(guess.step, GuessStep::Compared(_)) && write == Write::Read);
            }
        }
    }
}

impl Moment {
    /// When each request was made.
    fn moments(&self) -> Vec<u8> {
        self.requests.iter().map(|call| call.now).collect()
    }

    /// The code that a caller was told is on its way.
    fn told_code(&self) -> Option<u8> {
        let told = |call: &&RequestCall| call.answer() == Some(Answer::Accepted);
        self.requests.iter().find(told).map(|call| call.code)
    }
}

/// What came of exploring a scenario.
#[derive(Debug)]
pub struct Explored {
    /// How many different moments were reached.
    pub moments: usize,
    /// How many steps the run had that was farthest from a beginning.
    pub depth: usize,
    /// The properties that do not hold, and those that should come about and do not.
    pub broken: Vec<&'static str>,
}

impl Protocol {
    /// Visits every moment that can be reached.
    #[must_use]
    pub fn explore(self) -> Explored {
        let properties = self.properties();
        let checker = self
            .checker()
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

    /// A shortest run that violates a property, and the property.
    #[must_use]
    pub fn counterexample(self) -> Option<(&'static str, Path<Moment, Action>)> {
        let mut shortest: Option<(&'static str, Path<Moment, Action>)> = None;
        loop {
            // The checker reports the last violation of a block, so it is asked for shorter ones.
            let mut checker = self
                .clone()
                .checker()
                .finish_when(HasDiscoveries::AnyFailures);
            if let Some((_, path)) = &shortest {
                checker = checker.target_max_depth(path.clone().into_states().len());
            }
            let found = checker.spawn_bfs().join().discoveries();
            let violated = self
                .properties()
                .into_iter()
                .filter(|property| !matches!(property.expectation, Expectation::Sometimes))
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

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(who) => write!(f, "{who} begins"),
            Self::Crash(who) => write!(f, "{who}: its process dies"),
            Self::Land(index) => write!(
                f,
                "the write that was cut off lands (of these number {index})"
            ),
            Self::Tick => write!(f, "time passes"),
            Self::Carry(who, write, network) => {
                let fate = match network {
                    Network::Answered => "carried out and answered",
                    Network::AnswerLost => {
                        "carried out, the answer is lost, and the SDK repeats it"
                    }
                    Network::CutOff => "too late, the SDK repeats it, and it is still on its way",
                    Network::GaveUpLanded => "carried out, but never answered",
                    Network::GaveUp => "not carried out, and never answered",
                    Network::Refused => "refused",
                };
                write!(f, "{who}: {write}: {fate}")
            }
        }
    }
}
