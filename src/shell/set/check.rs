//! What can be wrong with a list of members.

use super::Named;
use crate::core::config::ConfigError;

/// The most a member may weigh.
pub(crate) const MAX_WEIGHT: u32 = 100;

/// Everything that is wrong with names and weights. The members come with their weights.
pub(crate) fn check<'a, M: Named + 'a>(
    members: impl Iterator<Item = (&'a M, u32)> + Clone,
    most: usize,
    problems: &mut Vec<ConfigError>,
) {
    let count = members.clone().count();
    if count == 0 || count > most {
        problems.push(ConfigError::new("members", count, format!("1 to {most} members")));
    }
    let mut names: Vec<&str> = members.clone().map(|(member, _)| &**member.name()).collect();
    names.sort_unstable();
    if names.first().is_some_and(|name| name.is_empty()) {
        problems.push(ConfigError::new("members", "", "names that are not empty"));
    }
    for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
        problems.push(ConfigError::new("members", pair[0], "each name once"));
    }
    for (member, weight) in members.filter(|(_, weight)| !(1..=MAX_WEIGHT).contains(weight)) {
        let accepted = format!("1 to {MAX_WEIGHT}, for member {:?}", member.name());
        problems.push(ConfigError::new("weight", weight, accepted));
    }
}
