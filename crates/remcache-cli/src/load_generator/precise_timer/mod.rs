//! A timer with a resolution of microseconds. That of the runtime has a resolution of milliseconds.

#[cfg(not(target_os = "linux"))]
mod thread;
mod timerfd;

#[cfg(not(target_os = "linux"))]
pub(super) use thread::PreciseTimer;
#[cfg(target_os = "linux")]
pub(super) use timerfd::PreciseTimer;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::PreciseTimer;

    #[tokio::test]
    async fn it_fires_after_the_time_and_can_be_used_again() {
        let timer = PreciseTimer::new().unwrap();
        for _ in 0..3 {
            let time = Instant::now() + Duration::from_micros(200);
            timer.wait_until(time).await.unwrap();
            assert!(Instant::now() >= time);
        }
        // A time that has passed does not block.
        timer.wait_until(Instant::now()).await.unwrap();
    }
}
