//! The command line, the same as the Go peer's plus what is tokio's own.

/// Name and default ops of every case, the same in both peers. `fib` counts in
/// n, all others in operations.
const CASES: [(&str, u64); 10] = [
    ("yield", 10_000_000),
    ("spawn_join", 2_000_000),
    ("spawn_many", 1_000_000),
    ("fib", 30),
    ("skynet", 1_000_000),
    ("chan_rt", 2_000_000),
    ("chan_buf", 10_000_000),
    ("mutex", 20_000_000),
    ("parked", 1_000_000),
    ("sleepers", 1_000_000),
];

#[derive(Clone, Copy, PartialEq)]
pub enum Flavor {
    Current,
    Multi,
}

/// Whose channels and mutexes. tokio's own keep a task from running for ever
/// (each charges a budget of 128 operations a turn); async-channel and
/// async-lock, which run on any executor, do not, and are faster.
#[derive(Clone, Copy)]
pub enum Primitives {
    Tokio,
    Best,
}

#[derive(Clone)]
pub struct Options {
    pub case: &'static str,
    pub workers: usize,
    pub ops: u64,
    pub rounds: u64,
    pub pairs: u64,
    pub flavor: Flavor,
    pub primitives: Primitives,
}

pub fn usage() -> String {
    let names: Vec<_> = CASES.iter().map(|case| case.0).collect();

    format!(
        "usage: peer-tokio CASE --workers N [--ops N] [--rounds N] [--pairs N]\n\
         \x20                 [--flavor current|multi] [--primitives tokio|best]\n\
         cases: {}",
        names.join(" ")
    )
}

impl Options {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
        let name = words.next().ok_or("a case is missing")?;
        let &(case, default_ops) = CASES
            .iter()
            .find(|case| case.0 == name)
            .ok_or_else(|| format!("unknown case {name}"))?;

        let mut workers = 0;
        let mut flavor = None;
        let mut options = Options {
            case,
            workers: 0,
            ops: default_ops,
            rounds: 1,
            pairs: 1,
            flavor: Flavor::Multi,
            primitives: Primitives::Tokio,
        };

        while let Some(option) = words.next() {
            let value = words.next().ok_or(format!("{option} needs a value"))?;

            match option.as_str() {
                "--workers" => workers = count(&option, &value)?,
                "--ops" => options.ops = count(&option, &value)?,
                "--rounds" => options.rounds = count(&option, &value)?,
                "--pairs" => options.pairs = count(&option, &value)?,
                "--flavor" => flavor = Some(parse_flavor(&value)?),
                "--primitives" => options.primitives = parse_primitives(&value)?,
                _ => return Err(format!("unknown option {option}")),
            }
        }

        if workers == 0 || workers > 1024 {
            return Err("--workers N is needed, from 1 to 1024".into());
        }
        if workers > 1 && flavor == Some(Flavor::Current) {
            return Err("--flavor current has one worker".into());
        }
        options.workers = workers as usize;
        options.flavor = flavor.unwrap_or(Flavor::Multi);
        options.check_ops()?;
        Ok(options)
    }

    fn check_ops(&self) -> Result<(), String> {
        match self.case {
            "fib" if !(2..=45).contains(&self.ops) => Err("fib: --ops is n, from 2 to 45".into()),
            "skynet" if !is_power_of_ten(self.ops) => {
                Err("skynet: --ops is the number of leaves, a power of ten".into())
            }
            _ => Ok(()),
        }
    }
}

fn count(option: &str, value: &str) -> Result<u64, String> {
    match value.parse() {
        // The checks sum up to ops squared, which has to fit 64 bits.
        Ok(number) if (1..=1 << 31).contains(&number) => Ok(number),
        _ => Err(format!(
            "{option} needs a number from 1 to 2^31, not {value}"
        )),
    }
}

fn parse_flavor(value: &str) -> Result<Flavor, String> {
    match value {
        "current" => Ok(Flavor::Current),
        "multi" => Ok(Flavor::Multi),
        _ => Err(format!("--flavor is current or multi, not {value}")),
    }
}

fn parse_primitives(value: &str) -> Result<Primitives, String> {
    match value {
        "tokio" => Ok(Primitives::Tokio),
        "best" => Ok(Primitives::Best),
        _ => Err(format!("--primitives is tokio or best, not {value}")),
    }
}

fn is_power_of_ten(mut number: u64) -> bool {
    while number % 10 == 0 {
        number /= 10;
    }
    number == 1
}
