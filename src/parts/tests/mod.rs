//! Pieces, held to what must hold.
