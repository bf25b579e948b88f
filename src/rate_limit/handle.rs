//! Seeing and steering a rate limit from outside, and taking turns ahead of time.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use tokio::time::{Instant, Sleep};

use super::config::Config;
use super::limiter::Limiter;
use crate::core::config::ConfigErrors;
use crate::core::error::Rejected;
use crate::core::origin::Origin;
use crate::core::time::poll_until;
use crate::shell::gate::Entrance;
use crate::shell::slots::{Look, Ticket};

/// Inspects and controls one rate limit. Cheap to clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::rate_limit::{RateLimitHandle, RateLimitLayer};
/// use seawall::{ConfigErrors, Error};
/// use std::convert::Infallible;
///
/// /// The partner has told us another quota.
/// fn set_quota(partner: &RateLimitHandle, limit: u32) -> Result<(), ConfigErrors> {
///     let mut config = partner.config();
///     config.limit = limit;
///     partner.reload(config)
/// }
///
/// let layer = RateLimitLayer::builder("partner-api").limit(100).burst(10).build()?;
/// let partner = layer.handle();
/// layer.run(|| async { Ok::<_, Error<Infallible>>(()) }).await?;
/// assert_eq!(partner.available(), 9);
/// set_quota(&partner, 50)?;
/// assert_eq!(partner.available(), 9); // what was used stays used
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct RateLimitHandle {
    entrance: Arc<dyn Entrance<Limiter>>,
}

impl RateLimitHandle {
    pub(super) fn new(entrance: Arc<dyn Entrance<Limiter>>) -> Self {
        Self { entrance }
    }

    fn limiter(&self) -> &Limiter {
        self.entrance.policy()
    }

    /// The layer and the name.
    pub fn origin(&self) -> &Origin {
        &self.limiter().common.reporter.origin
    }

    /// Units of the limit that calls may use up at this moment.
    pub fn available(&self) -> u32 {
        self.limiter().available()
    }

    /// Calls that wait for their turn, and [reservations](Self::reserve) that were not used yet.
    pub fn queued(&self) -> usize {
        self.limiter().queued()
    }

    /// The calls that were made and are not over, those that wait included.
    pub fn in_flight(&self) -> usize {
        self.entrance.in_flight()
    }

    /// The settings in force.
    pub fn config(&self) -> Config {
        self.limiter().config()
    }

    /// Reloads the settings; those of one key, which it has of its own from now on. What was used up
    /// stays used up; those who wait keep their order and get their turn by the new settings.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones stay in force.
    #[allow(clippy::needless_pass_by_value)] // the same shape for every layer
    pub fn reload(&self, config: Config) -> Result<(), ConfigErrors> {
        self.limiter().reload(&config)
    }

    /// Takes the next turn now, to be used later: for work that does not pass the layer, or that is to
    /// be prepared meanwhile. It waits as long as it takes: [`Config::queue`] and [`Config::max_wait`]
    /// are for calls.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::rate_limit::RateLimitLayer;
    /// use std::time::Duration;
    /// use tokio::time::Instant;
    ///
    /// let mails = RateLimitLayer::builder("mails").limit(10).burst(1).build()?.handle();
    /// let began = Instant::now();
    /// mails.reserve(1)?.ready().await; // at once
    /// let second = mails.reserve(1)?;
    /// assert_eq!(second.ready_at() - began, Duration::from_millis(100));
    /// second.ready().await;
    /// assert_eq!(began.elapsed(), Duration::from_millis(100));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`CostTooHigh`](crate::Reason::CostTooHigh) if `cost` is more than [`Config::burst`];
    /// [`RateLimited`](crate::Reason::RateLimited) if 10,000 wait already.
    pub fn reserve(&self, cost: u32) -> Result<Reservation, Rejected> {
        let ticket = self.limiter().book(cost)?;
        Ok(Reservation { ticket: Some(ticket), entrance: Arc::clone(&self.entrance) })
    }
}

impl fmt::Debug for RateLimitHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitHandle")
            .field("origin", self.origin())
            .field("available", &self.available())
            .field("queued", &self.queued())
            .finish()
    }
}

/// A turn that was taken ahead of time; see [`RateLimitHandle::reserve`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::rate_limit::{RateLimitLayer, Reservation};
/// use std::time::Duration;
/// use tokio::time::Instant;
///
/// /// Loads a page while it waits for the turn to send it.
/// async fn send(turn: Reservation) -> &'static str {
///     let page = "report"; // from the disk
///     turn.ready().await;
///     page
/// }
///
/// let printer = RateLimitLayer::builder("printer").limit(2).burst(1).build()?.handle();
/// let (first, second) = (printer.reserve(1)?, printer.reserve(1)?);
/// let began = Instant::now();
/// drop(first); // it was ready at once, and nothing of its time has passed
/// send(second).await;
/// assert_eq!(began.elapsed(), Duration::ZERO);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
///
/// Dropped before its time, it is given back, and those behind it move up. Once its time has come it is
/// used up.
#[must_use = "dropping it gives the turn back"]
pub struct Reservation {
    /// `None` once it was used.
    ticket: Option<Ticket>,
    entrance: Arc<dyn Entrance<Limiter>>,
}

impl Reservation {
    /// When its turn is. It comes earlier if somebody before it gives up.
    pub fn ready_at(&self) -> Instant {
        let at = self.ticket.as_ref().and_then(|ticket| self.entrance.policy().turn_of(ticket));
        at.unwrap_or_else(crate::core::time::now)
    }

    /// Waits for its turn, and uses it. Dropping the future gives the turn back.
    pub async fn ready(mut self) {
        let mut timer = pin!(None::<Sleep>);
        poll_fn(|cx| {
            loop {
                let Some(ticket) = &self.ticket else { return Poll::Ready(()) };
                let limiter = self.entrance.policy();
                let Look::At(at) = limiter.look(ticket, limiter.now(), cx) else {
                    return Poll::Ready(());
                };
                // A turn that is too far away for any timer is for whoever is before it to bring nearer.
                let Some(at) = limiter.instant(at) else { return Poll::Pending };
                if timer.as_ref().as_pin_ref().is_some_and(|timer| timer.deadline() != at) {
                    timer.set(None);
                }
                ready!(poll_until(timer.as_mut(), at, cx));
                timer.set(None);
            }
        })
        .await;
        self.ticket = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(ticket) = &self.ticket {
            self.entrance.policy().cancel(ticket);
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("ready_at", &self.ready_at()).finish_non_exhaustive()
    }
}
