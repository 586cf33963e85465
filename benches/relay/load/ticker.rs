//! A clock that ticks at a fixed rate, exact to some ten microseconds.
//!
//! The runtime's own timer has a grain of one to two milliseconds, which would be in every latency of an open loop.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// A running clock.
#[derive(Debug)]
pub(super) struct Ticker {
    timer: AsyncFd<OwnedFd>,
}

impl Ticker {
    /// The first tick is `every` from now.
    ///
    /// # Errors
    /// When the system gives no timer.
    pub(super) fn start(every: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let every = Timespec::try_from(every).map_err(io::Error::other)?;
        let times = Itimerspec {
            it_interval: every,
            it_value: every,
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an `OwnedFd` keeps the promise that is asked for there"
        )]
        let timer = AsyncFd::new(timer)?;
        Ok(Self { timer })
    }

    /// Waits for the next tick; ticks that were missed come as one.
    ///
    /// # Errors
    /// When the timer cannot be read.
    pub(super) async fn tick(&self) -> io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            let mut count = [0; 8];
            let read = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut count)?));
            match read {
                Ok(read) => return read.map(drop),
                Err(_not_ready) => {}
            }
        }
    }
}
