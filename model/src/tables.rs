//! What the tables hold, and what each write does to them: one atomic step.
//!
//! | write | the product's expression |
//! |---|---|
//! | [`Write::Begin`] | one `TransactWriteItems`: `Update` recipient `SET sends = list_append(:now, sends)` where its windows allow it and `attribute_not_exists(failed)` (second try: `size(failed) <= :admitted`); `Put` verification where `attribute_not_exists(id) OR ttl <= :soon OR` the states and the call id are those met; `Update` balance `SET parts = parts - :parts WHERE parts >= :parts` |
//! | [`Write::TakeOver`] | one `TransactWriteItems`: `Update` verification `SET` call id, lease and `expires_at` where the states and the call id are those met and `attempts < max_attempts`; `Update` recipient as above, without its failures |
//! | [`Write::Undo`] | one `TransactWriteItems`: `Update` verification where the send is `stored` and the call id ours: the send `unsent`; if open, the verification `void` and its digest removed; `Update` recipient: the entry removed; `Update` balance `ADD parts :parts` |
//! | [`Write::Tombstone`] | `PutItem` of a void verification with our call id, under the condition of our begin |
//! | [`Write::AddToCap`], [`Write::SubtractFromCap`] | `UpdateItem ADD`, where the cap allows it; a plain subtraction |
//! | [`Write::Publish`] | the message service's call; no write |
//! | [`Write::Mark`] | `UpdateItem`: the send `sent`, where it is `stored` and `seed = :seed`, from which the sent code is made |
//! | [`Write::Guess`] | `UpdateItem SET attempts, #try, state = if_not_exists(#digest, state)` where the verification is open, in time, has guesses left and no `#try` |
//! | [`Write::CountFailure`] | `UpdateItem ADD failed :call WHERE NOT contains(failed, :call)` |
//! | [`Write::ForgetFailures`] | `UpdateItem REMOVE failed` |
//!
//! A transaction's client request token is not here: every attempt is carried out anew, and the
//! conditions alone see to it that it counts once. The token saves a repeat the look at its own write.
//!
//! Codes are 0 or 1, so that a comparison shows at once. Time is counted in ticks. A call id is the
//! number of the call.

use std::fmt;

use crate::{Flaw, Protocol};

/// How many verifications the tables can hold.
pub const VERIFICATIONS: usize = 2;
/// How many ids guesses can have: two codes under each of three keys.
pub const GUESS_IDS: usize = 6;

/// The state of a verification.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It can be guessed, while it has time and guesses left.
    Open,
    /// The right code came back.
    Verified,
    /// It was never sent.
    Void,
}

/// The state of a send.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub enum SendState {
    /// Charged; the message service may have taken the message.
    Stored,
    /// The message service took the message.
    Sent,
    /// Not sent, and not charged.
    Unsent,
}

/// A verification and its send, as the item holds them.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Verification {
    /// Its state.
    pub state: State,
    /// The code whose digest is an attribute's name; `None` when it is void.
    pub digest: Option<u8>,
    /// What the code is made from: the number of the call that began it, and was charged for it.
    pub seed: u8,
    /// What the body of that call means.
    pub body: u8,
    /// When that call started.
    pub begun_at: u8,
    /// The first tick at which the code is dead.
    pub expires_at: u8,
    /// The first tick at which DynamoDB may delete the item.
    pub ttl: u8,
    /// How many guesses are counted.
    pub attempts: u8,
    /// `#try`: as which attempt the guess of that id was counted; 0 is not.
    pub tries: [u8; GUESS_IDS],
    /// Whether a success has failures of the recipient to forget.
    pub had_failures: bool,
    /// The state of its send.
    pub send: SendState,
    /// The call that carries the send out.
    pub call_id: u8,
    /// Until when no other call takes it over.
    pub lease_until: u8,
}

/// By what a later write knows that nothing happened since a verification was read.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub struct Met {
    /// The verification's state.
    pub state: State,
    /// Its send's state.
    pub send: SendState,
    /// The call that carries the send out.
    pub call_id: u8,
}

