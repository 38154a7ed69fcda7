//! Ready-made policies for [`Builder::policy`](crate::Builder::policy).

mod bearer;
mod rooms;

pub use bearer::BearerToken;
pub use rooms::{MeshCap, RoomCapacity, RoomList};
