//! Limits of the rooms by the memory that may be used: what is short-lived gets a part of it, and no
//! more than the rooms take when there is plenty.

use crate::base::memory::Budget;
use crate::ingest::commit;
use crate::{historian, query, views};

/// Submissions that wait get a 32nd, a frame a 256th.
pub fn commit(memory: &Budget) -> commit::Limits {
    let most = commit::Limits::default();
    commit::Limits {
        queue_bytes: memory.part(32, most.queue_bytes),
        frame_bytes: memory.part(256, most.frame_bytes),
        ..most
    }
}

/// Points that are not in files yet get an eighth. A file is made of a quarter of that, so that
/// points come in while it is written.
pub fn archive(memory: &Budget) -> historian::Options {
    let most = historian::Options::default();
    historian::Options {
        hot_bytes_max: memory.part(8, most.hot_bytes_max),
        cut_bytes: memory.part(32, most.cut_bytes),
        ..most
    }
}

/// Dead letters get a 16th, what waits for a subscriber a 256th.
pub fn views(memory: &Budget) -> views::Limits {
    let most = views::Limits::default();
    views::Limits {
        dead_letter_bytes: memory.part(16, most.dead_letter_bytes),
        queue_bytes: memory.part(256, most.queue_bytes),
        ..most
    }
}

/// All queries together get an eighth, one alone half of that.
pub fn query(memory: &Budget) -> query::Limits {
    let most = query::Limits::default();
    query::Limits {
        all_memory_bytes: memory.part(8, most.all_memory_bytes),
        memory_bytes: memory.part(16, most.memory_bytes),
        ..most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lived_memory_fits_into_half_of_any_budget() {
        for bytes in [Budget::LEAST, 1 << 30, 2 << 30, 64 << 30] {
            let memory = Budget::new(bytes);
            let (commit, archive) = (commit(&memory), archive(&memory));
            let (views, query) = (views(&memory), query(&memory));
            let all = commit.queue_bytes
                + archive.hot_bytes_max
                + views.dead_letter_bytes
                + query.all_memory_bytes;
            assert!(all as u64 <= bytes / 2, "{all} of {bytes}");
            assert!(commit.frame_bytes <= commit.queue_bytes);
            assert!(archive.cut_bytes < archive.hot_bytes_max);
            assert!(query.memory_bytes < query.all_memory_bytes);
        }
        let plenty = Budget::new(64 << 30);
        assert_eq!(commit(&plenty), commit::Limits::default());
        assert_eq!(views(&plenty), views::Limits::default());
    }
}