impl Verification {
    /// What a later write compares.
    #[must_use]
    pub fn met(&self) -> Met {
        Met {
            state: self.state,
            send: self.send,
            call_id: self.call_id,
        }
    }

    /// Whether its send is carried out by `call` and not marked.
    #[must_use]
    pub fn is_stored_by(&self, call: u8) -> bool {
        self.call_id == call && self.send == SendState::Stored
    }

    /// Whether a guess at `now` can be right.
    #[must_use]
    pub fn is_alive(&self, now: u8) -> bool {
        self.state == State::Open && now < self.expires_at
    }

    /// Whether its send is charged.
    #[must_use]
    pub fn is_charged(&self) -> bool {
        self.send != SendState::Unsent
    }
}

/// A send in the recipient's windows.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Entry {
    /// The start of the call that made it.
    pub at: u8,
    /// That call. The product's list holds times alone.
    pub call: u8,
    /// Whether it began a verification, and so took from the balance; a take-over does not.
    pub is_begin: bool,
}

/// The recipient of all messages.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub struct Recipient {
    /// The sends, the last one first.
    pub sends: Vec<Entry>,
    /// The ids of the wrong guesses: a set.
    pub failed: Vec<u8>,
}

impl Recipient {
    /// The send that keeps a window from allowing one at `now`.
    fn blocked_by(&self, now: u8, window: u8) -> Option<u8> {
        let last = self.sends.first()?;
        (last.at + window > now).then_some(last.call)
    }
}

/// Everything that DynamoDB holds.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct Tables {
    /// The verifications.
    pub verifications: [Option<Verification>; VERIFICATIONS],
    /// Their recipient.
    pub recipient: Recipient,
    /// What is left of the client's balance.
    pub balance: u8,
    /// What counts against the client's cap.
    pub cap: u8,
}

/// One write, or the call of the message service.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "the fields are the parameters of the expression"
)]
pub enum Write {
    Begin {
        begin: Begin,
        /// The second try admits failures of the recipient that do not lock it.
        is_second: bool,
    },
    TakeOver {
        verification: u8,
        call: u8,
        now: u8,
        met: Met,
        /// Of a flaw: a code of its own.
        fresh: Option<u8>,
    },
    Undo {
        verification: u8,
        call: u8,
    },
    Tombstone {
        begin: Begin,
    },
    AddToCap,
    SubtractFromCap,
    Publish {
        message: Message,
    },
    Mark {
        verification: u8,
        seed: u8,
        code: u8,
    },
    Guess {
        id: u8,
        code: u8,
        now: u8,
    },
    CountFailure {
        id: u8,
    },
    ForgetFailures,
    /// Of a flaw: reads the verification, to compare.
    Read {
        id: u8,
        now: u8,
    },
    /// Of a flaw: counts a guess that was compared before.
    Count {
        id: u8,
        is_right: bool,
    },
}

/// What a begin puts, and its condition.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub struct Begin {
    /// Which verification.
    pub verification: u8,
    /// The call.
    pub call: u8,
    /// What its body means.
    pub body: u8,
    /// Its start.
    pub now: u8,
    /// Its code.
    pub code: u8,
    /// What it begins anew over.
    pub met: Option<Met>,
}

/// A message on its way to the recipient.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// Which verification.
    pub verification: u8,
    /// What its code is made from.
    pub seed: u8,
    /// Its code.
    pub code: u8,
    /// The call that sends it.
    pub call: u8,
    /// The tick at which it is sent.
    pub at: u8,
}

/// What a write is answered.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Reply {
    /// It is carried out; a message is taken.
    Done,
    /// A guess or a read: the verification as it is now (`ALL_NEW`).
    New(Verification),
    /// A condition on the verification failed: as it is (`ALL_OLD`).
    Met(Option<Verification>),
    /// The recipient's windows do not allow it, because of that call's send.
    Windows(u8),
    /// The recipient is locked.
    Locked,
    /// Its failures alone cancel the first try.
    Failures,
    /// The balance is too small; the last send, if there is one, was charged by that call.
    Balance(Option<u8>),
    /// The cap is reached.
    Cap,
    /// Other transactions hold the items until the call's time is up; nothing is carried out.
    Conflict,
    /// The message service refuses this message.
    Refused,
    /// The message service refuses every message.
    RefusedForAll,
}

