//! The owner's side: keys that are not its own are refused, with a hint whose they are.

mod handle;
mod layer;
mod policy;
mod standing;

pub use handle::{HoldError, Holding, OwnsHandle};
pub use layer::{OwnsBuilder, OwnsLayer};
