//! What this process may use: the least of the limits that it runs under.

use std::fmt;
use std::path::Path;

/// Memory that may be used, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    /// Bytes.
    pub bytes: u64,
    /// Where the number is from.
    pub origin: Origin,
}

/// Where a limit of memory is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody set it for this program.
    Setting,
    /// The control group of the process, version 2 (`memory.max` or `memory.high`).
    CgroupV2,
    /// The control group of the process, version 1 (`memory.limit_in_bytes`).
    CgroupV1,
    /// The memory of the machine.
    Machine,
    /// Nobody: the system does not tell.
    Unknown,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Setting => "setting",
            Self::CgroupV2 => "cgroup v2",
            Self::CgroupV1 => "cgroup v1",
            Self::Machine => "machine",
            Self::Unknown => "unknown",
        })
    }
}

/// The least of the machine's memory and the limits of the control groups that the process is in,
/// with files read below this folder, which is `/` but in tests. `None` where no file tells.
pub fn available(root: &Path) -> Option<Available> {
    let groups = read(root, "proc/self/cgroup").unwrap_or_default();
    let machine = machine(root).map(|bytes| Available { bytes, origin: Origin::Machine });
    let limited = groups.lines().filter_map(|line| limit(root, line));
    // The machine last, so that it is named only when it is less than every group's limit: version
    // 1 writes a huge number for none.
    limited.chain(machine).min_by_key(|limit| (limit.bytes, limit.origin == Origin::Machine))
}

/// The least limit of a group and those above it. A line is `number:controllers:path`, without a
/// number and controllers for version 2.
fn limit(root: &Path, line: &str) -> Option<Available> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (mount, files, origin): (_, &[&str], _) = match controllers {
        "" => ("sys/fs/cgroup", &["memory.max", "memory.high"], Origin::CgroupV2),
        names if names.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", &["memory.limit_in_bytes"], Origin::CgroupV1)
        }
        _ => return None,
    };
    // In a container the path may be that of the machine, of which only the end or nothing is
    // mounted: folders that are not there have no limit, and the mount itself is asked too.
    let path = Path::new(path.trim_start_matches('/'));
    let folders = path.ancestors().filter(|folder| !folder.as_os_str().is_empty());
    let folders = folders.map(|folder| format!("{mount}/{}", folder.display()));
    let read_one = |folder: String| {
        let of_file = |file: &&str| number(&read(root, &format!("{folder}/{file}"))?);
        files.iter().filter_map(of_file).min()
    };
    let bytes = folders.chain([mount.to_owned()]).filter_map(read_one).min()?;
    Some(Available { bytes, origin })
}

fn machine(root: &Path) -> Option<u64> {
    let text = read(root, "proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(number(line.split_whitespace().next()?)? << 10)
}

/// A limit; `None` for `max`.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn read(root: &Path, path: &str) -> Option<String> {
    std::fs::read_to_string(root.join(path)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// What is found below a folder with these files.
    fn check(files: &[(&str, &str)], expected: Option<(u64, Origin)>) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = available(root.path()).map(|found| (found.bytes, found.origin));
        assert_eq!(found, expected, "{files:?}");
    }

    #[test]
    fn the_least_limit_counts() {
        const MACHINE: (&str, &str) =
            ("proc/meminfo", "MemTotal:        8000 kB\nMemFree:     12 kB\n");
        let machine = Some((8_000 << 10, Origin::Machine));
        let v2 = ("proc/self/cgroup", "0::/system.slice/plant.service\n");
        let of_service = "sys/fs/cgroup/system.slice/plant.service/memory.max";
        check(&[], None);
        check(&[MACHINE], machine);
        check(&[MACHINE, v2, (of_service, "max\n")], machine);
        check(&[MACHINE, v2, (of_service, "4096000\n")], Some((4_096_000, Origin::CgroupV2)));
        let high = "sys/fs/cgroup/system.slice/plant.service/memory.high";
        check(
            &[MACHINE, v2, (of_service, "4096000\n"), (high, "4000000\n")],
            Some((4_000_000, Origin::CgroupV2)),
        );
        // A group above has less, and the machine less than all.
        let above = ("sys/fs/cgroup/system.slice/memory.max", "1024\n");
        check(&[MACHINE, v2, (of_service, "2048"), above], Some((1_024, Origin::CgroupV2)));
        check(&[MACHINE, v2, (of_service, "99999999999")], machine);
        // A container sees its own group as the root.
        let inside = ("proc/self/cgroup", "0::/\n");
        let own = ("sys/fs/cgroup/memory.max", "2048\n");
        check(&[MACHINE, inside, own], Some((2_048, Origin::CgroupV2)));
        // Version 1, whose path is the machine's and not mounted here.
        let v1 = ("proc/self/cgroup", "7:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n0::/\n");
        let own = |text| ("sys/fs/cgroup/memory/memory.limit_in_bytes", text);
        check(&[MACHINE, v1, own("4096\n")], Some((4_096, Origin::CgroupV1)));
        check(&[MACHINE, v1, own("9223372036854771712\n")], machine);
        check(&[v2, (of_service, "no number")], None);
    }
}