/// What was done that the items do not tell, for the properties.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub struct Deeds {
    /// How often the guess of that id was compared with the present code of verification 0.
    pub compared: [u8; GUESS_IDS],
    /// How many comparisons no attempt counts.
    pub uncounted: u8,
    /// How many writes turned verification 0 to verified.
    pub successes: u8,
    /// The seeds whose code ran out of guesses.
    pub exhausted: Vec<u8>,
    /// The seeds whose code was taken over.
    pub taken_over: Vec<u8>,
}

impl Deeds {
    /// A verification has a fresh code.
    fn renew(&mut self, verification: u8) {
        if verification == 0 {
            self.compared = [0; GUESS_IDS];
        }
    }
}

impl Tables {
    /// Carries out `write` in one step, as DynamoDB does, or not at all.
    pub fn carry_out(&mut self, write: Write, protocol: &Protocol, deeds: &mut Deeds) -> Reply {
        match write {
            Write::Begin { begin, is_second } => self.begin(begin, is_second, protocol, deeds),
            Write::TakeOver { .. } => self.take_over(write, protocol, deeds),
            Write::Undo { verification, call } => self.undo(verification, call, protocol),
            Write::Tombstone { begin } => self.tombstone(begin, protocol, deeds),
            Write::AddToCap => {
                if protocol.scenario.cap.is_some_and(|cap| self.cap >= cap) {
                    return Reply::Cap;
                }
                self.cap += 1;
                Reply::Done
            }
            Write::SubtractFromCap => {
                self.cap = self.cap.saturating_sub(1);
                Reply::Done
            }
            Write::Publish { .. } => Reply::Done,
            Write::Mark {
                verification,
                seed,
                code,
            } => self.mark(verification, seed, code, protocol),
            Write::Guess { id, code, now } => self.guess(id, code, now, protocol, deeds),
            Write::CountFailure { id } => {
                let failed = &mut self.recipient.failed;
                let is_counted = if protocol.has(Flaw::FailureCountedByLast) {
                    failed.last() == Some(&id)
                } else {
                    failed.contains(&id)
                };
                if !is_counted {
                    failed.push(id);
                }
                Reply::Done
            }
            Write::ForgetFailures => {
                self.recipient.failed.clear();
                Reply::Done
            }
            Write::Read { id, now } => match self.verifications[0] {
                Some(item) => {
                    deeds.compared[usize::from(id)] += u8::from(item.is_alive(now));
                    Reply::New(item)
                }
                None => Reply::Met(None),
            },
            Write::Count { id, is_right } => {
                if let Some(item) = &mut self.verifications[0]
                    && item.tries[usize::from(id)] == 0
                {
                    item.attempts += 1;
                    item.tries[usize::from(id)] = item.attempts;
                    if is_right {
                        item.state = State::Verified;
                        deeds.successes += 1;
                    }
                }
                Reply::Done
            }
        }
    }

    fn slot(&mut self, verification: u8) -> &mut Option<Verification> {
        &mut self.verifications[usize::from(verification)]
    }

    /// Whether a begin may put its verification: there is none, or it is as the begin met it.
    ///
    /// An item is as good as absent a little before its `ttl`. So whatever keeps a late begin from
    /// landing is still there when it lands.
    fn is_free(&self, begin: Begin, protocol: &Protocol) -> bool {
        match self.verifications[usize::from(begin.verification)] {
            None => true,
            Some(item) => {
                let margin = if protocol.has(Flaw::FreeUntilDeleted) {
                    0
                } else {
                    protocol.scenario.lateness
                };
                item.ttl <= begin.now + margin || begin.met == Some(item.met())
            }
        }
    }

