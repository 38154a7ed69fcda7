//! What time it is.

use std::time::Instant;

/// Now; in unit tests, whatever time they have set on this thread.
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    if let Some(set) = tests::SET.get() {
        return set;
    }
    Instant::now()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    thread_local! {
        pub(super) static SET: Cell<Option<Instant>> = const { Cell::new(None) };
    }

    /// Stops this thread's clock at that time, until it is set again.
    pub(crate) fn set(now: Instant) {
        SET.set(Some(now));
    }

    #[test]
    fn it_stands_where_it_was_set() {
        let past = Instant::now();
        set(past + Duration::from_secs(60));
        assert_eq!(now(), past + Duration::from_secs(60));
    }
}
