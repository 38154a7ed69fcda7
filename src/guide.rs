//! Guides, one for each task.

#[doc = include_str!("../docs/authorize.md")]
pub mod authorize {}
#[doc = include_str!("../docs/migrate.md")]
pub mod migrate {}
#[doc = include_str!("../docs/mount.md")]
pub mod mount {}
#[doc = include_str!("../docs/observe.md")]
pub mod observe {}
#[doc = include_str!("../docs/scale.md")]
pub mod scale {}
#[doc = include_str!("../docs/troubleshoot.md")]
pub mod troubleshoot {}
