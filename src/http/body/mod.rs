//! Bodies: when a call is over, how long they may take, and how they are sent again.

pub mod body_timeout;
mod completion;
mod replay_body;
mod response_body;
mod trailers_in_body;

pub use completion::{ClassifyTrailers, OnBodyEnd, OnFirstByte, OnTrailers};
#[doc(hidden)]
pub use completion::{GuardedBody, HeadKnows};
#[doc(hidden)]
pub use replay_body::RecordBody;
pub use replay_body::{REPLAY_CAP, RecordBodyLayer, ReplayBody, ReplayError};
pub use response_body::ResponseBody;
pub use trailers_in_body::TrailersInBody;
