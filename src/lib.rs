//! WebRTC signaling for the web server you already run.

mod error;
mod id;
mod limits;
mod signal;
mod wire;

pub use error::{CloseReason, Code, Error};
pub use id::{InvalidId, PeerId, RoomId, SessionId};
pub use limits::Limits;
pub use signal::Signal;
