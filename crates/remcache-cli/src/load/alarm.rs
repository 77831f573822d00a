//! A timer with a resolution of microseconds. That of the runtime has a resolution of milliseconds.

#[cfg(not(target_os = "linux"))]
mod thread;
#[cfg(target_os = "linux")]
mod timer;

#[cfg(not(target_os = "linux"))]
pub(super) use thread::Alarm;
#[cfg(target_os = "linux")]
pub(super) use timer::Alarm;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn it_wakes_after_the_time_and_can_be_used_again() {
        let alarm = Alarm::start().unwrap();
        for _ in 0..3 {
            let time = Instant::now() + Duration::from_micros(200);
            alarm.wait_until(time).await;
            assert!(Instant::now() >= time);
        }
        // A time that has passed does not block.
        alarm.wait_until(Instant::now()).await;
    }
}
