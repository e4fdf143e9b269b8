//! The size of this process.

use std::path::Path;

/// The resident set of this process in bytes: all of its pages that are in memory, also those that
/// it freed and that were not given back. `None` where the system does not tell.
pub fn resident() -> Option<u64> {
    read(Path::new("/proc/self/status"))
}

fn read(file: &Path) -> Option<u64> {
    let status = std::fs::read_to_string(file).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_as_large_as_what_it_holds() {
        let Some(before) = resident() else { return };
        let held = vec![1u8; 64 << 20];
        let after = resident().unwrap();
        assert!(after >= before.min(after) && after >= held.len() as u64, "{before} {after}");
        assert_eq!(read(Path::new("/proc/self/no such file")), None);
    }
}
