//! Notices that the machine slept. Timers stand still meanwhile and connections die without a word, so waking up is a change of the
//! network like any other. Nothing has to be done *before* the machine sleeps: what was acknowledged is durable at every moment.
//!
//! logind tells on the system bus. Where there is none, the kernel does: a timer that is cancelled when the clock jumps, as it
//! does on waking, makes this look at two clocks, of which one counts sleep and the other does not.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use futures_util::StreamExt;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::net::Links;

/// A difference between the clocks that is sleep and no rounding.
const ASLEEP: Duration = Duration::from_secs(1);
/// How long the system bus may take to answer: a machine whose bus hangs is left to the clocks.
const BUS: Duration = Duration::from_secs(10);
/// A time that does not come: the year 2200.
const NEVER: i64 = 7_258_118_400;

#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Manager {
    #[zbus(signal)]
    fn prepare_for_sleep(&self, start: bool) -> zbus::Result<()>;
}

/// Nudges `links` when the machine wakes up, until the daemon ends. A machine on which neither source works is none on which
/// anything fails: connections are found dead a little later.
pub(crate) async fn watch(links: Links) {
    tokio::join!(follow_logind(&links), follow_clocks(&links));
}

async fn follow_logind(links: &Links) {
    if let Err(error) = logind(links).await {
        tracing::info!(%error, "logind does not tell when the machine sleeps; the clocks do");
    }
}

async fn logind(links: &Links) -> zbus::Result<()> {
    let connect = async {
        let bus = zbus::Connection::system().await?;
        ManagerProxy::new(&bus).await?.receive_prepare_for_sleep().await
    };
    let timed_out = || zbus::Error::InputOutput(std::sync::Arc::new(io::ErrorKind::TimedOut.into()));
    let mut signals = tokio::time::timeout(BUS, connect).await.map_err(|_| timed_out())??;
    tracing::debug!("logind tells when the machine sleeps");
    while let Some(signal) = signals.next().await {
        let asleep = signal.args()?.start;
        tracing::info!(asleep, "logind: sleep");
        if !asleep {
            links.nudge();
        }
    }
    Ok(())
}

async fn follow_clocks(links: &Links) {
    if let Err(error) = clocks(links).await {
        tracing::info!(%error, "the clocks do not tell when the machine sleeps");
    }
}

async fn clocks(links: &Links) -> io::Result<()> {
    let timer = timer()?;
    let mut before = asleep();
    loop {
        arm(timer.get_ref())?;
        // Whether it fires or is cancelled is all the same: the clocks decide.
        let mut jumped = timer.readable().await?;
        jumped.clear_ready();
        let now = asleep();
        if has_slept(before, now) {
            tracing::info!("the machine slept");
            links.nudge();
        }
        before = now;
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe; an OwnedFd stays the descriptor that it is until it is dropped"
)]
fn timer() -> io::Result<AsyncFd<OwnedFd>> {
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    AsyncFd::with_interest(timer, Interest::READABLE)
}

/// timerfd_create(2): cancelled when the clock is set, and when the machine resumes.
fn arm(timer: &OwnedFd) -> io::Result<()> {
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let never = Itimerspec { it_interval: zero, it_value: Timespec { tv_sec: NEVER, tv_nsec: 0 } };
    timerfd_settime(timer, flags, &never)?;
    Ok(())
}

/// How long the machine has slept since it booted.
fn asleep() -> Duration {
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    // In this order the difference is never less than it is.
    let monotonic = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(monotonic)
}

fn has_slept(before: Duration, now: Duration) -> bool {
    now.saturating_sub(before) > ASLEEP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_is_what_one_clock_counts_and_the_other_does_not() {
        let hour = Duration::from_secs(3600);
        assert!(has_slept(Duration::ZERO, hour));
        assert!(has_slept(hour, hour + Duration::from_secs(2)));
        assert!(!has_slept(hour, hour), "a clock that was set is no sleep");
        assert!(!has_slept(hour, hour + Duration::from_millis(3)));
        assert!(!has_slept(hour, Duration::ZERO));
        assert!(!has_slept(asleep(), asleep()));
    }

    #[tokio::test]
    async fn the_timer_waits() {
        let timer = timer().unwrap();
        arm(timer.get_ref()).unwrap();
        let fired = tokio::time::timeout(Duration::from_millis(20), timer.readable()).await;
        assert!(fired.is_err(), "it fires before the clock jumps");
    }
}
