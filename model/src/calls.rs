//! What a function does between two writes: which come next, and what it makes of the answers.
//!
//! Every write of [`RequestCall::writes`] is under way at the same time: recipient and client are
//! charged, and given back to, side by side.

use crate::Flaw;
use crate::aws::{Item, MAX_ATTEMPTS, Reply, State, Write};

/// What the caller of `request` is told.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Answer {
    /// `ACCEPTED`.
    Accepted,
    /// `REJECTED`.
    Rejected,
    /// 429.
    Limited,
    /// 409: another call is at work.
    Running,
    /// 503.
    Failed,
}

/// How far a call of `request` has come.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what has been answered so far")]
pub enum Step {
    /// It has not been made.
    Waiting,
    /// `repeatable`, first write: its claim.
    Claim,
    /// `repeatable`: it has met the item of a dead call, whose code lives.
    Resume { met: Item },
    /// `repeatable`: it has met the item of a dead call, whose code is dead, too.
    StoreOver { met: Item },
    /// `Admitter::admit`, two writes side by side.
    Admit {
        sends: Option<Asked>,
        charge: Option<Asked>,
    },
    /// `once`: the code is stored after it is let in.
    Store,
    /// `Plan::send`.
    Send,
    /// `Plan::send`: its last write.
    Mark,
    /// `Admitter::give_back`, two writes side by side, and whether a code is to be killed then.
    GiveBack {
        sends: bool,
        charge: bool,
        kill: bool,
        answer: Answer,
    },
    /// `Plan::kill`.
    Kill { answer: Answer },
    /// It has answered.
    Ended(Answer),
    /// Its process has died.
    Crashed,
}

impl Step {
    /// Nothing has been asked yet.
    pub const ADMIT: Self = Self::Admit {
        sends: None,
        charge: None,
    };
}

/// What came of asking to be let in.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Asked {
    /// Let in.
    Taken,
    /// A limit is reached.
    Limited,
    /// The balance is too small.
    Broke,
    /// No answer.
    Unknown,
}

/// One call of `request`.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct RequestCall {
    /// Its number, and that of the code it makes and of its moment's mark.
    pub number: u8,
    /// Whether it has an `Idempotency-Key`, the same as all others.
    pub is_keyed: bool,
    /// When it began.
    pub now: u8,
    /// The final answer that an earlier call had given by then.
    pub known: Option<Answer>,
    /// Where it is.
    pub step: Step,
    /// The code it sends.
    pub code: u8,
    /// The mark of what it takes.
    pub mark: u8,
    /// The recipient's failures, as it was let in.
    pub failures: u8,
    /// Whether it could not do all it must: give back, kill, or mark as sent.
    pub is_impaired: bool,
}

impl RequestCall {
    /// The call of that number, not made yet.
    #[must_use]
    pub fn new(number: u8, is_keyed: bool) -> Self {
        Self {
            number,
            is_keyed,
            now: 0,
            known: None,
            step: Step::Waiting,
            code: number,
            mark: number,
            failures: 0,
            is_impaired: false,
        }
    }

    /// Its answer, if it has given one.
    #[must_use]
    pub fn answer(&self) -> Option<Answer> {
        match self.step {
            Step::Ended(answer) => Some(answer),
            _ => None,
        }
    }

