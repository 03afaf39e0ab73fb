//! Channels.

use std::time::Instant;

use tokio::sync::mpsc;

use crate::round::{checked, sum_below, Outcome};

const BUFFER: usize = 1_024;

/// tokio has no rendezvous channel; a capacity of 1 is the nearest and, for
/// two tasks that take turns, no handicap. flume's rendezvous channel and
/// async-channel measured the same (124 to 131 ns).
pub async fn round_trip(ops: u64) -> Outcome {
    let (ping_tx, mut ping_rx) = mpsc::channel::<u64>(1);
    let (pong_tx, mut pong_rx) = mpsc::channel::<u64>(1);
    let start = Instant::now();

    let echo = tokio::spawn(async move {
        while let Some(value) = ping_rx.recv().await {
            if pong_tx.send(value + 1).await.is_err() {
                break;
            }
        }
    });

    let mut sum = 0;
    for i in 0..ops {
        ping_tx.send(i).await?;
        sum += pong_rx
            .recv()
            .await
            .ok_or("chan_rt: the echo ended early")?;
    }
    drop(ping_tx);
    echo.await?;

    checked("chan_rt", ops, start.elapsed(), sum, sum_below(ops) + ops)
}

/// One producer and one consumer on tokio's own channel.
pub async fn buffered_mpsc(ops: u64) -> Outcome {
    let (tx, mut rx) = mpsc::channel::<u64>(BUFFER);
    let start = Instant::now();

    let consumer = tokio::spawn(async move {
        let mut sum = 0;
        while let Some(value) = rx.recv().await {
            sum += value;
        }
        sum
    });
    let producer = tokio::spawn(async move {
        for i in 0..ops {
            if tx.send(i).await.is_err() {
                break;
            }
        }
    });

    producer.await?;
    let sum = consumer.await?;
    checked("chan_buf", ops, start.elapsed(), sum, sum_below(ops))
}

/// Any number of each on one channel. tokio's mpsc has a single receiver, so
/// this is async-channel. Four of each on one worker and on two: async-channel
/// 14 and 15 to 23 ns, flume 17 and 17 to 98, tokio's receiver behind a tokio
/// Mutex 103 and 127 to 236 (32 and 46 to 164 if who holds the mutex empties
/// the buffer), a ring between two tokio semaphores 43 and 44 to 197.
pub async fn buffered_mpmc(ops: u64, pairs: u64) -> Outcome {
    let each = (ops / pairs).max(1);
    let (tx, rx) = async_channel::bounded::<u64>(BUFFER);
    let start = Instant::now();

    let consumers: Vec<_> = (0..pairs)
        .map(|_| {
            let rx = rx.clone();
            tokio::spawn(async move {
                let mut sum = 0;
                while let Ok(value) = rx.recv().await {
                    sum += value;
                }
                sum
            })
        })
        .collect();
    let producers: Vec<_> = (0..pairs)
        .map(|pair| {
            let tx = tx.clone();
            tokio::spawn(async move {
                for i in pair * each..(pair + 1) * each {
                    if tx.send(i).await.is_err() {
                        break;
                    }
                }
            })
        })
        .collect();
    drop((tx, rx));

    for producer in producers {
        producer.await?;
    }
    let mut sum = 0;
    for consumer in consumers {
        sum += consumer.await?;
    }
    checked(
        "chan_buf",
        each * pairs,
        start.elapsed(),
        sum,
        sum_below(each * pairs),
    )
}
