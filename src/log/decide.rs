//! What a command leads to: the part of a user, pure.

/// Decides what a command leads to: a decider, pure, without a runtime or a log.
///
/// State is what the events of one stream come to. See [`log`](crate::log) for how [`Commands`](crate::log::Commands) runs it.
///
/// ```
/// use seawall::log::Decide;
///
/// struct Account;
///
/// enum Command { Deposit(u64), Withdraw(u64) }
/// #[derive(Debug, PartialEq)]
/// enum Event { Deposited(u64), Withdrawn(u64) }
///
/// impl Decide for Account {
///     type State = u64;
///     type Command = Command;
///     type Event = Event;
///     type Error = &'static str;
///
///     fn decide(balance: &u64, command: &Command) -> Result<Vec<Event>, &'static str> {
///         match *command {
///             Command::Deposit(amount) => Ok(vec![Event::Deposited(amount)]),
///             Command::Withdraw(amount) if amount > *balance => Err("too little money"),
///             Command::Withdraw(amount) => Ok(vec![Event::Withdrawn(amount)]),
///         }
///     }
///
///     fn evolve(balance: u64, event: &Event) -> u64 {
///         match *event {
///             Event::Deposited(amount) => balance + amount,
///             Event::Withdrawn(amount) => balance - amount,
///         }
///     }
/// }
///
/// let balance = Account::evolve(0, &Event::Deposited(20)); // tested as what it is: two functions
/// assert_eq!(Account::decide(&balance, &Command::Withdraw(5)), Ok(vec![Event::Withdrawn(5)]));
/// assert_eq!(Account::decide(&balance, &Command::Withdraw(50)), Err("too little money"));
/// ```
pub trait Decide: 'static {
    /// What is known of a stream. The default is that of a stream without events.
    type State: Default + Send + 'static;
    /// What somebody wants.
    type Command: Send + 'static;
    /// What has happened.
    type Event: Send + Sync + 'static;
    /// Why a command is declined.
    type Error: Send + 'static;

    /// The version of [`evolve`](Self::evolve) and of the state. Raise it when one of them changes: snapshots of another
    /// version are dropped.
    const CODE: u32 = 1;

    /// What the command leads to in this state. No events: it is done already.
    ///
    /// # Errors
    ///
    /// The command is declined: nothing is appended.
    fn decide(
        state: &Self::State,
        command: &Self::Command,
    ) -> Result<Vec<Self::Event>, Self::Error>;

    /// The state after the event. It has happened, so it cannot be declined.
    fn evolve(state: Self::State, event: &Self::Event) -> Self::State;
}