    /// Whether it is under way.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        !matches!(self.step, Step::Waiting | Step::Ended(_) | Step::Crashed)
    }

    /// The writes that are under way.
    #[must_use]
    pub fn writes(&self) -> Vec<Write> {
        let (code, now, mark) = (self.code, self.now, self.mark);
        match self.step {
            Step::Waiting | Step::Ended(_) | Step::Crashed => vec![],
            Step::Claim | Step::Store => vec![Write::Store { code, now }],
            Step::Resume { met } => {
                let (owner, at) = (self.number, mark);
                vec![Write::Resume {
                    owner,
                    at,
                    now,
                    met,
                }]
            }
            Step::StoreOver { met } => vec![Write::StoreOver { code, now, met }],
            Step::Admit { sends, charge } => {
                let sends = sends.is_none().then_some(Write::Admit { mark, now });
                let charge = charge.is_none().then_some(Write::Charge { mark });
                sends.into_iter().chain(charge).collect()
            }
            Step::Send => vec![Write::Publish { code }],
            Step::Mark => vec![Write::MarkSent {
                failures: self.failures,
            }],
            Step::GiveBack { sends, charge, .. } => {
                let sends = sends.then_some(Write::TakeBack { mark });
                let charge = charge.then_some(Write::Refund { mark });
                sends.into_iter().chain(charge).collect()
            }
            Step::Kill { answer } => {
                let for_good = answer == Answer::Rejected;
                vec![Write::Kill {
                    code,
                    owner: self.number,
                    for_good,
                }]
            }
        }
    }

    /// Goes on with the answer to `write`; `None` when all tries are used up without one.
    pub fn receive(&mut self, write: Write, reply: Option<Reply>, flaw: Option<Flaw>) {
        let send_first = flaw == Some(Flaw::SendBeforeStore);
        let give_back = |kill, answer| Step::GiveBack {
            sends: true,
            charge: true,
            kill,
            answer,
        };
        self.step = match (self.step, reply) {
            (Step::Claim, Some(Reply::Met(Some(met)))) => self.meet(met, flaw),
            (Step::Resume { .. } | Step::StoreOver { .. }, Some(Reply::Met(_))) => {
                Step::Ended(Answer::Running)
            }
            (Step::Claim | Step::Resume { .. } | Step::StoreOver { .. }, Some(_)) => Step::ADMIT,
            (Step::Claim, None) => Step::Kill {
                answer: Answer::Failed,
            },
            (Step::Resume { .. } | Step::StoreOver { .. } | Step::Kill { .. }, None) => {
                self.is_impaired = true;
                Step::Ended(Answer::Failed)
            }
            (
                Step::Admit {
                    mut sends,
                    mut charge,
                },
                reply,
            ) => {
                let asked = match reply {
                    Some(Reply::Limited) => Asked::Limited,
                    Some(Reply::Refused) => Asked::Broke,
                    Some(_) => Asked::Taken,
                    None => Asked::Unknown,
                };
                match (write, reply) {
                    (Write::Admit { .. }, Some(Reply::Done(failures))) => {
                        (sends, self.failures) = (Some(asked), failures);
                    }
                    (Write::Admit { .. }, _) => sends = Some(asked),
                    _ => charge = Some(asked),
                }
                match (sends, charge) {
                    (Some(Asked::Taken), Some(Asked::Taken)) => {
                        if self.is_keyed || send_first {
                            Step::Send
                        } else {
                            Step::Store
                        }
                    }
                    (Some(sends), Some(charge)) => {
                        give_back(self.is_keyed, refusal([sends, charge]))
                    }
                    _ => Step::Admit { sends, charge },
                }
            }
            (Step::Store, Some(_)) if send_first => Step::Mark,
            (Step::Store, Some(_)) => Step::Send,
            (Step::Send, Some(Reply::Refused)) => give_back(true, Answer::Rejected),
            (Step::Send, Some(_)) if send_first && !self.is_keyed => Step::Store,
            (Step::Send, Some(_)) => Step::Mark,
            (Step::Store | Step::Send, None) => give_back(true, Answer::Failed),
            (Step::Mark, reply) => {
                self.is_impaired |= reply.is_none();
                Step::Ended(Answer::Accepted)
            }
            (
                Step::GiveBack {
                    mut sends,
                    mut charge,
                    kill,
                    answer,
                },
                reply,
            ) => {
                self.is_impaired |= reply.is_none();
                match write {
                    Write::TakeBack { .. } => sends = false,
                    _ => charge = false,
                }
                match (
                    sends || charge,
                    kill && flaw != Some(Flaw::LeaveUnsentAlive),
                ) {
                    (true, _) => Step::GiveBack {
                        sends,
                        charge,
                        kill,
                        answer,
                    },
                    (false, true) => Step::Kill { answer },
                    (false, false) => Step::Ended(answer),
                }
            }
            (Step::Kill { answer }, Some(_)) => Step::Ended(answer),
            (step @ (Step::Waiting | Step::Ended(_) | Step::Crashed), _) => step,
        };
    }

    /// `answered` and `Plan::revive`: what to do about an earlier call's item.
    fn meet(&mut self, met: Item, flaw: Option<Flaw>) -> Step {
        match met.state {
            State::Sent | State::Verified => {
                self.code = met.code.unwrap_or(self.code);
                Step::Ended(Answer::Accepted)
            }
            State::Rejected => Step::Ended(Answer::Rejected),
            State::Stored if self.now < met.lease_until => Step::Ended(Answer::Running),
            State::Stored | State::Paused => match met.code {
                Some(code)
                    if self.now < met.expires_at && flaw != Some(Flaw::FreshCodeOnTakeOver) =>
                {
                    self.code = code;
                    // What a dead call has taken is found by its moment; one that gave up has
                    // given it back.
                    if met.state == State::Stored {
                        self.mark = met.at;
                    }
                    Step::Resume { met }
                }
                _ => Step::StoreOver { met },
            },
        }
    }
}

/// `refusal`: an unanswered question, else a limit, else the balance.
fn refusal(asked: [Asked; 2]) -> Answer {
    if asked.contains(&Asked::Unknown) {
        Answer::Failed
    } else if asked.contains(&Asked::Limited) {
        Answer::Limited
    } else {
        Answer::Rejected
    }
}

