//! One mutex, 64 tasks.

use std::sync::Arc;
use std::time::Instant;

use crate::round::{checked, Outcome};

const TASKS: u64 = 64;

/// A macro, since the two mutexes are alike in all but their type and share no
/// trait that a function could take.
macro_rules! counted_under {
    ($mutex:ty, $ops:expr) => {{
        let each = ($ops / TASKS).max(1);
        let counter = Arc::new(<$mutex>::new(0));
        let start = Instant::now();

        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let counter = counter.clone();
                tokio::spawn(async move {
                    for _ in 0..each {
                        *counter.lock().await += 1;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await?;
        }

        let elapsed = start.elapsed();
        let counted = *counter.lock().await;
        checked("mutex", each * TASKS, elapsed, counted, each * TASKS)
    }};
}

/// First come, first served: who unlocks hands over to the eldest waiter.
pub async fn tokio_mutex(ops: u64) -> Outcome {
    counted_under!(tokio::sync::Mutex<u64>, ops)
}

/// Whoever comes may take it until a waiter has starved for 500 us: 6.7 ns
/// against 19 on one worker.
pub async fn async_lock_mutex(ops: u64) -> Outcome {
    counted_under!(async_lock::Mutex<u64>, ops)
}
