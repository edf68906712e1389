//! What AWS holds, and what each write does to it: one atomic step.
//!
//! | write | stands for |
//! |---|---|
//! | [`Write::Store`] | `Verifications::store` |
//! | [`Write::StoreOver`] | `Verifications::store_over` |
//! | [`Write::Resume`] | `Verifications::resume` |
//! | [`Write::Admit`], [`Write::TakeBack`] | `Recipients::admit`, `Recipients::give_back` |
//! | [`Write::Charge`], [`Write::Refund`] | `Usage::charge`, `Usage::give_back` |
//! | [`Write::Publish`] | `MessageService::send` |
//! | [`Write::MarkSent`] | `Verifications::mark_sent` |
//! | [`Write::Kill`] | `Verifications::reject` and `Verifications::pause` |
//! | [`Write::Guess`] | `Verifications::guess` |
//! | [`Write::CountFailure`], [`Write::Forget`] | `Recipients::count_failure`, `Recipients::reset_failures` |
//!
//! Codes, marks and names are small numbers: code 2 is the one that request 2 made, mark 2 is that
//! of its moment. Time is a small number, too: a lease lasts one tick.

use std::fmt;

use crate::Flaw;

/// How many ticks of the clock a code lives.
pub const TTL: u8 = 3;
/// How many ticks a call may work before another takes over: as long as a function may run.
pub const LEASE: u8 = 1;
/// How many guesses a code allows.
pub const MAX_ATTEMPTS: u8 = 2;

/// The state of a verification.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum State {
    /// The code is stored; whether a message is out is not known.
    Stored,
    /// A message is out.
    Sent,
    /// Not sent for a passing reason; dead until the same request comes again.
    Paused,
    /// Dead for good.
    Rejected,
    /// The right code came back.
    Verified,
}

/// A verification, as its item holds it.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Item {
    /// How far it is.
    pub state: State,
    /// Which code's digest is the attribute's name.
    pub code: Option<u8>,
    /// How many guesses are counted.
    pub attempts: u8,
    /// `#try`: as which attempt the guess of that name was counted; 0 is not.
    pub tries: [u8; 4],
    /// The first tick at which the code is dead.
    pub expires_at: u8,
    /// The mark of what was taken for it.
    pub at: u8,
    /// Who works on it.
    pub owner: u8,
    /// Until when nobody else may.
    pub lease_until: u8,
    /// The recipient's failures at the time of sending, once marked as sent.
    pub failures: Option<u8>,
}

impl Item {
    /// Whether a guess may be compared with its code, but for time and attempts.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self.state, State::Stored | State::Sent)
    }
}

/// A set of small numbers.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Set(u8);

impl Set {
    /// Whether `number` is in it.
    #[must_use]
    pub fn has(self, number: u8) -> bool {
        self.0 & (1 << number) != 0
    }

    /// The numbers in it.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..8).filter(move |number| self.has(*number))
    }

    /// How many there are.
    #[must_use]
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Puts `number` into it.
    pub fn put(&mut self, number: u8) {
        self.0 |= 1 << number;
    }

    fn take(&mut self, number: u8) -> bool {
        let had = self.has(number);
        self.0 &= !(1 << number);
        had
    }
}

/// What AWS holds of one verification, its recipient and its client; and, for the properties, what
/// has happened.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub struct Aws {
    /// The verification.
    pub item: Option<Item>,
    /// The recipient's sends, by their marks.
    pub sends: Set,
    /// Until when other sends keep the recipient from being sent to.
    pub busy_until: u8,
    /// The recipient's failures.
    pub failures: u8,
    /// The name of the guess that was counted last.
    pub last_failure: Option<u8>,
    /// The client's charges, by their marks.
    pub charges: Set,
    /// How much the charges took from the balance.
    pub charged: u8,
    /// Whether the client's balance is too small.
    pub is_broke: bool,
    /// The codes in the messages that SNS took.
    pub messages: Set,
    /// History: how many guesses were compared with the present code.
    pub compared: u8,
    /// History: the codes whose digest was ever stored.
    pub stored: Set,
}

