//! What time it is.

use std::time::Instant;

#[cfg(test)]
thread_local! {
    static SET: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}

/// Now; in unit tests, whatever time they have set on this thread.
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    if let Some(set) = SET.get() {
        return set;
    }
    Instant::now()
}

/// Stops this thread's clock at that time, until it is set again.
#[cfg(test)]
pub(crate) fn set(now: Instant) {
    SET.set(Some(now));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_stands_where_it_was_set() {
        let past = Instant::now();
        set(past + Duration::from_secs(60));
        assert_eq!(now(), past + Duration::from_secs(60));
    }
}
