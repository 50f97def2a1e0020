//! What the kernel says about this process, under the names that every exporter uses.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{Gauge, IntGauge, Registry};

use super::family::{float_gauge, gauge};

/// Clock ticks in a second in /proc: USER_HZ, which Linux fixes at 100 for user space.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) struct ProcessMetrics {
    resident_bytes: IntGauge,
    cpu_seconds: prometheus::Counter,
    open_fds: IntGauge,
    max_fds: IntGauge,
}

impl ProcessMetrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let started: Gauge = float_gauge(
            registry,
            "process_start_time_seconds",
            "When the process started, seconds since 1970.",
        )?;
        started.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64());
        let cpu_seconds =
            prometheus::Counter::new("process_cpu_seconds_total", "Processor time used, user and system.")?;
        registry.register(Box::new(cpu_seconds.clone()))?;
        Ok(Self {
            resident_bytes: gauge(registry, "process_resident_memory_bytes", "Resident memory.")?,
            cpu_seconds,
            open_fds: gauge(registry, "process_open_fds", "Open file descriptors.")?,
            max_fds: gauge(registry, "process_max_fds", "Most file descriptors that may be open.")?,
        })
    }

    /// Reads /proc; what cannot be read keeps its last value.
    pub(super) fn fill(&self) {
        if let Some(bytes) = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes)
        {
            self.resident_bytes.set(bytes);
        }
        if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_seconds) {
            self.cpu_seconds.inc_by((seconds - self.cpu_seconds.get()).max(0.0));
        }
        if let Ok(fds) = fs::read_dir("/proc/self/fd") {
            // One of them is the folder that is being read.
            self.open_fds.set(i64::try_from(fds.count().saturating_sub(1)).unwrap_or(i64::MAX));
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        self.max_fds.set(limit.and_then(|fds| i64::try_from(fds).ok()).unwrap_or(i64::MAX));
    }
}

/// `VmRSS:     1234 kB` of /proc/self/status.
fn resident_bytes(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<i64>().ok()?.checked_mul(1024)
}

/// Fields 14 and 15 of /proc/self/stat, counted after the name, which may hold spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        assert_eq!(resident_bytes("VmHWM:\t  99 kB\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(resident_bytes("VmRSS: lots"), None);
        let stat = "7 (a name) with) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 8 0 99";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let metrics = ProcessMetrics::new(&Registry::new()).expect("registers");
        metrics.fill();
        assert!(metrics.resident_bytes.get() > 100_000);
        assert!(metrics.open_fds.get() > 2 && metrics.max_fds.get() > metrics.open_fds.get());
    }
}
