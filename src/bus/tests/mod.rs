mod explore;
#[cfg(seawall_loom)]
mod loom;
