//! What a call of `request` or `validate` does between two writes: which write is next, and what it
//! makes of the reply.
//!
//! A reply is `None` when no attempt was answered in time: *unknown*.

use crate::tables::{Begin, Message, Met, Reply, SendState, State, Verification, Write};
use crate::{Flaw, Protocol};

/// What the caller of `request` is told.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Answer {
    /// `ACCEPTED`: the message service took this call's message.
    Accepted,
    /// `ACCEPTED`: the first answer, of an earlier call with the same key.
    AcceptedBefore,
    /// `REJECTED`, `GENERAL_ERROR`: the message service refuses this message.
    Rejected,
    /// `REJECTED`, `OUT_OF_BALANCE`.
    OutOfBalance,
    /// 429.
    Limited,
    /// 409: an earlier call with the same key is running.
    Running,
    /// 422: an earlier call with the same key had a body that means something else.
    DifferentBody,
    /// 503.
    Unavailable,
    /// 503 with the request id: the message service may have taken the message.
    Unknown,
}

impl Answer {
    /// Whether it promises that nothing is charged and no code is alive.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Rejected | Self::OutOfBalance | Self::Limited)
    }
}

/// How far a call of `request` has come.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Step {
    /// It has not started.
    Waiting,
    /// Begin, or begin anew over what it met.
    Begin {
        /// What it begins anew over.
        met: Option<Met>,
        /// Whether it is the second try.
        is_second: bool,
    },
    /// Take over what it met.
    TakeOver {
        /// The verification that it met.
        met: Verification,
    },
    /// Count against the cap.
    AddToCap,
    /// Publish.
    Publish,
    /// Mark as sent.
    Mark,
    /// Release the cap, then undo.
    SubtractFromCap {
        /// The answer if the undo is answered.
        answer: Answer,
    },
    /// Undo.
    Undo {
        /// The answer if it is answered.
        answer: Answer,
        /// The begin, if it is unknown whether it landed.
        begin: Option<Begin>,
    },
    /// The begin is unknown and not there: keep it from landing.
    Tombstone {
        /// The answer if it is answered.
        answer: Answer,
        /// The begin.
        begin: Begin,
    },
    /// It has answered.
    Ended(Answer),
    /// Its process died.
    Died,
}

/// A call of `request`.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub struct RequestCall {
    /// Its number, which is its call id and the seed of the code it begins with.
    pub number: u8,
    /// Which verification: calls of one have the same `Idempotency-Key`.
    pub verification: u8,
    /// What its body means.
    pub body: u8,
    /// When it started.
    pub now: u8,
    /// Where it is.
    pub step: Step,
    /// The code it has drawn or met.
    pub code: u8,
    /// What that code is made from, once it has begun or taken over.
    pub seed: Option<u8>,
    /// Whether an attempt of its begin has had no answer.
    pub is_in_doubt: bool,
    /// Whether it set out to take over.
    pub takes_over: bool,
    /// Whether it counts against the cap.
    pub has_cap: bool,
    /// For the properties: its undo, or its tombstone, has had no answer.
    pub is_undo_unknown: bool,
    /// For the properties: it was refused because of that call's send.
    pub refused_by: Option<u8>,
}

impl RequestCall {
    /// The call of that number, not started.
    #[must_use]
    pub fn new(number: u8, verification: u8, body: u8) -> Self {
        Self {
            number,
            verification,
            body,
            now: 0,
            step: Step::Waiting,
            code: 0,
            seed: None,
            is_in_doubt: false,
            takes_over: false,
            has_cap: false,
            is_undo_unknown: false,
            refused_by: None,
        }
    }

    /// Starts at `now`, with the code that its seed gives.
    pub fn start(&mut self, now: u8, code: u8, protocol: &Protocol) {
        (self.now, self.code) = (now, code);
        self.step = if protocol.has(Flaw::SendBeforeStore) {
            Step::Publish
        } else {
            begin(None)
        };
    }

    /// Its answer, if it has given one.
    #[must_use]
    pub fn answer(&self) -> Option<Answer> {
        match self.step {
            Step::Ended(answer) => Some(answer),
            _ => None,
        }
    }