/// One write.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are those of the function it stands for"
)]
pub enum Write {
    Store {
        code: u8,
        now: u8,
    },
    StoreOver {
        code: u8,
        now: u8,
        met: Item,
    },
    Resume {
        owner: u8,
        at: u8,
        now: u8,
        met: Item,
    },
    Admit {
        mark: u8,
        now: u8,
    },
    TakeBack {
        mark: u8,
    },
    Charge {
        mark: u8,
    },
    Refund {
        mark: u8,
    },
    Publish {
        code: u8,
    },
    MarkSent {
        failures: u8,
    },
    Kill {
        code: u8,
        owner: u8,
        for_good: bool,
    },
    Guess {
        name: u8,
        code: Option<u8>,
        now: u8,
    },
    /// Of a flaw: only reads the item.
    Read,
    /// Of a flaw: counts a guess that was compared before.
    Count {
        name: u8,
        matched: bool,
    },
    CountFailure {
        name: u8,
    },
    Forget,
}

/// What a write is answered.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Reply {
    /// It is done; of the recipient: so many failures.
    Done(u8),
    /// It is done, and this is the item now (`ALL_NEW`).
    New(Item),
    /// The condition failed, and this is the item (`ALL_OLD`).
    Met(Option<Item>),
    /// A limit is reached.
    Limited,
    /// The balance is too small; of a message: SNS does not take it.
    Refused,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store { code, .. } => write!(f, "store code {code}"),
            Self::StoreOver { code, .. } => write!(f, "store code {code} over a dead one"),
            Self::Resume { .. } => write!(f, "take over"),
            Self::Admit { mark, .. } => write!(f, "put send {mark} into the recipient's list"),
            Self::TakeBack { mark } => write!(f, "take send {mark} out of the recipient's list"),
            Self::Charge { mark } => write!(f, "charge the client, with mark {mark}"),
            Self::Refund { mark } => write!(f, "give the charge with mark {mark} back"),
            Self::Publish { code } => write!(f, "send code {code}"),
            Self::MarkSent { .. } => write!(f, "mark as sent"),
            Self::Kill {
                code,
                for_good: true,
                ..
            } => write!(f, "kill code {code} for good"),
            Self::Kill { code, .. } => write!(f, "kill code {code} until the request comes again"),
            Self::Guess { name, code, .. } => {
                let is = if code.is_some() { "right" } else { "wrong" };
                write!(f, "count, compare and consume the {is} guess named {name}")
            }
            Self::Read => write!(f, "read and compare"),
            Self::Count { .. } => write!(f, "count what was compared"),
            Self::CountFailure { .. } => write!(f, "count the recipient's failure"),
            Self::Forget => write!(f, "forget the recipient's failures"),
        }
    }
}

