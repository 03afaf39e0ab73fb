//! What one round of a case hands back.

use std::time::Duration;

pub struct Round {
    /// How many were done; ops rounded down to what divides evenly.
    pub ops: u64,
    pub elapsed: Duration,
    /// Further fields for the end of the line, each led by a space.
    pub note: String,
}

/// Err says what came out wrong. A boxed error, so that `?` takes a failed join
/// or send as well as a sentence of ours.
pub type Outcome = Result<Round, Wrong>;
pub type Wrong = Box<dyn std::error::Error + Send + Sync>;

/// The end of every case: the round stands only if its result does.
pub fn checked(case: &str, ops: u64, elapsed: Duration, got: u64, expected: u64) -> Outcome {
    if got != expected {
        return Err(format!("{case}: the result is {got}, expected {expected}").into());
    }
    Ok(Round {
        ops,
        elapsed,
        note: String::new(),
    })
}

/// 0 + 1 + ... + (n - 1): what most cases add up to prove that all was done.
pub fn sum_below(n: u64) -> u64 {
    n * n.saturating_sub(1) / 2
}