    /// Whether it is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !matches!(self.step, Step::Waiting | Step::Ended(_) | Step::Died)
    }

    /// Whether it gave its promise for its code: accepted, or perhaps taken.
    #[must_use]
    pub fn has_promised(&self) -> bool {
        matches!(self.answer(), Some(Answer::Accepted | Answer::Unknown))
    }

    /// The next write.
    #[must_use]
    pub fn write(&self, protocol: &Protocol) -> Option<Write> {
        let (call, now, verification) = (self.number, self.now, self.verification);
        Some(match self.step {
            Step::Waiting | Step::Ended(_) | Step::Died => return None,
            Step::Begin { met, is_second } => Write::Begin {
                begin: self.begin(met),
                is_second,
            },
            Step::TakeOver { met } => Write::TakeOver {
                verification,
                call,
                now,
                met: met.met(),
                fresh: protocol.takes_over_afresh(&met, now).then_some(self.code),
            },
            Step::AddToCap => Write::AddToCap,
            Step::SubtractFromCap { .. } => Write::SubtractFromCap,
            Step::Publish => Write::Publish {
                message: Message {
                    verification,
                    seed: self.seed.unwrap_or(call),
                    code: self.code,
                    call,
                    at: now,
                },
            },
            Step::Mark => Write::Mark {
                verification,
                seed: self.seed.unwrap_or(call),
                code: self.code,
            },
            Step::Undo { .. } => Write::Undo { verification, call },
            Step::Tombstone { begin, .. } => Write::Tombstone { begin },
        })
    }

    fn begin(&self, met: Option<Met>) -> Begin {
        Begin {
            verification: self.verification,
            call: self.number,
            body: self.body,
            now: self.now,
            code: self.code,
            met,
        }
    }

    /// Goes on with the reply to its write.
    pub fn receive(&mut self, reply: Option<Reply>, protocol: &Protocol) {
        self.step = match self.step {
            Step::Begin { met, is_second } => self.after_begin(met, is_second, reply, protocol),
            Step::TakeOver { met } => self.after_take_over(met, reply, protocol),
            Step::AddToCap => match reply {
                Some(Reply::Done) => {
                    self.has_cap = true;
                    Step::Publish
                }
                Some(_) => self.give_up(Answer::Limited, Answer::Unavailable, protocol),
                None => self.give_up(Answer::Unavailable, Answer::Unavailable, protocol),
            },
            Step::Publish => self.after_publish(reply, protocol),
            Step::Mark => Step::Ended(Answer::Accepted),
            Step::SubtractFromCap { answer } => {
                self.has_cap = false;
                undo(answer, None)
            }
            Step::Undo { answer, begin } => self.after_undo(answer, begin, reply, protocol),
            Step::Tombstone { answer, begin } => match reply {
                Some(Reply::Met(Some(item))) if item.is_stored_by(self.number) => {
                    undo(answer, Some(begin))
                }
                Some(_) => Step::Ended(answer),
                None => self.undo_unknown(answer, protocol),
            },
            step @ (Step::Waiting | Step::Ended(_) | Step::Died) => step,
        };
        if !self.is_running() {
            self.forget();
        }
    }

    /// The process dies.
    pub fn die(&mut self) {
        self.is_undo_unknown |= matches!(self.step, Step::Undo { .. } | Step::Tombstone { .. });
        self.step = Step::Died;
        self.forget();
    }

    /// Forgets what neither a call that is over nor a property needs.
    fn forget(&mut self) {
        self.code = 0;
        self.is_in_doubt = false;
        self.has_cap = false;
    }

    fn after_begin(
        &mut self,
        met: Option<Met>,
        is_second: bool,
        reply: Option<Reply>,
        protocol: &Protocol,
    ) -> Step {
        let Some(reply) = reply else {
            return undo(Answer::Unavailable, Some(self.begin(met)));
        };
        let refusal = match reply {
            Reply::Met(Some(item)) => return self.meet(met, item, protocol),
            Reply::Windows(by) => {
                self.refused_by = Some(by);
                Answer::Limited
            }
            Reply::Locked => Answer::Limited,
            Reply::Failures if !is_second => {
                return Step::Begin {
                    met,
                    is_second: true,
                };
            }
            Reply::Balance(by) => {
                self.refused_by = by;
                Answer::OutOfBalance
            }
            Reply::Done => return self.begun(protocol),
            _ => Answer::Unavailable,
        };
        self.refuse(refusal, met, protocol)
    }

    /// The verification is its own.
    fn begun(&mut self, protocol: &Protocol) -> Step {
        self.seed = Some(self.number);
        self.is_in_doubt = false;
        if protocol.has(Flaw::SendBeforeStore) {
            return Step::Mark;
        }
        protocol.cap_or_publish()
    }

    /// A refusal of the begin: believed if every attempt was answered, else the begin is undone first.
    fn refuse(&mut self, answer: Answer, met: Option<Met>, protocol: &Protocol) -> Step {
        if self.is_in_doubt && !protocol.has(Flaw::BelieveRefusalInDoubt) {
            return undo(answer, Some(self.begin(met)));
        }
        Step::Ended(answer)
    }

    /// Decides about the verification that its begin met.
    fn meet(&mut self, tried: Option<Met>, item: Verification, protocol: &Protocol) -> Step {
        let is_own = if protocol.has(Flaw::OwnWriteToldByCode) {
            item.send == SendState::Stored && item.digest == Some(self.code)
        } else {
            item.is_stored_by(self.number)
        };
        if is_own {
            return self.begun(protocol);
        }
        if item.body != self.body {
            return self.refuse(Answer::DifferentBody, tried, protocol);
        }
        let ignores_closed = protocol.has(Flaw::TakeOverClosed);
        let is_verified = item.state == State::Verified && !ignores_closed;
        if is_verified || item.send == SendState::Sent {
            return Step::Ended(Answer::AcceptedBefore);
        }
        if item.send == SendState::Unsent {
            return begin(Some(item.met()));
        }
        if item.lease_until > self.now || protocol.has(Flaw::StoredMeansRunning) {
            return self.refuse(Answer::Running, tried, protocol);
        }
        if item.attempts >= protocol.scenario.max_attempts && !ignores_closed {
            return begin(Some(item.met()));
        }
        if protocol.is_too_late(&item, self.now) && !protocol.has(Flaw::FreshCodeUncharged) {
            if item.expires_at > self.now {
                return self.refuse(Answer::Running, tried, protocol);
            }
            return begin(Some(item.met()));
        }
        self.takes_over = true;
        Step::TakeOver { met: item }
    }

    fn after_take_over(
        &mut self,
        met: Verification,
        reply: Option<Reply>,
        protocol: &Protocol,
    ) -> Step {
        let is_taken = match reply {
            Some(Reply::Done) => true,
            Some(Reply::Met(Some(item))) => {
                let is_own = item.is_stored_by(self.number);
                if !is_own && (item.send == SendState::Sent || item.state == State::Verified) {
                    return Step::Ended(Answer::AcceptedBefore);
                }
                is_own
            }
            Some(_) => false,
            None => return Step::Ended(Answer::Unavailable),
        };
        if !is_taken {
            return Step::Ended(Answer::Running);
        }
        if protocol.takes_over_afresh(&met, self.now) {
            self.seed = Some(self.number);
        } else {
            self.seed = Some(met.seed);
            self.code = met.digest.unwrap_or_default();
        }
        if protocol.has(Flaw::TakeOverWithoutCaps) {
            return Step::Publish;
        }
        protocol.cap_or_publish()
    }

    fn after_publish(&mut self, reply: Option<Reply>, protocol: &Protocol) -> Step {
        let answer = match reply {
            Some(Reply::Done) if self.seed.is_none() => return begin(None),
            Some(Reply::Done) => return Step::Mark,
            Some(Reply::Refused) => Answer::Rejected,
            Some(_) => Answer::Unavailable,
            None if protocol.has(Flaw::ReleaseOnUnknown) => Answer::Unavailable,
            None => return Step::Ended(Answer::Unknown),
        };
        match self.give_up(answer, Answer::Unknown, protocol) {
            Step::Undo { answer, .. } if self.has_cap => Step::SubtractFromCap { answer },
            step => step,
        }
    }

    /// Undoes what it began; what it took over it leaves, since the call before may have sent.
    fn give_up(&self, begun: Answer, taken_over: Answer, protocol: &Protocol) -> Step {
        if self.takes_over && !protocol.has(Flaw::UndoAfterTakeOver) {
            return Step::Ended(taken_over);
        }
        undo(begun, None)
    }

    fn after_undo(
        &mut self,
        answer: Answer,
        begin: Option<Begin>,
        reply: Option<Reply>,
        protocol: &Protocol,
    ) -> Step {
        let item = match reply {
            Some(Reply::Met(item)) => item,
            Some(_) => return Step::Ended(answer),
            None => return self.undo_unknown(answer, protocol),
        };
        let is_ours = |item: &Verification| item.call_id == self.number;
        if item.is_some_and(|item| is_ours(&item) && item.send == SendState::Unsent) {
            return Step::Ended(answer);
        }
        match begin {
            Some(begin) if item.is_none() || !protocol.has(Flaw::TombstoneOnAbsenceAlone) => {
                Step::Tombstone { answer, begin }
            }
            Some(_) => Step::Ended(answer),
            // Another call took it over.
            None if protocol.has(Flaw::RefuseWithoutUndo) => Step::Ended(answer),
            None => Step::Ended(Answer::Unavailable),
        }
    }

    fn undo_unknown(&mut self, answer: Answer, protocol: &Protocol) -> Step {
        self.is_undo_unknown = true;
        if protocol.has(Flaw::RefuseWithoutUndo) {
            return Step::Ended(answer);
        }
        Step::Ended(Answer::Unavailable)
    }
}