    fn begin(
        &mut self,
        begin: Begin,
        is_second: bool,
        protocol: &Protocol,
        deeds: &mut Deeds,
    ) -> Reply {
        let scenario = &protocol.scenario;
        // The order in which reasons count: the verification, the recipient, the balance.
        if !self.is_free(begin, protocol) {
            return Reply::Met(*self.slot(begin.verification));
        }
        if let Some(by) = self.recipient.blocked_by(begin.now, scenario.window) {
            return Reply::Windows(by);
        }
        let failures = self.recipient.failed.len();
        if failures >= usize::from(scenario.max_failures) {
            return Reply::Locked;
        }
        if self.balance == 0 {
            return Reply::Balance(self.recipient.sends.first().map(|last| last.call));
        }
        if failures > 0 && !is_second {
            return Reply::Failures;
        }
        self.balance -= 1;
        let (at, call) = (begin.now, begin.call);
        let is_begin = true;
        self.recipient.sends.insert(0, Entry { at, call, is_begin });
        deeds.renew(begin.verification);
        *self.slot(begin.verification) = Some(Verification {
            state: State::Open,
            digest: Some(begin.code),
            seed: begin.call,
            body: begin.body,
            begun_at: begin.now,
            expires_at: begin.now + scenario.ttl,
            ttl: begin.now + scenario.ttl + scenario.kept(),
            attempts: 0,
            tries: [0; GUESS_IDS],
            had_failures: failures > 0,
            send: SendState::Stored,
            call_id: begin.call,
            lease_until: begin.now + scenario.lease,
        });
        Reply::Done
    }

    fn take_over(&mut self, write: Write, protocol: &Protocol, deeds: &mut Deeds) -> Reply {
        let Write::TakeOver {
            verification,
            call,
            now,
            met,
            fresh,
        } = write
        else {
            return Reply::Conflict;
        };
        let scenario = &protocol.scenario;
        let blocked_by = self.recipient.blocked_by(now, scenario.window);
        let slot = self.slot(verification);
        let Some(mut item) = *slot else {
            return Reply::Met(None);
        };
        let is_closed = item.state != met.state || item.attempts >= scenario.max_attempts;
        let is_same = item.send == met.send && item.call_id == met.call_id;
        if !is_same || is_closed && !protocol.has(Flaw::TakeOverClosed) {
            return Reply::Met(Some(item));
        }
        let ignores_windows = protocol.has(Flaw::TakeOverWithoutWindow);
        if let Some(by) = blocked_by.filter(|_| !ignores_windows) {
            return Reply::Windows(by);
        }
        if !deeds.taken_over.contains(&item.seed) {
            deeds.taken_over.push(item.seed);
        }
        item.call_id = call;
        item.lease_until = now + scenario.lease;
        if let Some(code) = fresh {
            deeds.renew(verification);
            item.digest = Some(code);
            item.seed = call;
            item.begun_at = now;
            item.attempts = 0;
            item.tries = [0; GUESS_IDS];
            item.expires_at = now + scenario.ttl;
        } else if !protocol.has(Flaw::TakeOverKeepsOldEnd) {
            item.expires_at = protocol.end_of_take_over(&item, now);
        }
        item.ttl = item.ttl.max(item.expires_at + scenario.kept());
        *slot = Some(item);
        if !ignores_windows {
            let (at, is_begin) = (now, false);
            self.recipient.sends.insert(0, Entry { at, call, is_begin });
        }
        Reply::Done
    }

    fn undo(&mut self, verification: u8, call: u8, protocol: &Protocol) -> Reply {
        let for_another = protocol.has(Flaw::UndoForAnother);
        let whatever_state = protocol.has(Flaw::VoidWhateverState);
        let slot = self.slot(verification);
        let Some(item) = slot.as_mut().filter(|item| {
            item.is_stored_by(call) || for_another && item.send == SendState::Stored
        }) else {
            return Reply::Met(*slot);
        };
        item.send = SendState::Unsent;
        let is_open = item.state == State::Open || whatever_state;
        if is_open && !protocol.has(Flaw::LeaveUnsentAlive) {
            item.state = State::Void;
            item.digest = None;
        }
        self.recipient.sends.retain(|entry| entry.call != call);
        self.balance += 1;
        Reply::Done
    }

