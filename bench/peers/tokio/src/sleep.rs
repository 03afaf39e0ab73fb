//! How late a million timers fire.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep_until, Instant};

use crate::round::{checked, Outcome};

/// Each task sleeps once for its own time of 0 to 1 s, counted from where it
/// begins, and notes how late it woke. One allocation holds all they share.
pub async fn sleepers(ops: u64) -> Outcome {
    struct Shared {
        late: Vec<AtomicU64>,
        left: AtomicU64,
        all_left: Notify,
    }
    let shared = Arc::new(Shared {
        late: (0..ops).map(|_| AtomicU64::new(u64::MAX)).collect(),
        left: AtomicU64::new(0),
        all_left: Notify::new(),
    });
    let start = Instant::now();

    for number in 0..ops {
        let shared = shared.clone();

        tokio::spawn(async move {
            let when = Instant::now() + sleep_time(number);

            sleep_until(when).await;
            // None: it woke early, and keeps its mark.
            if let Some(late) = Instant::now().checked_duration_since(when) {
                shared.late[number as usize].store(late.as_nanos() as u64, Ordering::Relaxed);
            }
            if shared.left.fetch_add(1, Ordering::AcqRel) + 1 == ops {
                shared.all_left.notify_one();
            }
        });
    }
    shared.all_left.notified().await;
    let elapsed = start.elapsed();

    let mut late: Vec<u64> = shared
        .late
        .iter()
        .map(|late| late.load(Ordering::Relaxed))
        .collect();
    late.sort_unstable();
    let early = late.iter().filter(|&&late| late == u64::MAX).count() as u64;
    let mut round = checked("sleepers", ops, elapsed, early, 0)?;
    let at = |index: u64| late[index as usize];
    round.note = format!(
        " p50_ns={} p99_ns={} worst_ns={}",
        at(ops / 2),
        at(ops - 1 - ops / 100),
        at(ops - 1)
    );
    Ok(round)
}

/// The same in every language: splitmix64 of the sleeper's number, below a
/// second.
fn sleep_time(number: u64) -> Duration {
    let mut x = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Duration::from_nanos((x ^ (x >> 31)) % 1_000_000_000)
}