impl Aws {
    /// Carries out `write`, as DynamoDB or SNS does: wholly, in one step. `moments` are the ticks
    /// at which the marks' requests were made.
    #[expect(clippy::too_many_lines, reason = "an arm for each write")]
    pub fn carry_out(&mut self, write: Write, moments: &[u8], flaw: Option<Flaw>) -> Reply {
        let done = Reply::Done(0);
        match write {
            Write::Store { code, now } => match self.item {
                Some(item) if item.code != Some(code) => Reply::Met(Some(item)),
                // Its own: the write has landed before.
                Some(_) => done,
                None => self.put(code, now),
            },
            Write::StoreOver { code, now, met } => match self.item {
                Some(item) if item.state == met.state && item.lease_until == met.lease_until => {
                    self.put(code, now)
                }
                Some(item) if item.code == Some(code) => done,
                other => Reply::Met(other),
            },
            Write::Resume {
                owner,
                at,
                now,
                met,
            } => match &mut self.item {
                Some(item)
                    if item.state == met.state && item.lease_until == met.lease_until
                    // Of two moments no two leases are the same; of two ticks they may be.
                    && item.owner == met.owner =>
                {
                    item.state = State::Stored;
                    item.owner = owner;
                    item.lease_until = now + LEASE;
                    item.at = at;
                    done
                }
                Some(item) if item.owner == owner => done,
                other => Reply::Met(*other),
            },
            Write::Admit { mark, now } => {
                let window = |other: u8| moments[usize::from(other)] + LEASE > now;
                if self.sends.has(mark) {
                    Reply::Done(self.failures)
                } else if now < self.busy_until || self.sends.iter().any(window) {
                    Reply::Limited
                } else {
                    self.sends.put(mark);
                    Reply::Done(self.failures)
                }
            }
            Write::TakeBack { mark } => {
                self.sends.take(mark);
                done
            }
            Write::Charge { mark } => {
                if self.charges.has(mark) && flaw != Some(Flaw::ChargeWithoutMark) {
                    done
                } else if self.is_broke {
                    Reply::Refused
                } else {
                    self.charges.put(mark);
                    self.charged += 1;
                    done
                }
            }
            Write::Refund { mark } => {
                self.charged -= u8::from(self.charges.take(mark));
                done
            }
            Write::Publish { code } => {
                self.messages.put(code);
                done
            }
            Write::MarkSent { failures } => {
                if let Some(item) = &mut self.item
                    && item.state == State::Stored
                {
                    item.state = State::Sent;
                    item.failures = Some(failures);
                }
                done
            }
            Write::Kill {
                code,
                owner,
                for_good,
            } => {
                if let Some(item) = &mut self.item
                    && item.state == State::Stored
                    && item.code == Some(code)
                    && (item.owner == owner || flaw == Some(Flaw::KillForAnother))
                {
                    if for_good {
                        (item.state, item.code) = (State::Rejected, None);
                    } else {
                        item.state = State::Paused;
                    }
                }
                done
            }
            Write::Guess { name, code, now } => self.guess(name, code, now, flaw),
            Write::Read => self.item.map_or(Reply::Met(None), Reply::New),
            Write::Count { name, matched } => {
                if let Some(item) = &mut self.item
                    && item.tries[usize::from(name)] == 0
                    && item.attempts < MAX_ATTEMPTS
                {
                    item.attempts += 1;
                    item.tries[usize::from(name)] = item.attempts;
                    if matched {
                        item.state = State::Verified;
                    }
                }
                done
            }
            Write::CountFailure { name } => {
                if self.last_failure != Some(name) {
                    self.failures += 1;
                    self.last_failure = Some(name);
                }
                done
            }
            Write::Forget => {
                self.failures = 0;
                done
            }
        }
    }

    /// A new verification, whole.
    fn put(&mut self, code: u8, now: u8) -> Reply {
        self.stored.put(code);
        self.compared = 0;
        self.item = Some(Item {
            state: State::Stored,
            code: Some(code),
            attempts: 0,
            tries: [0; 4],
            expires_at: now + TTL,
            at: code,
            owner: code,
            lease_until: now + LEASE,
            failures: None,
        });
        Reply::Done(0)
    }

    /// Counts, compares and consumes.
    fn guess(&mut self, name: u8, code: Option<u8>, now: u8, flaw: Option<Flaw>) -> Reply {
        let Some(item) = &mut self.item else {
            return Reply::Met(None);
        };
        let tried = &mut item.tries[usize::from(name)];
        let is_new = *tried == 0 || flaw == Some(Flaw::CountWithoutMark);
        let is_open = item.attempts < MAX_ATTEMPTS && now < item.expires_at;
        if !(is_new && is_open && matches!(item.state, State::Stored | State::Sent)) {
            return Reply::Met(Some(*item));
        }
        item.attempts += 1;
        *tried = item.attempts;
        self.compared += 1;
        if code.is_some() && item.code == code {
            item.state = State::Verified;
        }
        Reply::New(*item)
    }
}
