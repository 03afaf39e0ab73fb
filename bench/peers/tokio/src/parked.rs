//! What a waiting task costs in memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::yield_now;

use crate::memory;
use crate::round::{checked, Outcome};

static ARRIVED: AtomicU64 = AtomicU64::new(0);
static LEFT: AtomicU64 = AtomicU64::new(0);
static GATE: Notify = Notify::const_new();
static ALL_LEFT: Notify = Notify::const_new();

/// All wait on one Notify: 194 bytes a task, and a semaphore with no permits
/// takes as much. Statics and a count keep references and join handles out of
/// what is measured. The time covers spawn to parked and wake to gone, not the
/// look at /proc between them.
///
/// `before_kib` was read before the first round: a later round lives in the
/// memory that the first one left with the allocator, and would look free.
pub async fn parked(ops: u64, before_kib: u64) -> Outcome {
    ARRIVED.store(0, Ordering::Relaxed);
    LEFT.store(0, Ordering::Relaxed);
    let start = Instant::now();

    for _ in 0..ops {
        tokio::spawn(async move {
            // Made before the count: notify_waiters() also wakes a future
            // that exists and was not polled yet.
            let woken = GATE.notified();
            ARRIVED.fetch_add(1, Ordering::AcqRel);
            woken.await;
            if LEFT.fetch_add(1, Ordering::AcqRel) + 1 == ops {
                ALL_LEFT.notify_one();
            }
        });
    }
    while ARRIVED.load(Ordering::Acquire) < ops {
        yield_now().await;
    }
    let mut elapsed = start.elapsed();

    // Who arrived last may still be on its way into the gate's list; this only
    // lets the figure settle.
    std::thread::sleep(Duration::from_millis(20));
    let grown_kib = memory::resident_kib().saturating_sub(before_kib);

    let start = Instant::now();
    GATE.notify_waiters();
    ALL_LEFT.notified().await;
    elapsed += start.elapsed();

    let mut round = checked("parked", ops, elapsed, LEFT.load(Ordering::Acquire), ops)?;
    round.note = format!(" bytes_each={}", grown_kib * 1_024 / ops);
    Ok(round)
}
