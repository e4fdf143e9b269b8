//! The memory that queries may take: each for itself, and all of them together.

use datafusion::common::DataFusionError;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a query is told when others have all the memory.
pub(super) const ALL_TAKEN: &str = "the queries that run take all the memory that queries may take";

/// The memory of all queries.
#[derive(Debug)]
pub(super) struct Total {
    limit: usize,
    taken: AtomicUsize,
}

/// The memory of one query: a fair share for each of its operators that can spill, and no more
/// than is left of the total.
#[derive(Debug)]
pub(super) struct Pool {
    own: FairSpillPool,
    total: Arc<Total>,
}

impl Total {
    pub fn new(limit: usize) -> Self {
        Self { limit, taken: AtomicUsize::new(0) }
    }

    /// What all queries have taken, and may take, in bytes.
    pub fn taken(&self) -> (usize, usize) {
        (self.taken.load(Ordering::Relaxed), self.limit)
    }

    /// Takes memory that is there already, so that the next one who wants some does not get it.
    pub fn hold(total: &Arc<Self>, bytes: usize) -> Result<Taken> {
        total.take(bytes)?;
        Ok(Taken { total: Arc::clone(total), bytes })
    }

    fn take(&self, bytes: usize) -> Result<()> {
        let fits = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= self.limit);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        match taken {
            Ok(_) => Ok(()),
            Err(_) => Err(DataFusionError::ResourcesExhausted(ALL_TAKEN.into())),
        }
    }
}

/// Memory that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    total: Arc<Total>,
    bytes: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.total.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Pool {
    /// The pool of one query, which may take so many bytes.
    pub fn new(bytes: usize, total: Arc<Total>) -> Self {
        Self { own: FairSpillPool::new(bytes.min(total.limit)), total }
    }
}

impl MemoryPool for Pool {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.total.taken.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.total.taken.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.total.take(additional)?;
        self.own.try_grow(reservation, additional).inspect_err(|_| {
            self.total.taken.fetch_sub(additional, Ordering::Relaxed);
        })
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (taken, limit) = self.total.taken();
        write!(f, "{} (all queries have {taken} of {limit} bytes)", self.own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reservation(pool: &Arc<dyn MemoryPool>) -> MemoryReservation {
        MemoryConsumer::new("test").with_can_spill(true).register(pool)
    }

    #[test]
    fn a_query_has_its_limit_and_all_of_them_have_another() {
        let total = Arc::new(Total::new(250));
        let pools: Vec<Arc<dyn MemoryPool>> =
            (0..3).map(|_| Arc::new(Pool::new(100, Arc::clone(&total))) as _).collect();
        let reservations: Vec<MemoryReservation> = pools.iter().map(reservation).collect();
        assert!(reservations[0].try_grow(101).is_err());
        assert_eq!(total.taken(), (0, 250), "what was refused is not taken");
        for reservation in &reservations[..2] {
            reservation.try_grow(100).unwrap();
        }
        let refused = reservations[2].try_grow(60).unwrap_err().to_string();
        assert!(refused.contains(ALL_TAKEN), "{refused}");
        reservations[2].try_grow(50).unwrap();
        assert_eq!(total.taken(), (250, 250));
        reservations[0].shrink(40);
        reservations[2].try_grow(40).unwrap();
        drop(reservations);
        assert_eq!(total.taken(), (0, 250), "everything is given back");
    }
}
