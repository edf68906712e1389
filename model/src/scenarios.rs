//! The bounds within which every run is tried.

/// How much may happen, and how long things last in ticks.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a bound of its own")]
pub struct Scenario {
    /// What it is about.
    pub name: &'static str,
    /// The calls of `request`: the verification and what the body means. Calls of one verification
    /// have the same `Idempotency-Key`.
    pub requests: &'static [(u8, u8)],
    /// The calls of `validate` for verification 0: their keys. Each guesses either code.
    pub guesses: &'static [u8],
    /// Whether the first call has been accepted already.
    pub begins_accepted: bool,
    /// Whether calls after the first draw either code, or always the first one's.
    pub draws_codes: bool,
    /// Whether the message service may refuse every message, besides this one.
    pub refuses_for_all: bool,
    /// Whether items past their `ttl` may be deleted.
    pub collects: bool,
    /// How often something goes wrong at most.
    pub faults: u8,
    /// How many of those faults may be a write that lands later.
    pub late: u8,

    /// The last tick.
    pub ends_at: u8,
    /// How many ticks a call may run on after the one it started in.
    pub timeout: u8,
    /// How many ticks a write may land after its call.
    pub lateness: u8,
    /// A call's lease: 30 s.
    pub lease: u8,
    /// A template's ttl.
    pub ttl: u8,
    /// The most that a code lives after its begin: 600 s.
    pub longest: u8,
    /// The least that a code must live to be taken over: 30 s.
    pub least: u8,
    /// How long an item is kept past its code's end: 24 h.
    pub memory: u8,
    /// The recipient's window, which allows one send.
    pub window: u8,
    /// The client's balance.
    pub balance: u8,
    /// The client's cap, if it has one.
    pub cap: Option<u8>,
    /// The guesses that a code allows.
    pub max_attempts: u8,
    /// Whether `validate` counts the recipient's failures.
    pub counts_failures: bool,
    /// The failures that lock the recipient.
    pub max_failures: u8,
}

/// Two calls with one key; little time.
const BASE: Scenario = Scenario {
    name: "",
    requests: &[(0, 0), (0, 0)],
    guesses: &[],
    begins_accepted: false,
    draws_codes: false,
    refuses_for_all: false,
    collects: false,
    faults: 3,
    late: 1,
    ends_at: 4,
    timeout: 0,
    lateness: 2,
    lease: 1,
    ttl: 3,
    longest: 5,
    least: 1,
    memory: 9,
    window: 1,
    balance: 2,
    cap: None,
    max_attempts: 2,
    counts_failures: false,
    max_failures: 2,
};

/// The scenarios that are explored.
pub const SCENARIOS: [Scenario; 9] = [
    Scenario {
        name: "two calls with one key, each with either code",
        draws_codes: true,
        refuses_for_all: true,
        window: 2,
        late: 2,
        ..BASE
    },
    Scenario {
        name: "a call that runs while another with its key starts",
        timeout: 1,
        lease: 2,
        window: 2,
        ends_at: 5,
        faults: 2,
        ..BASE
    },
    Scenario {
        name: "items that are forgotten",
        ttl: 2,
        longest: 3,
        memory: 1,
        lateness: 1,
        ends_at: 6,
        collects: true,
        faults: 2,
        ..BASE
    },
    Scenario {
        name: "a cap",
        requests: &[(0, 0), (0, 0), (1, 0)],
        cap: Some(2),
        balance: 4,
        ends_at: 2,
        late: 0,
        ..BASE
    },
    Scenario {
        name: "three calls with one key, one of another body, until the code is too old",
        requests: &[(0, 0), (0, 0), (0, 1)],
        longest: 4,
        window: 2,
        faults: 2,
        ..BASE
    },
    Scenario {
        name: "a call, its repetition, and another verification of the same recipient",
        requests: &[(0, 0), (0, 0), (1, 0)],
        ends_at: 3,
        faults: 2,
        ..BASE
    },
    Scenario {
        name: "a code that one guess uses up, and a fresh one",
        guesses: &[0],
        draws_codes: true,
        max_attempts: 1,
        longest: 4,
        window: 2,
        faults: 2,
        ..BASE
    },
    Scenario {
        name: "requests and guesses",
        guesses: &[0, 1],
        draws_codes: true,
        longest: 4,
        faults: 2,
        late: 1,
        ends_at: 2,
        ..BASE
    },
    Scenario {
        name: "guesses at once, two of them with one key, and failures that lock the recipient",
        requests: &[(0, 0), (1, 0)],
        guesses: &[0, 0, 1],
        begins_accepted: true,
        counts_failures: true,
        ends_at: 1,
        faults: 2,
        ..BASE
    },
];

/// What random runs are made of: more than can be explored. A tick is 150 s.
pub const TRACED: Scenario = Scenario {
    name: "everything",
    requests: &[(0, 0), (0, 0), (0, 1), (0, 0), (1, 0), (1, 0)],
    guesses: &[0, 0, 1, 2],
    draws_codes: true,
    refuses_for_all: true,
    faults: 6,
    late: 3,
    ends_at: 8,
    ttl: 2,
    longest: 4,
    memory: 200,
    balance: 3,
    cap: Some(4),
    counts_failures: true,
    ..BASE
};

impl Scenario {
    /// How long an item stays after its code's end: until no begin meets it, and none lands late.
    #[must_use]
    pub fn kept(&self) -> u8 {
        self.memory + self.lateness
    }
}
