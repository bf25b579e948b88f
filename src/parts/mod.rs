//! Pure pieces that machines are made of. Time is an argument; nothing locks, nothing allocates
//! after it was made.

pub(crate) mod evidence;
pub(crate) mod rest;
pub(crate) mod window;
