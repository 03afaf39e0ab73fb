//! This process' memory, as the kernel counts it.

/// The highest resident size so far.
pub fn peak_kib() -> u64 {
    status_kib("VmHWM:")
}

/// Resident pages and the page tables that map them.
pub fn resident_kib() -> u64 {
    status_kib("VmRSS:") + status_kib("VmPTE:")
}

/// 0 where the kernel does not say.
fn status_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();

    status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}
