//! Pieces, held to what must hold.

mod explore;
