//! What does the same work cost in tokio?
//!
//! Runs one case and prints one line a round, in the format that weft's own
//! benches and the Go peer share:
//!
//!     RESULT <case> workers=<N> ops=<ops> ns=<elapsed> rss_kib=<VmHWM>
//!
//! A fair answer needs: the caller pins the process (`taskset`), alternates it
//! with its rivals, and takes the faster of tokio's two schedulers for one
//! worker (`--flavor`).

mod args;
mod chan;
mod memory;
mod mutex;
mod parked;
mod round;
mod sleep;
mod spawn;

use std::process::ExitCode;

use args::{Flavor, Options, Primitives};
use round::{Outcome, Round, Wrong};
use tokio::runtime::{Builder, Runtime};

/// Debian's libjemalloc.so.2, found before libc by every malloc in the process.
/// Naming one of its functions keeps the linker's --as-needed from dropping it.
#[cfg(feature = "jemalloc")]
mod jemalloc {
    #[link(name = "jemalloc")]
    extern "C" {
        fn mallctl();
    }

    #[used]
    static KEEP: unsafe extern "C" fn() = mallctl;
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("peer-tokio: {message}\n{}", args::usage());
            return ExitCode::from(64);
        }
    };

    let runtime = match start(&options) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("peer-tokio: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };

    // A task of its own: what block_on polls runs on the main thread, which
    // is no worker of the multi-thread scheduler, and all the root spawns
    // would go through the injection queue.
    let root = runtime.spawn(all_rounds(options));

    match runtime.block_on(root) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(wrong)) => {
            eprintln!("peer-tokio: {wrong}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("peer-tokio: the root task failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// No IO is enabled, and timers for the one case that needs them: without them
/// an idle worker sleeps on a condition variable, which is tokio's cheapest wake.
fn start(options: &Options) -> std::io::Result<Runtime> {
    let mut builder = match options.flavor {
        Flavor::Current => Builder::new_current_thread(),
        Flavor::Multi => Builder::new_multi_thread(),
    };

    if options.flavor == Flavor::Multi {
        builder.worker_threads(options.workers);
    }
    if options.case == "sleepers" {
        builder.enable_time();
    }
    builder.build()
}

async fn all_rounds(options: Options) -> Result<(), Wrong> {
    let mut warm = options.clone();

    // Once, and small where the peak of memory is part of the answer.
    warm.ops = match options.case {
        "spawn_many" | "skynet" | "parked" | "sleepers" => options.ops.min(1_000),
        "fib" => options.ops.saturating_sub(5).max(2),
        _ => (options.ops / 10).max(1),
    };
    one_round(&warm, memory::resident_kib()).await?;

    let before_kib = memory::resident_kib();

    for _ in 0..options.rounds {
        let Round { ops, elapsed, note } = one_round(&options, before_kib).await?;

        println!(
            "RESULT {} workers={} ops={} ns={} rss_kib={}{}",
            options.case,
            options.workers,
            ops,
            elapsed.as_nanos(),
            memory::peak_kib(),
            note
        );
    }
    Ok(())
}

async fn one_round(options: &Options, before_kib: u64) -> Outcome {
    let &Options {
        ops,
        flavor,
        primitives,
        ..
    } = options;

    match (options.case, primitives) {
        ("yield", _) => spawn::yields(ops, flavor).await,
        ("spawn_join", _) => spawn::spawn_join(ops).await,
        ("spawn_many", _) => spawn::spawn_many(ops).await,
        ("fib", _) => spawn::fib(ops).await,
        ("skynet", _) => spawn::skynet(ops, flavor).await,
        ("chan_rt", _) => chan::round_trip(ops).await,
        ("chan_buf", Primitives::Tokio) if options.pairs == 1 => chan::buffered_mpsc(ops).await,
        ("chan_buf", _) => chan::buffered_mpmc(ops, options.pairs).await,
        ("mutex", Primitives::Tokio) => mutex::tokio_mutex(ops).await,
        ("mutex", Primitives::Best) => mutex::async_lock_mutex(ops).await,
        ("parked", _) => parked::parked(ops, before_kib).await,
        ("sleepers", _) => sleep::sleepers(ops).await,
        (other, _) => Err(format!("{other} is in the table of cases, yet nothing runs it").into()),
    }
}
