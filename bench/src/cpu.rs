//! How much of the processor this process has used, as Linux tells it.

use std::fs;

use crate::stage::Failed;

/// Linux counts user and system time in hundredths of a second.
const TICK_NANOS: u64 = 10_000_000;

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Nanoseconds that its first thread was running.
    pub thread_nanos: u64,
    /// Nanoseconds of user time of all threads, to a hundredth of a second.
    pub user_nanos: u64,
    /// Nanoseconds of system time of all threads, to a hundredth of a second.
    pub system_nanos: u64,
    /// The most memory that it has had, in KiB.
    pub peak_kib: u64,
}

impl Used {
    /// By this process, up to now.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub fn now() -> Result<Self, Failed> {
        let scheduled = fs::read_to_string("/proc/self/schedstat")?;
        let stat = fs::read_to_string("/proc/self/stat")?;
        let status = fs::read_to_string("/proc/self/status")?;
        // The second field, a name in parentheses, may have spaces in it.
        let after_name = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |index: usize| {
            fields
                .get(index)
                .copied()
                .unwrap_or_default()
                .parse::<u64>()
        };
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let first = |text: &str| {
            text.split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        Ok(Self {
            thread_nanos: first(&scheduled).parse()?,
            user_nanos: ticks(11)? * TICK_NANOS,
            system_nanos: ticks(12)? * TICK_NANOS,
            peak_kib: first(peak.unwrap_or_default()).parse()?,
        })
    }
}
