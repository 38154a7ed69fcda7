//! A bus by its URL.

use super::{ClusterAdapter, Subjects};
use crate::error::Error;

/// The adapter that a URL asks for. What follows a `#` is the prefix of the subjects.
///
/// # Errors
///
/// When the URL cannot be, or is of a bus that this build is without. The text does not repeat the
/// URL, which may hold a password.
pub(crate) fn adapter(url: &str) -> Result<Box<dyn ClusterAdapter>, Error> {
    let (url, subjects) = match url.split_once('#') {
        Some((url, prefix)) => (url, Subjects::new(prefix)?),
        None => (url, Subjects::default()),
    };
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    match scheme {
        "nats" | "tls" => nats(url, subjects),
        "redis" | "rediss" => redis(url, subjects),
        _ => {
            let problem = format!("{scheme:?} is the scheme of no bus: nats, tls, redis, rediss");
            Err(Error::new("cluster", problem))
        }
    }
}

#[cfg(feature = "nats")]
fn nats(url: &str, subjects: Subjects) -> Result<Box<dyn ClusterAdapter>, Error> {
    let options = super::NatsOptions::default().subjects(subjects);
    Ok(Box::new(super::Nats::connect(url, options)?))
}

#[cfg(not(feature = "nats"))]
fn nats(_: &str, _: Subjects) -> Result<Box<dyn ClusterAdapter>, Error> {
    Err(without("nats"))
}

#[cfg(feature = "redis")]
fn redis(url: &str, subjects: Subjects) -> Result<Box<dyn ClusterAdapter>, Error> {
    let options = super::RedisOptions::default().subjects(subjects);
    Ok(Box::new(super::Redis::connect(url, options)?))
}

#[cfg(not(feature = "redis"))]
fn redis(_: &str, _: Subjects) -> Result<Box<dyn ClusterAdapter>, Error> {
    Err(without("redis"))
}

#[cfg(not(all(feature = "nats", feature = "redis")))]
fn without(feature: &str) -> Error {
    Error::new(
        "cluster",
        format!("this build is without the feature {feature}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str) -> String {
        let error = adapter(url).err().expect("it cannot be");
        error.to_string()
    }

    #[test]
    fn what_cannot_be_is_said_without_the_password() {
        for url in [
            "",
            "secret",
            "http://u:secret@h",
            "nats://u:secret@h:port",
            "nats://u:secret@h#no prefix",
            "redis://:ab#secret@h",
            "redis://u:secret@h:port",
            "redis://u:secret@h/db",
            "nats://h,http://u:secret@h",
        ] {
            let problem = problem(url);
            assert!(!problem.contains("secret"), "{url}: {problem}");
        }
    }

    #[test]
    fn a_bus_that_the_build_is_without_is_named() {
        for (url, there) in [
            ("nats://h", cfg!(feature = "nats")),
            ("tls://u:p@h:4222#shop", cfg!(feature = "nats")),
            ("nats://a:4222, nats://b:4222", cfg!(feature = "nats")),
            ("redis://h", cfg!(feature = "redis")),
            ("rediss://u:p@h:6380/0#shop.eu", cfg!(feature = "redis")),
        ] {
            match adapter(url) {
                Ok(_) => assert!(there, "{url}"),
                Err(error) => {
                    assert!(!there, "{url}: {error}");
                    assert!(error.to_string().contains("without the feature"), "{error}");
                }
            }
        }
    }
}