fn begin(met: Option<Met>) -> Step {
    Step::Begin {
        met,
        is_second: false,
    }
}

fn undo(answer: Answer, begin: Option<Begin>) -> Step {
    Step::Undo { answer, begin }
}

/// What the caller of `validate` is told.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the words of the wire contract")]
pub enum Verdict {
    Success,
    NotMatched,
    NotFound,
    /// 503.
    Unavailable,
}

/// How far a call of `validate` has come.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum GuessStep {
    /// It has not started.
    Waiting,
    /// Count, compare and consume.
    Guess,
    /// Of a flaw: compared, and not counted yet.
    Compared {
        /// Whether it is right.
        is_right: bool,
    },
    /// The recipient's failures are counted, or forgotten.
    Settle(Verdict),
    /// It has answered, or its process died.
    Ended(Option<Verdict>),
}

/// A call of `validate`.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct GuessCall {
    /// Its `Idempotency-Key`, or a random one.
    pub key: u8,
    /// The code it guesses.
    pub code: u8,
    /// When it started.
    pub now: u8,
    /// Whether a write of it was sent again.
    pub is_repeated: bool,
    /// Where it is.
    pub step: GuessStep,
}

impl GuessCall {
    /// A guess under that key, not started.
    #[must_use]
    pub fn new(key: u8) -> Self {
        Self {
            key,
            code: 0,
            now: 0,
            is_repeated: false,
            step: GuessStep::Waiting,
        }
    }

