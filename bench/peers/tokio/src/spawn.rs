//! Yielding and spawning.
//!
//! The two schedulers want different programs. current_thread has one queue,
//! first in first out. multi_thread runs the newest task first (its LIFO
//! slot), so a tree is walked depth first and stays small. Where that makes
//! one way of writing a case the faster, each flavour gets its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::{yield_now, JoinHandle};

use crate::args::Flavor;
use crate::round::{checked, sum_below, Outcome};

const YIELDERS: u64 = 1_000;

/// tokio's yield_now() puts the waker on a list that is woken when the
/// scheduler next looks for IO. On current_thread that costs 25 ns against 17
/// for waking oneself at once; on multi_thread it is the faster one, 31
/// against 44.
pub async fn yields(ops: u64, flavor: Flavor) -> Outcome {
    match flavor {
        Flavor::Current => yields_by(ops, || WakeMyself { woken: false }).await,
        Flavor::Multi => yields_by(ops, yield_now).await,
    }
}

struct WakeMyself {
    woken: bool,
}

impl Future for WakeMyself {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.woken {
            return Poll::Ready(());
        }
        self.woken = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Generic, since a choice at each yield would show in the figure (2 ns).
async fn yields_by<F, Turn>(ops: u64, turn: F) -> Outcome
where
    F: Fn() -> Turn + Copy + Send + Sync + 'static,
    Turn: Future<Output = ()> + Send,
{
    let each = (ops / YIELDERS).max(1);
    let start = Instant::now();

    let yielders: Vec<_> = (0..YIELDERS)
        .map(|_| {
            tokio::spawn(async move {
                let mut done = 0;
                while done < each {
                    turn().await;
                    done += 1;
                }
                done
            })
        })
        .collect();

    let mut sum = 0;
    for yielder in yielders {
        sum += yielder.await?;
    }
    checked(
        "yield",
        each * YIELDERS,
        start.elapsed(),
        sum,
        each * YIELDERS,
    )
}

pub async fn spawn_join(ops: u64) -> Outcome {
    let start = Instant::now();

    let mut sum = 0;
    for i in 0..ops {
        sum += tokio::spawn(async move { i }).await?;
    }
    checked("spawn_join", ops, start.elapsed(), sum, sum_below(ops))
}

/// Counted by the tasks themselves, their handles dropped at once: 157 ns a
/// task against 211 for a Vec of handles joined in order, which keeps every
/// finished task until its turn. A JoinSet is slower still.
pub async fn spawn_many(ops: u64) -> Outcome {
    static DONE: AtomicU64 = AtomicU64::new(0);
    static ALL_DONE: Notify = Notify::const_new();

    DONE.store(0, Ordering::Relaxed);
    let start = Instant::now();

    for _ in 0..ops {
        tokio::spawn(async move {
            if DONE.fetch_add(1, Ordering::AcqRel) + 1 == ops {
                ALL_DONE.notify_one();
            }
        });
    }
    ALL_DONE.notified().await;

    checked(
        "spawn_many",
        ops,
        start.elapsed(),
        DONE.load(Ordering::Acquire),
        ops,
    )
}

pub async fn fib(n: u64) -> Outcome {
    let start = Instant::now();
    let got = fib_inline(n).await;

    // One spawn for every call with n >= 2.
    checked(
        "fib",
        fib_plain(n + 1) - 1,
        start.elapsed(),
        got,
        fib_plain(n),
    )
}

/// A leaf gets a small task of its own kind: it needs no room for a handle.
fn fib_spawn(n: u64) -> JoinHandle<u64> {
    if n < 2 {
        tokio::spawn(async move { n })
    } else {
        tokio::spawn(fib_node(n))
    }
}

/// An async function that awaits itself has to be boxed; only that arm is.
fn fib_inline(n: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(fib_node(n))
}

/// n >= 2. A join that fails counts as 0, and the sum at the end shows it.
async fn fib_node(n: u64) -> u64 {
    let spawned = fib_spawn(n - 1);
    let own = if n - 2 < 2 {
        n - 2
    } else {
        fib_inline(n - 2).await
    };

    spawned.await.unwrap_or(0) + own
}

fn fib_plain(n: u64) -> u64 {
    (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0
}

/// Results come back through the joins: with an mpsc channel a node it
/// takes 1.6 to 3 times as long.
pub async fn skynet(leaves: u64, flavor: Flavor) -> Outcome {
    let start = Instant::now();
    let sum = skynet_spawn(0, leaves, flavor).await?;

    checked("skynet", leaves, start.elapsed(), sum, sum_below(leaves))
}

fn skynet_spawn(first: u64, size: u64, flavor: Flavor) -> JoinHandle<u64> {
    if size == 1 {
        tokio::spawn(async move { first })
    } else {
        tokio::spawn(skynet_node(first, size, flavor))
    }
}

/// Joins its children in the order in which the scheduler runs them, so that
/// the first join waits for most and the others find a finished child: 114 ms
/// against 144 on current_thread, 136 against 167 on multi_thread.
async fn skynet_node(first: u64, size: u64, flavor: Flavor) -> u64 {
    let mut children: [Option<JoinHandle<u64>>; 10] = Default::default();

    for (i, child) in children.iter_mut().enumerate() {
        *child = Some(skynet_spawn(
            first + i as u64 * (size / 10),
            size / 10,
            flavor,
        ));
    }
    if flavor == Flavor::Multi {
        children.reverse();
    }

    let mut sum = 0;
    for child in children.into_iter().flatten() {
        sum += child.await.unwrap_or(0);
    }
    sum
}