/// What the caller of `validate` is told.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the words of the wire contract")]
pub enum Verdict {
    Success,
    NotMatched,
    NotFound,
    /// 503.
    Failed,
}

/// How far a call of `validate` has come.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum GuessStep {
    /// It has not been made.
    Waiting,
    /// `Verifications::guess`.
    Guess,
    /// Of a flaw: compared, and not counted yet.
    Compared(bool),
    /// `validate`: the recipient's failures are counted or forgotten.
    Settle(Verdict),
    /// It has answered.
    Ended(Verdict),
    /// Its process has died.
    Crashed,
}

/// One call of `validate`.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct GuessCall {
    /// By what it knows its own write: random, or made from its `Idempotency-Key`.
    pub name: u8,
    /// Whether the code is the one that was sent.
    pub is_right: bool,
    /// The code, if it is.
    pub code: Option<u8>,
    /// When it began.
    pub now: u8,
    /// Whether a write of it was sent again.
    pub is_repeated: bool,
    /// Where it is.
    pub step: GuessStep,
}

impl GuessCall {
    /// A guess of that name, not made yet.
    #[must_use]
    pub fn new(name: u8, is_right: bool) -> Self {
        let (code, now, is_repeated, step) = (None, 0, false, GuessStep::Waiting);
        Self {
            name,
            is_right,
            code,
            now,
            is_repeated,
            step,
        }
    }

    /// Its answer, if it has given one.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        match self.step {
            GuessStep::Ended(verdict) => Some(verdict),
            _ => None,
        }
    }

    /// Whether it was told that it is right.
    #[must_use]
    pub fn succeeded(self) -> bool {
        self.verdict() == Some(Verdict::Success)
    }

    /// The write that is under way.
    #[must_use]
    pub fn write(&self, flaw: Option<Flaw>) -> Option<Write> {
        let Self {
            name, code, now, ..
        } = *self;
        match self.step {
            GuessStep::Waiting | GuessStep::Ended(_) | GuessStep::Crashed => None,
            GuessStep::Guess if flaw == Some(Flaw::CompareBeforeCount) => Some(Write::Read),
            GuessStep::Guess => Some(Write::Guess { name, code, now }),
            GuessStep::Compared(matched) => Some(Write::Count { name, matched }),
            GuessStep::Settle(Verdict::Success) => Some(Write::Forget),
            GuessStep::Settle(_) => Some(Write::CountFailure { name }),
        }
    }

    /// Goes on with the answer; `None` when all tries are used up without one.
    pub fn receive(&mut self, reply: Option<Reply>, flaw: Option<Flaw>) {
        self.step = match (self.step, reply) {
            // A right guess that may have failures to forget does so; the next one can, too.
            (GuessStep::Settle(verdict @ Verdict::Success), _)
            | (GuessStep::Settle(verdict), Some(_)) => GuessStep::Ended(verdict),
            (_, None) => GuessStep::Ended(Verdict::Failed),
            (GuessStep::Guess, Some(Reply::New(item)))
                if flaw == Some(Flaw::CompareBeforeCount) =>
            {
                let is_open = item.attempts < MAX_ATTEMPTS && self.now < item.expires_at;
                if is_open && item.is_alive() {
                    GuessStep::Compared(self.code.is_some() && item.code == self.code)
                } else {
                    GuessStep::Ended(Verdict::NotFound)
                }
            }
            (GuessStep::Guess, Some(Reply::Met(_)))
                if self.is_repeated && flaw == Some(Flaw::TakeLostWriteForSuccess) =>
            {
                GuessStep::Settle(Verdict::Success)
            }
            (GuessStep::Guess, Some(Reply::New(item) | Reply::Met(Some(item)))) => {
                self.judge(&item)
            }
            (GuessStep::Compared(true), _) => GuessStep::Settle(Verdict::Success),
            (GuessStep::Compared(false), _) => GuessStep::Settle(Verdict::NotMatched),
            _ => GuessStep::Ended(Verdict::NotFound),
        };
    }

    /// `verdict`: from the item as it is, be it this write's work or that of an earlier try.
    fn judge(self, item: &Item) -> GuessStep {
        let counted_as = item.tries[usize::from(self.name)];
        if counted_as == 0 {
            GuessStep::Ended(Verdict::NotFound)
        } else if item.state != State::Verified || counted_as != item.attempts {
            GuessStep::Settle(Verdict::NotMatched)
        } else if item.failures == Some(0) && counted_as == 1 {
            GuessStep::Ended(Verdict::Success)
        } else {
            GuessStep::Settle(Verdict::Success)
        }
    }
}
