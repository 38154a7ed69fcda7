//! What threads share: locks that outlive a panic of their holder, and bounds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, poisoned or not: every critical section of this crate leaves its data whole, and
/// a panic in an application's hook must not take the server down.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What many may take together.
#[derive(Debug)]
pub(crate) struct Budget {
    max: usize,
    used: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Self {
        let used = AtomicUsize::new(0);
        Self { max, used }
    }

    /// Takes so much of it, if there is as much.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        // Not added first and taken back where it does not fit: others would be refused in between.
        let taken = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.max);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .is_ok()
    }

    /// The same, until what is returned is dropped.
    pub(crate) fn reserve(&self, bytes: usize) -> Option<Reserved<'_>> {
        let budget = self;
        self.take(bytes).then(|| Reserved { budget, bytes })
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A part of a budget.
#[derive(Debug)]
pub(crate) struct Reserved<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}
