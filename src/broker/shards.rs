//! A map in many parts, each behind a lock of its own.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard};

use crate::sync::lock;

/// More parts than cores by far, so that two threads seldom want the same one.
const SHARDS: usize = 64;

pub(crate) type Shard<K, V, S> = HashMap<K, V, S>;

/// For keys that this server draws at random: looking one up is most of what a message asks of a
/// table, and nobody can choose keys that collide.
pub(crate) type Drawn<K, V> = Shards<K, V, foldhash::fast::RandomState>;

/// Keyed so that whoever chooses the keys cannot make them collide: clients choose room names.
#[derive(Debug)]
pub(crate) struct Shards<K, V, S = RandomState> {
    shards: Box<[Part<K, V, S>]>,
    hasher: S,
}

/// On a cache line of its own, lock and table together: two threads want each other's line only if
/// they want the same part.
#[derive(Debug)]
#[repr(align(64))]
struct Part<K, V, S>(Mutex<Shard<K, V, S>>);

impl<K: Hash + Eq, V, S: BuildHasher + Clone + Default> Shards<K, V, S> {
    pub(crate) fn new() -> Self {
        let hasher = S::default();
        Self {
            shards: (0..SHARDS)
                .map(|_| Part(Mutex::new(HashMap::with_hasher(hasher.clone()))))
                .collect(),
            hasher,
        }
    }

    /// Locks the part that `key` belongs to.
    pub(crate) fn lock<Q>(&self, key: &Q) -> MutexGuard<'_, Shard<K, V, S>>
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        // The remainder is below the number of shards, whatever the width of usize.
        #[allow(clippy::cast_possible_truncation)]
        let index = (self.hasher.hash_one(key) >> 32) as usize % SHARDS;
        lock(&self.shards[index].0)
    }

    /// The entries of all parts, counted one part after the other.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|part| lock(&part.0).len()).sum()
    }

    /// What `pick` makes of each entry, collected one part after the other.
    pub(crate) fn collect<T>(&self, mut pick: impl FnMut(&K, &V) -> T) -> Vec<T> {
        let mut picked = Vec::new();
        for part in &self.shards {
            picked.extend(lock(&part.0).iter().map(|(key, value)| pick(key, value)));
        }
        picked
    }
}

/// Gives memory back once a part is empty, or large and mostly so: after ten thousand peers have
/// left, their tables should not stay.
pub(crate) fn shrink<K: Hash + Eq, V, S: BuildHasher>(shard: &mut Shard<K, V, S>) {
    let (len, capacity) = (shard.len(), shard.capacity());
    if len == 0 || capacity > 16 && len * 4 < capacity {
        shard.shrink_to(len * 2);
    }
}