    fn tombstone(&mut self, begin: Begin, protocol: &Protocol, deeds: &mut Deeds) -> Reply {
        let scenario = &protocol.scenario;
        let is_free = if protocol.has(Flaw::TombstoneOnAbsenceAlone) {
            self.slot(begin.verification).is_none()
        } else {
            self.is_free(begin, protocol)
        };
        if !is_free {
            return Reply::Met(*self.slot(begin.verification));
        }
        deeds.renew(begin.verification);
        *self.slot(begin.verification) = Some(Verification {
            state: State::Void,
            digest: None,
            seed: begin.call,
            body: begin.body,
            begun_at: begin.now,
            expires_at: begin.now,
            ttl: begin.now + scenario.ttl + scenario.kept(),
            attempts: 0,
            tries: [0; GUESS_IDS],
            had_failures: false,
            send: SendState::Unsent,
            call_id: begin.call,
            lease_until: begin.now,
        });
        Reply::Done
    }

    fn mark(&mut self, verification: u8, seed: u8, code: u8, protocol: &Protocol) -> Reply {
        let slot = self.slot(verification);
        let is_any = protocol.has(Flaw::MarkAnything);
        let by_code = protocol.has(Flaw::MarkToldByCode);
        let is_sent =
            |item: &Verification| item.seed == seed || by_code && item.digest == Some(code);
        let is_marked =
            |item: &&mut Verification| is_any || item.send == SendState::Stored && is_sent(item);
        match slot.as_mut().filter(is_marked) {
            Some(item) => {
                item.send = SendState::Sent;
                Reply::Done
            }
            None => Reply::Met(*slot),
        }
    }

    /// Counts, compares and consumes.
    fn guess(
        &mut self,
        id: u8,
        code: u8,
        now: u8,
        protocol: &Protocol,
        deeds: &mut Deeds,
    ) -> Reply {
        let Some(item) = &mut self.verifications[0] else {
            return Reply::Met(None);
        };
        let index = usize::from(id);
        let is_new = item.tries[index] == 0 || protocol.has(Flaw::CountWithoutCallId);
        let has_guesses = item.attempts < protocol.scenario.max_attempts;
        if !(is_new && has_guesses && item.is_alive(now)) {
            return Reply::Met(Some(*item));
        }
        item.attempts += 1;
        item.tries[index] = item.attempts;
        deeds.compared[index] += 1;
        if item.digest == Some(code) {
            item.state = State::Verified;
            deeds.successes += 1;
        } else if item.attempts == protocol.scenario.max_attempts {
            deeds.exhausted.push(item.seed);
        }
        Reply::New(*item)
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin {
                begin, is_second, ..
            } => {
                let anew = if begin.met.is_some() { " anew" } else { "" };
                let second = if *is_second { ", second try" } else { "" };
                write!(f, "begin{anew} with code {}{second}", begin.code)
            }
            Self::TakeOver { fresh: None, .. } => write!(f, "take over"),
            Self::TakeOver { .. } => write!(f, "take over with a fresh code"),
            Self::Undo { .. } => write!(f, "undo"),
            Self::Tombstone { .. } => write!(f, "put a tombstone"),
            Self::AddToCap => write!(f, "add to the cap"),
            Self::SubtractFromCap => write!(f, "subtract from the cap"),
            Self::Publish { message } => write!(f, "publish code {}", message.code),
            Self::Mark { .. } => write!(f, "mark as sent"),
            Self::Guess { code, .. } => write!(f, "guess {code}"),
            Self::CountFailure { .. } => write!(f, "count the failure"),
            Self::ForgetFailures => write!(f, "forget the failures"),
            Self::Read { .. } => write!(f, "read and compare"),
            Self::Count { .. } => write!(f, "count what was compared"),
        }
    }
}
