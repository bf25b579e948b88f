mod explore;
mod order;
