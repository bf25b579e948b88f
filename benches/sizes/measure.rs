//! Time and memory.
#![allow(unsafe_code)] // an allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

/// The median of so many turns, in nanoseconds for each of the `each` things that a turn does. What
/// has to be done between turns is done in `between`, and is not measured.
pub(crate) fn nanos<T>(
    turns: usize,
    each: usize,
    with: &mut T,
    mut turn: impl FnMut(&mut T),
    mut between: impl FnMut(&mut T),
) -> f64 {
    let mut times: Vec<_> = (0..turns)
        .map(|_| {
            let started = Instant::now();
            turn(with);
            let time = started.elapsed();
            between(with);
            time.as_nanos() as f64 / each as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[turns / 2]
}

/// Bytes that this thread has asked for and not given back.
pub(crate) fn held() -> usize {
    HELD.get()
}

/// Blocks that this thread has asked for so far.
pub(crate) fn allocations() -> usize {
    ALLOCATIONS.get()
}

/// 12345 as 12,345.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: both methods hand their arguments on to the system's allocator as they are; the others
// are made of these two.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has nothing left to count with.
        let _ = HELD.try_with(|held| held.set(held.get().wrapping_add(layout.size())));
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let _ = HELD.try_with(|held| held.set(held.get().wrapping_sub(layout.size())));
        unsafe { System.dealloc(block, layout) }
    }
}
