#[cfg(seawall_loom)]
mod loom;