    /// Its call id, made of key and code.
    #[must_use]
    pub fn id(&self) -> u8 {
        self.key * 2 + self.code
    }

    /// Whether it is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !matches!(self.step, GuessStep::Waiting | GuessStep::Ended(_))
    }

    /// Its answer, if it has given one.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        match self.step {
            GuessStep::Ended(verdict) => verdict,
            _ => None,
        }
    }

    /// The next write.
    #[must_use]
    pub fn write(&self, protocol: &Protocol) -> Option<Write> {
        let (id, code, now) = (self.id(), self.code, self.now);
        match self.step {
            GuessStep::Waiting | GuessStep::Ended(_) => None,
            GuessStep::Guess if protocol.has(Flaw::CompareBeforeCount) => {
                Some(Write::Read { id, now })
            }
            GuessStep::Guess => Some(Write::Guess { id, code, now }),
            GuessStep::Compared { is_right } => Some(Write::Count { id, is_right }),
            GuessStep::Settle(Verdict::Success) => Some(Write::ForgetFailures),
            GuessStep::Settle(_) => Some(Write::CountFailure { id }),
        }
    }

    /// Goes on with the reply to its write.
    pub fn receive(&mut self, reply: Option<Reply>, protocol: &Protocol) {
        let ended = |verdict| GuessStep::Ended(Some(verdict));
        self.step = match (self.step, reply) {
            // A right guess is right whether or not the failures could be forgotten.
            (GuessStep::Settle(verdict @ Verdict::Success), _)
            | (GuessStep::Settle(verdict), Some(_)) => ended(verdict),
            (_, None) => ended(Verdict::Unavailable),
            (GuessStep::Guess, Some(Reply::New(item)))
                if protocol.has(Flaw::CompareBeforeCount) =>
            {
                let has_guesses = item.attempts < protocol.scenario.max_attempts;
                if has_guesses && item.is_alive(self.now) {
                    let is_right = item.digest == Some(self.code);
                    GuessStep::Compared { is_right }
                } else {
                    ended(Verdict::NotFound)
                }
            }
            (GuessStep::Guess, Some(Reply::Met(_)))
                if self.is_repeated && protocol.has(Flaw::TakeLostWriteForSuccess) =>
            {
                ended(Verdict::Success)
            }
            (GuessStep::Guess, Some(Reply::New(item) | Reply::Met(Some(item)))) => {
                self.judge(&item, protocol)
            }
            (GuessStep::Compared { is_right: true }, _) => ended(Verdict::Success),
            (GuessStep::Compared { is_right: false }, _) => ended(Verdict::NotMatched),
            _ => ended(Verdict::NotFound),
        };
        if !self.is_running() {
            self.is_repeated = false;
        }
    }

    /// The verdict from the item as it is: what this write made of it, or an earlier one of its id.
    fn judge(self, item: &Verification, protocol: &Protocol) -> GuessStep {
        let counted_as = item.tries[usize::from(self.id())];
        let verdict = if counted_as == 0 {
            Verdict::NotFound
        } else if item.state == State::Verified && counted_as == item.attempts {
            Verdict::Success
        } else {
            Verdict::NotMatched
        };
        let settles = match verdict {
            Verdict::Success => item.had_failures || counted_as > 1,
            // The right code has forgotten it, counted or not.
            Verdict::NotMatched => item.state != State::Verified,
            Verdict::NotFound | Verdict::Unavailable => false,
        };
        if settles && protocol.scenario.counts_failures {
            GuessStep::Settle(verdict)
        } else {
            GuessStep::Ended(Some(verdict))
        }
    }
}
