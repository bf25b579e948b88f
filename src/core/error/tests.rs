//! What is true of every rejection.

use super::*;

use tower::BoxError;

#[test]
fn a_rejection_is_small() {
    assert!(size_of::<Rejected>() <= 48, "{}", size_of::<Rejected>());
}

#[test]
fn a_rejection_is_found_behind_boxes_and_io_errors() {
    let origin = Origin::new("timeout", "x");
    let rejected = Rejected::new(origin, Reason::TimedOut, Measurement::Nothing);
    let boxed: BoxError = io::Error::other(Error::<io::Error>::Rejected(rejected)).into();
    assert_eq!(boxed.rejected().map(Rejected::reason), Some(Reason::TimedOut));
    assert!(BoxError::from("something else").rejected().is_none());
}

#[test]
fn every_reason_is_listed_once() {
    let names: std::collections::HashSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
    let (_, list) = include_str!("reason.rs").split_once("pub enum Reason {").unwrap();
    let (list, _) = list.split_once("\n}").unwrap();
    let reasons = list.lines().filter(|line| line.ends_with(',') && !line.contains("///"));
    assert_eq!(reasons.count(), Reason::ALL.len());
}
