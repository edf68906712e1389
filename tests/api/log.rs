//! What one test has logged. Every test runs on a thread of its own, and so does its API unless it
//! asks for more threads.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;

use serde_json::Value;
use tracing::level_filters::LevelFilter;
use twofa::telemetry;

thread_local! {
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes to the log of the thread.
struct ThreadLog;

impl Write for ThreadLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has everything logged that the product can log, as on Lambda.
pub fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let subscriber = telemetry::json(LevelFilter::DEBUG, || ThreadLog);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// Forgets what was logged so far on this thread.
pub fn clear() {
    LOG.with_borrow_mut(Vec::clear);
}

/// The lines logged so far on this thread.
pub fn text() -> String {
    LOG.with_borrow(|log| String::from_utf8(log.clone()).unwrap())
}

/// The lines logged so far on this thread that are of one kind.
pub fn lines(kind: impl Fn(&Value) -> bool) -> Vec<Value> {
    let text = text();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.filter(kind).collect()
}
